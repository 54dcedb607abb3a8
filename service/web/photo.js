// A photo: found faces, their scores, their reasons.

import { $ } from "./dom.js";
import { csv, row, save, stem } from "./saving.js";
import { clearProblem, endProgress, progress, say, tell } from "./say.js";
import { classify, explained } from "./service.js";

const COLUMNS = ["face", "x", "y", "width", "height", "detection_score", "emotion", "confidence",
  "happiness", "surprise", "sadness", "anger", "disgust", "fear"];

export class Photo {
  mode = "photo";
  #looking = new AbortController();

  constructor(file, view) {
    this.file = file;
    this.view = view;
    this.url = URL.createObjectURL(file);
    this.faces = [];
  }

  async start() {
    clearProblem();
    const looking = (this.#looking = new AbortController());
    try {
      const visible = await shownAs($("photo"), this.url, this.file.name);
      looking.signal.throwIfAborted();
      if (visible) this.view.stage.show("photo", $("photo").naturalWidth, $("photo").naturalHeight);
      progress(looking, "Looking for faces");
      const answer = await classify(this.file, looking.signal);
      if (!visible) this.view.stage.show("none", answer.image.width, answer.image.height);
      this.faces = answer.faces;
      this.view.update(this.faces, visible ? $("photo") : null);
      say(this.#summary(visible));
    } catch (error) {
      tell(error, () => this.start());
    } finally {
      endProgress(looking);
    }
  }

  stop() {
    this.#looking.abort();
    URL.revokeObjectURL(this.url);
  }

  /** The picture to explain, and the face's rank in it. */
  question(index) { return { image: this.file, face: index }; }

  csv() { save(csv(COLUMNS, this.faces.map((face, index) => row(face, index))), `${stem(this.file.name)}.csv`); }

  async png(query) {
    save(await explained(this.file, query, this.#looking.signal), `${stem(this.file.name)}-${query.view}.png`);
  }

  #summary(visible) {
    const count = this.faces.length;
    const hidden = visible ? "" : " This browser cannot show this type of picture; the boxes mark where its faces are.";
    if (!count) return `No face was found. Try a picture with a larger or brighter face, or one that is turned to the camera.${hidden}`;
    return `${count === 1 ? "One face" : `${count} faces`}.${hidden}`;
  }
}

/** Whether the browser can show the picture. */
async function shownAs(image, url, name) {
  image.src = url;
  image.alt = name;
  return image.decode().then(() => true, () => false);
}
