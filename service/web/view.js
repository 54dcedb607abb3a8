// What is looked at: the faces shown now, which of them is selected, and what is asked of it.

import { $ } from "./dom.js";
import { identity } from "./emotions.js";
import { Found } from "./found.js";
import { Stage } from "./stage.js";
import { Why } from "./why.js";

export class View {
  faces = [];
  #selected = null;
  #asked = null;
  #portrait = null;

  /** `question` gives, for a face's rank, what to explain: `{image, face}`. */
  constructor(question) {
    this.question = question;
    const onSelect = (who) => this.#select(who);
    this.stage = new Stage({ onSelect });
    this.found = new Found({ onSelect, onAsk: (emotion) => this.#ask(emotion) });
    this.why = new Why(this.stage, { onHide: () => this.forget() });
  }

  /** Show these faces; `portrait`, if given, is what their likenesses are cut from. */
  update(faces, portrait = null) {
    this.faces = faces;
    this.#portrait = portrait;
    if (this.#rank() < 0) this.#selected = faces.length ? identity(faces[0], 0) : null;
    $("keep").hidden = false;
    this.#show();
  }

  /** Take the heat map away. */
  forget() {
    this.#asked = null;
    this.why.clear();
    this.#show();
  }

  reset() {
    this.faces = [];
    this.#selected = null;
    this.forget();
    $("keep").hidden = true;
  }

  #select(who) {
    this.#selected = who;
    this.#show();
    if (this.#asked) this.#ask(this.#asked);
  }

  #ask(emotion) {
    this.#asked = emotion;
    this.#show();
    const { image, face } = this.question(this.rank);
    this.why.ask(image, face, emotion);
  }

  /** Which of the faces is selected, the first one if none is. */
  get rank() { return Math.max(0, this.#rank()); }

  #rank() { return this.faces.findIndex((face, index) => identity(face, index) === this.#selected); }

  #show() {
    this.stage.mark(this.faces, this.#selected);
    this.found.show(this.faces, this.#selected, this.#asked, this.#portrait);
  }
}
