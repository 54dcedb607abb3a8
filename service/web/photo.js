// A photo: its faces, their scores and explanations.

import { $ } from "./dom.js";
import { csv, row, save, stem } from "./saving.js";
import { clearProblem, endProgress, progress, showStatus, showProblem } from "./say.js";
import { classify, explanationImage } from "./service.js";

const COLUMNS = ["face", "x", "y", "width", "height", "detection_score", "emotion", "confidence",
  "happiness", "surprise", "sadness", "anger", "disgust", "fear"];

export class Photo {
  mode = "photo";
  #analysis = new AbortController();

  constructor(file, view) {
    this.file = file;
    this.view = view;
    this.url = URL.createObjectURL(file);
    this.faces = [];
  }

  async start() {
    clearProblem();
    const analysis = (this.#analysis = new AbortController());
    try {
      const visible = await loadImage($("photo"), this.url, this.file.name);
      analysis.signal.throwIfAborted();
      if (visible) this.view.stage.show("photo", $("photo").naturalWidth, $("photo").naturalHeight);
      progress(analysis, "Looking for faces");
      const answer = await classify(this.file, analysis.signal);
      if (!visible) this.view.stage.show("none", answer.image.width, answer.image.height);
      this.faces = answer.faces;
      this.view.update(this.faces, visible ? $("photo") : null);
      showStatus(this.#summary(visible));
    } catch (error) {
      showProblem(error, () => this.start());
    } finally {
      endProgress(analysis);
    }
  }

  stop() {
    this.#analysis.abort();
    URL.revokeObjectURL(this.url);
  }

  /** The image to explain, and the index of the face in it. */
  question(index) { return { image: this.file, face: index }; }

  csv() { save(csv(COLUMNS, this.faces.map((face, index) => row(face, index))), `${stem(this.file.name)}.csv`); }

  async png(query) {
    save(await explanationImage(this.file, query, this.#analysis.signal), `${stem(this.file.name)}-${query.view}.png`);
  }

  #summary(visible) {
    const count = this.faces.length;
    const hidden = visible ? "" : " This browser cannot show this type of picture; the boxes mark where its faces are.";
    if (!count) return `No face was found. Try a picture with a larger or brighter face, or one that is turned to the camera.${hidden}`;
    return `${count === 1 ? "One face" : `${count} faces`}.${hidden}`;
  }
}

/** Load an image. Returns whether the browser can show it. */
async function loadImage(image, url, name) {
  image.src = url;
  image.alt = name;
  return image.decode().then(() => true, () => false);
}
