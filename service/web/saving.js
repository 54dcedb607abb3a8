// Files to keep.

import { element } from "./dom.js";
import { EMOTIONS } from "./emotions.js";

const PLACE = ["x", "y", "width", "height"];

/** The columns that the service itself gives for a video. */
export const FRAME_COLUMNS = ["frame", "time", "track", ...PLACE, "detection_score", "emotion", "confidence", ...EMOTIONS];

/** One line a face; `first` are the cells before the box. */
export const row = (face, ...first) => [
  ...first,
  ...PLACE.map((name) => face.box[name]),
  face.detection_score ?? "", face.emotion, face.confidence,
  ...EMOTIONS.map((emotion) => face.scores[emotion]),
];

export function csv(columns, rows) {
  return new Blob([[columns, ...rows].map((cells) => `${cells.join(",")}\n`).join("")], { type: "text/csv" });
}

export function save(blob, name) {
  const link = element("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

/** The name without its ending. */
export const stem = (name) => name.replace(/\.[^.]*$/, "") || "gimefive";
