// Saving results as files.

import { element } from "./dom.js";
import { EMOTIONS } from "./emotions.js";

const BOX_FIELDS = ["x", "y", "width", "height"];

/** The columns of the service's own CSV of a video. */
export const FRAME_COLUMNS = ["frame", "time", "track", ...BOX_FIELDS, "detection_score", "emotion", "confidence", ...EMOTIONS];

/** The CSV row of a face; `first` are the cells before the bounding box. */
export const row = (face, ...first) => [
  ...first,
  ...BOX_FIELDS.map((name) => face.box[name]),
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

/** The file name without its extension. */
export const stem = (name) => name.replace(/\.[^.]*$/, "") || "gimefive";
