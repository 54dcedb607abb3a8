// The view: the current faces, which of them is selected, and which emotion is explained.

import { $ } from "./dom.js";
import { personId } from "./emotions.js";
import { Found } from "./found.js";
import { Stage } from "./stage.js";
import { Why } from "./why.js";

export class View {
  faces = [];
  #selected = null;
  #askedEmotion = null;
  #photo = null;

  /** `question` maps the index of a face to what to explain: `{image, face}`. */
  constructor(question) {
    this.question = question;
    const onSelect = (who) => this.#select(who);
    this.stage = new Stage({ onSelect });
    this.found = new Found({ onSelect, onAsk: (emotion) => this.#ask(emotion) });
    this.why = new Why(this.stage, { onHide: () => this.forget() });
  }

  /** Show these faces; `photo`, if given, is the image from which their thumbnails are cropped. */
  update(faces, photo = null) {
    this.faces = faces;
    this.#photo = photo;
    $("keep").hidden &&= !faces.length;
    this.#show();
  }

  /** Remove the heat map. */
  forget() {
    this.#askedEmotion = null;
    this.why.clear();
    this.#show();
  }

  reset() {
    this.faces = [];
    this.#selected = null;
    this.forget();
    this.stage.empty();
    $("keep").hidden = true;
  }

  #select(who) {
    this.#selected = who;
    this.#show();
    if (this.#askedEmotion) this.#ask(this.#askedEmotion);
  }

  #ask(emotion) {
    const { image, face } = this.question(this.rank);
    this.#askedEmotion = emotion;
    this.#show();
    this.why.ask(image, face, emotion);
  }

  /** The index of the current face: the selected one or, while it is absent, the one with the lowest track. */
  get rank() {
    const known = this.faces.map(personId);
    const who = known.includes(this.#selected) ? this.#selected : Math.min(...known);
    return Math.max(0, known.indexOf(who));
  }

  #show() {
    this.stage.mark(this.faces, this.rank);
    this.found.show(this.faces, this.rank, this.#askedEmotion, this.#photo);
  }
}
