// The picture: a photo, a video or the camera, with faces marked on it and heat laid over it.

import { CROP, softened, toPicture } from "./crop.js";
import { $, element, hide, keep } from "./dom.js";
import { colour, EMOTIONS, identity, percent, shown, title, verdict } from "./emotions.js";
import { settle } from "./tags.js";

export class Stage {
  constructor({ onSelect }) {
    this.onSelect = onSelect;
    this.width = this.height = 1;
    new ResizeObserver(() => this.#settle()).observe($("frame"));
  }

  /** Show one of the media, of this size in pixels; `mirrored` as people know themselves. */
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

  /** Show no picture. */
  empty() {
    for (const each of ["photo", "film", "camera"]) $(each).hidden = true;
  }

  /** Show what can be opened, as at the beginning. */
  welcome() {
    $("welcome").hidden = false;
    hide($("tools"), $("welcome").querySelector("button"));
    $("frame").hidden = true;
  }

  /** Mark the faces; the one of rank `looked` stands out. */
  mark(faces, looked) {
    this.looked = looked;
    const marks = keep($("marks"), faces.length, () =>
      element("button", { type: "button", className: "mark" }, tag()));
    faces.forEach((face, index) => {
      this.#place(marks[index], face, index, index === looked);
      marks[index].onclick = () => this.onSelect(identity(face, index));
    });
    this.#settle();
  }

  #settle() { settle([...$("marks").children], this.looked, $("marks")); }

  #place(mark, face, index, pressed) {
    const { emotion, confidence } = verdict(face);
    const { x, y, width, height } = face.box;
    const left = this.mirrored ? this.width - x - width : x;
    const per = (value, whole) => `${(value / whole) * 100}%`;
    Object.assign(mark.style, {
      left: per(left, this.width), top: per(y, this.height),
      width: per(width, this.width), height: per(height, this.height),
    });
    mark.style.setProperty("--colour", colour(emotion));
    mark.setAttribute("aria-pressed", pressed);
    const name = face.track == null ? `Face ${index + 1}` : `Person ${face.track}`;
    mark.setAttribute("aria-label", `${name}: ${title(emotion)}, ${percent(confidence)}`);
    const [label] = mark.children;
    label.firstChild.data = `${title(emotion)} ${percent(confidence)}`;
    EMOTIONS.forEach((each, at) => label.lastChild.children[at].style.setProperty("--share", shown(face)[each]));
  }

  /** Lay a coloured map over its face; `place` is where its crop lies, as in crop.js. */
  addHeat(image, place) {
    const canvas = $("heat");
    const paint = canvas.getContext("2d");
    const scale = canvas.width / this.width;
    paint.setTransform(new DOMMatrix([scale, 0, 0, scale, 0, 0]).multiply(toPicture(place)));
    paint.drawImage(softened(image), 0, 0, CROP, CROP);
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

function tag() {
  const shares = EMOTIONS.map((emotion) => element("b", { "--colour": colour(emotion) }));
  return element("span", { className: "tag", "aria-hidden": "true" }, "", element("i", {}, ...shares));
}
