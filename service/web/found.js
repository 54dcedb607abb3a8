// What was found: whose face is looked at, its verdict, and its six scores.

import { $, element, keep, setText } from "./dom.js";
import { colour, EMOTIONS, identity, percent, shown, title, verdict } from "./emotions.js";

export class Found {
  constructor({ onSelect, onAsk }) {
    this.onSelect = onSelect;
    $("bars").append(...EMOTIONS.map((emotion) => element("li", {}, bar(emotion, () => onAsk(emotion)))));
  }

  /** Show the face of rank `looked` among all; `asked` is the emotion whose heat map is shown. */
  show(faces, looked, asked, portrait) {
    $("found").hidden = !faces.length;
    if (!faces.length) return;
    this.#people(faces, looked, portrait);
    const face = faces[looked];
    this.#verdict(face);
    const scores = shown(face);
    const first = verdict(face).emotion;
    EMOTIONS.forEach((emotion, at) => {
      const button = $("bars").children[at].firstChild;
      button.style.setProperty("--share", scores[emotion]);
      button.classList.toggle("first", emotion === first);
      button.setAttribute("aria-pressed", emotion === asked);
      button.lastChild.textContent = percent(scores[emotion]);
    });
  }

  /** In the order in which they were met: where people are followed, ranks change with sizes. */
  #people(faces, looked, portrait) {
    $("people").hidden = faces.length < 2;
    if (faces.length < 2) return;
    const people = faces.map((face, index) => ({ face, index, who: identity(face, index) }));
    const buttons = keep($("people"), people.length, () =>
      element("button", { type: "button", className: "person" }));
    for (const [at, { face, index, who }] of people.sort((a, b) => a.who - b.who).entries()) {
      const button = buttons[at];
      const { emotion } = verdict(face);
      button.style.setProperty("--colour", colour(emotion));
      button.setAttribute("aria-pressed", index === looked);
      const name = face.track == null ? `Face ${index + 1}` : `Person ${face.track}`;
      button.setAttribute("aria-label", `${name}, ${title(emotion)}`);
      button.onclick = () => this.onSelect(who);
      if (portrait) button.replaceChildren(cut(portrait, face.box));
      else button.textContent = face.track ?? index + 1;
    }
  }

  #verdict(face) {
    const { emotion, confidence } = verdict(face);
    setText($("emotion"), title(emotion));
    setText($("confidence"), percent(confidence));
    $("unsure").hidden = !face.abstained;
  }
}

function bar(emotion, onclick) {
  return element(
    "button",
    { type: "button", className: "score", onclick, "--colour": colour(emotion), "aria-pressed": false },
    element("span", { textContent: title(emotion) }),
    element("span", { className: "track", "aria-hidden": true }, element("span", { className: "fill" })),
    element("span", { className: "value" }),
  );
}

/** The face, cut out of the picture. */
function cut(picture, { x, y, width, height }) {
  const side = Math.max(width, height) * 1.15;
  const canvas = element("canvas", { width: 104, height: 104 });
  canvas.getContext("2d").drawImage(
    picture, x + (width - side) / 2, y + (height - side) / 2, side, side, 0, 0, 104, 104,
  );
  return canvas;
}
