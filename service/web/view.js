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
    $("keep").hidden &&= !faces.length;
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
    this.stage.empty();
    $("keep").hidden = true;
  }

  #select(who) {
    this.#selected = who;
    this.#show();
    if (this.#asked) this.#ask(this.#asked);
  }

  #ask(emotion) {
    const { image, face } = this.question(this.rank);
    this.#asked = emotion;
    this.#show();
    this.why.ask(image, face, emotion);
  }

  /** Which of the faces is looked at: the selected one, while it is away the one known longest. */
  get rank() {
    const known = this.faces.map(identity);
    const who = known.includes(this.#selected) ? this.#selected : Math.min(...known);
    return Math.max(0, known.indexOf(who));
  }

  #show() {
    this.stage.mark(this.faces, this.rank);
    this.found.show(this.faces, this.rank, this.#asked, this.#portrait);
  }
}
