// Why a face got a score: its heat map, and the ways to ask for one.

import { closeUp } from "./crop.js";
import { $, hide } from "./dom.js";
import { percent } from "./emotions.js";
import { clearProblem, tell } from "./say.js";
import { heatmap } from "./service.js";

export class Why {
  #asking = null;
  #question = null;

  constructor(stage, { onHide }) {
    this.stage = stage;
    $("options").addEventListener("submit", (event) => event.preventDefault());
    for (const id of ["method", "layer", "colormap"]) $(id).addEventListener("change", () => this.#again());
    $("alpha").addEventListener("input", () => this.#mix());
    $("hide-heat").addEventListener("click", onHide);
    this.#mix();
  }

  get options() {
    return { method: $("method").value, layer: $("layer").value, colormap: $("colormap").value };
  }

  /** The whole question, for a picture that the service draws. */
  get query() {
    const { face = 0, target = "" } = this.#question ?? {};
    return { ...this.options, alpha: $("alpha").value, face, target };
  }

  get alpha() { return Number($("alpha").value); }

  /** Show the evidence for an emotion in the face of this rank in the picture. */
  async ask(image, face, target) {
    this.#asking?.abort();
    const asking = (this.#asking = new AbortController());
    this.#question = { image, face, target };
    clearProblem();
    this.#wipe("Computing the heat map.");
    $("why").hidden = false;
    $("why-title").textContent = `Why ${target}?`;
    $("frame").setAttribute("aria-busy", true);
    try {
      const picture = await image;
      const query = { ...this.options, face, target };
      const [found, seen] = await Promise.all([
        heatmap(picture, query, asking.signal), createImageBitmap(picture).catch(() => null),
      ]);
      if (!asking.signal.aborted) this.#show(found, seen, target);
    } catch (error) {
      if (asking.signal.aborted) return;
      this.#wipe("");
      tell(error, () => this.#again());
    } finally {
      if (this.#asking === asking) $("frame").removeAttribute("aria-busy");
    }
  }

  #show({ image, place, empty }, picture, target) {
    const heat = $("closeup-heat");
    heat.width = heat.height = image.width;
    if (picture) closeUp($("closeup-face"), picture, place);
    picture?.close();
    if (!empty) {
      this.stage.addHeat(image, place);
      heat.getContext("2d").drawImage(image, 0, 0);
    }
    $("why-words").textContent = empty
      ? `This layer holds no evidence for ${target} in this face.`
      : `${meaning(this.options.method, target)} Each map’s colours are scaled to its own maximum, ` +
        "so colours cannot be compared between maps.";
  }

  clear() {
    this.#asking?.abort();
    if (this.#question) clearProblem();
    this.#question = null;
    this.#wipe("");
    hide($("why"), $("bars").querySelector("[aria-pressed=true]") ?? $("stage"));
  }

  /** Take away what was answered before. */
  #wipe(words) {
    this.stage.clearHeat();
    for (const id of ["closeup-face", "closeup-heat"]) $(id).width = 0;
    $("why-words").textContent = words;
  }

  #again() {
    if (this.#question) this.ask(this.#question.image, this.#question.face, this.#question.target);
  }

  #mix() {
    this.stage.opacity(this.alpha);
    $("closeup-heat").style.opacity = this.alpha;
    $("alpha-value").textContent = percent(this.alpha);
  }
}

const meaning = (method, target) => method === "activations"
  ? "The stronger the colour, the stronger this layer’s response, whatever the emotion."
  : `The stronger the colour, the stronger the evidence for ${target}.`;
