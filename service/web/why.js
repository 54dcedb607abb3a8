// The explanation of a score: the heat map and its options.

import { closeUp } from "./crop.js";
import { $, hide } from "./dom.js";
import { percent } from "./emotions.js";
import { clearProblem, showProblem } from "./say.js";
import { heatmap } from "./service.js";

export class Why {
  #request = null;
  #question = null;

  constructor(stage, { onHide }) {
    this.stage = stage;
    $("options").addEventListener("submit", (event) => event.preventDefault());
    for (const id of ["method", "layer", "colormap"]) $(id).addEventListener("change", () => this.#repeat());
    $("alpha").addEventListener("input", () => this.#applyAlpha());
    $("hide-heat").addEventListener("click", onHide);
    this.#applyAlpha();
  }

  get options() {
    return { method: $("method").value, layer: $("layer").value, colormap: $("colormap").value };
  }

  /** The full query for an explanation image drawn by the service. */
  get query() {
    const { face = 0, target = "" } = this.#question ?? {};
    return { ...this.options, alpha: $("alpha").value, face, target };
  }

  get alpha() { return Number($("alpha").value); }

  /** Show the evidence for an emotion in the face with this index. */
  async ask(image, face, target) {
    this.#request?.abort();
    const request = (this.#request = new AbortController());
    this.#question = { image, face, target };
    clearProblem();
    this.#clearMaps("Computing the heat map.");
    $("why").hidden = false;
    $("why-title").textContent = `Why ${target}?`;
    $("frame").setAttribute("aria-busy", true);
    try {
      const picture = await image;
      const query = { ...this.options, face, target };
      const [found, seen] = await Promise.all([
        heatmap(picture, query, request.signal), createImageBitmap(picture).catch(() => null),
      ]);
      if (!request.signal.aborted) this.#show(found, seen, target);
    } catch (error) {
      if (request.signal.aborted) return;
      this.#clearMaps("");
      showProblem(error, () => this.#repeat());
    } finally {
      if (this.#request === request) $("frame").removeAttribute("aria-busy");
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
      : `${meaningOf(this.options.method, target)} Each map’s colours are scaled to its own maximum, ` +
        "so colours cannot be compared between maps.";
  }

  clear() {
    this.#request?.abort();
    if (this.#question) clearProblem();
    this.#question = null;
    this.#clearMaps("");
    hide($("why"), $("bars").querySelector("[aria-pressed=true]") ?? $("stage"));
  }

  /** Clear the previous heat map, and show a text instead. */
  #clearMaps(text) {
    this.stage.clearHeat();
    for (const id of ["closeup-face", "closeup-heat"]) $(id).width = 0;
    $("why-words").textContent = text;
  }

  #repeat() {
    if (this.#question) this.ask(this.#question.image, this.#question.face, this.#question.target);
  }

  #applyAlpha() {
    this.stage.opacity(this.alpha);
    $("closeup-heat").style.opacity = this.alpha;
    $("alpha-value").textContent = percent(this.alpha);
  }
}

const meaningOf = (method, target) => method === "activations"
  ? "The stronger the colour, the stronger this layer’s response, whatever the emotion."
  : `The stronger the colour, the stronger the evidence for ${target}.`;
