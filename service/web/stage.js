// The stage: a photo, a video or the camera, overlaid with face marks and a heat map.

import { CROP, withSoftEdge, toPicture } from "./crop.js";
import { $, element, hide, resizeChildren } from "./dom.js";
import { colour, EMOTIONS, personId, percent, shownScores, title, topEmotion } from "./emotions.js";
import { placeTags } from "./tags.js";

export class Stage {
  constructor({ onSelect }) {
    this.onSelect = onSelect;
    this.width = this.height = 1;
    new ResizeObserver(() => this.#placeTags()).observe($("frame"));
  }

  /** Show one of the media, with its size in pixels; `mirrored` flips it horizontally. */
  show(medium, width, height, mirrored = false) {
    this.empty();
    if (medium !== "none") $(medium).hidden = false;
    hide($("welcome"), $("stage"));
    $("frame").hidden = $("tools").hidden = false;
    $("frame").classList.toggle("mirrored", mirrored);
    $("frame").style.setProperty("--ratio", width / height);
    Object.assign(this, { width, height, mirrored });
    this.mark([]);
    this.clearHeat();
  }

  /** Hide all media. */
  empty() {
    for (const each of ["photo", "film", "camera"]) $(each).hidden = true;
  }

  /** Show the start screen. */
  welcome() {
    $("welcome").hidden = false;
    hide($("tools"), $("welcome").querySelector("button"));
    $("frame").hidden = true;
  }

  /** Mark the faces, and highlight the one with the index `current`. */
  mark(faces, current) {
    this.current = current;
    const marks = resizeChildren($("marks"), faces.length, () =>
      element("button", { type: "button", className: "mark" }, createTag()));
    faces.forEach((face, index) => {
      this.#updateMark(marks[index], face, index, index === current);
      marks[index].onclick = () => this.onSelect(personId(face, index));
    });
    this.#placeTags();
  }

  #placeTags() { placeTags([...$("marks").children], this.current, $("marks")); }

  #updateMark(mark, face, index, isCurrent) {
    const { emotion, confidence } = topEmotion(face);
    const { x, y, width, height } = face.box;
    const left = this.mirrored ? this.width - x - width : x;
    const per = (value, whole) => `${(value / whole) * 100}%`;
    Object.assign(mark.style, {
      left: per(left, this.width), top: per(y, this.height),
      width: per(width, this.width), height: per(height, this.height),
    });
    mark.style.setProperty("--colour", colour(emotion));
    mark.setAttribute("aria-pressed", isCurrent);
    const name = face.track == null ? `Face ${index + 1}` : `Person ${face.track}`;
    mark.setAttribute("aria-label", `${name}: ${title(emotion)}, ${percent(confidence)}`);
    const [label] = mark.children;
    label.firstChild.data = `${title(emotion)} ${percent(confidence)}`;
    EMOTIONS.forEach((each, at) => label.lastChild.children[at].style.setProperty("--share", shownScores(face)[each]));
  }

  /** Overlay a coloured heat map on its face; `place` is the position of the crop, as in crop.js. */
  addHeat(image, place) {
    const canvas = $("heat");
    const paint = canvas.getContext("2d");
    const scale = canvas.width / this.width;
    paint.setTransform(new DOMMatrix([scale, 0, 0, scale, 0, 0]).multiply(toPicture(place)));
    paint.drawImage(withSoftEdge(image), 0, 0, CROP, CROP);
    paint.resetTransform();
  }

  clearHeat() {
    const canvas = $("heat");
    const scale = Math.min(1, 1600 / Math.max(this.width, this.height));
    canvas.width = Math.round(this.width * scale);
    canvas.height = Math.round(this.height * scale);
  }

  opacity(alpha) { $("heat").style.opacity = alpha; }
}

function createTag() {
  const shares = EMOTIONS.map((emotion) => element("b", { "--colour": colour(emotion) }));
  return element("span", { className: "tag", "aria-hidden": "true" }, "", element("i", {}, ...shares));
}
