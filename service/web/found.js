// The results: the list of people, and the top emotion and all scores of the current face.

import { $, element, resizeChildren, setText } from "./dom.js";
import { colour, EMOTIONS, personId, percent, shownScores, title, topEmotion } from "./emotions.js";

export class Found {
  constructor({ onSelect, onAsk }) {
    this.onSelect = onSelect;
    $("bars").append(...EMOTIONS.map((emotion) => element("li", {}, bar(emotion, () => onAsk(emotion)))));
  }

  /** Show the face with the index `current`; `askedEmotion` is the emotion whose heat map is shown. */
  show(faces, current, askedEmotion, photo) {
    $("found").hidden = !faces.length;
    if (!faces.length) return;
    this.#showPeople(faces, current, photo);
    const face = faces[current];
    this.#showTopEmotion(face);
    const scores = shownScores(face);
    const top = topEmotion(face).emotion;
    EMOTIONS.forEach((emotion, at) => {
      const button = $("bars").children[at].firstChild;
      button.style.setProperty("--share", scores[emotion]);
      button.classList.toggle("first", emotion === top);
      button.setAttribute("aria-pressed", emotion === askedEmotion);
      button.lastChild.textContent = percent(scores[emotion]);
    });
  }

  /** List tracked people in the order of their tracks, since the index of a face changes with its size. */
  #showPeople(faces, current, photo) {
    $("people").hidden = faces.length < 2;
    if (faces.length < 2) return;
    const people = faces.map((face, index) => ({ face, index, who: personId(face, index) }));
    const buttons = resizeChildren($("people"), people.length, () =>
      element("button", { type: "button", className: "person" }));
    for (const [at, { face, index, who }] of people.sort((a, b) => a.who - b.who).entries()) {
      const button = buttons[at];
      const { emotion } = topEmotion(face);
      button.style.setProperty("--colour", colour(emotion));
      button.setAttribute("aria-pressed", index === current);
      const name = face.track == null ? `Face ${index + 1}` : `Person ${face.track}`;
      button.setAttribute("aria-label", `${name}, ${title(emotion)}`);
      button.onclick = () => this.onSelect(who);
      if (photo) button.replaceChildren(cropFace(photo, face.box));
      else button.textContent = face.track ?? index + 1;
    }
  }

  #showTopEmotion(face) {
    const { emotion, confidence } = topEmotion(face);
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

/** Crop a face out of the photo. */
function cropFace(picture, { x, y, width, height }) {
  const side = Math.max(width, height) * 1.15;
  const canvas = element("canvas", { width: 104, height: 104 });
  canvas.getContext("2d").drawImage(
    picture, x + (width - side) / 2, y + (height - side) / 2, side, side, 0, 0, 104, 104,
  );
  return canvas;
}
