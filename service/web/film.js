// A video: results stream in while it can be played, sought and explained.

import { $, snapshot } from "./dom.js";
import { csv, FRAME_COLUMNS, row, save, stem } from "./saving.js";
import { clearProblem, counted, endProgress, progress, showStatus, showProblem } from "./say.js";
import { annotatedVideo, explanationImage, Problem, classifyVideo } from "./service.js";
import { clock, Timeline } from "./timeline.js";

const MAX_DISTANCE = 0.6; // seconds for which the result of an analysed frame is shown
const UNPLAYABLE = {
  title: "This browser cannot play the video",
  detail: "This browser cannot play this type of video: the boxes mark where its faces are, and “Video as MP4” makes one that it can play.",
  status: 415,
};

export class Film {
  mode = "film";
  #analysis = null;
  #annotation = null;
  #frame = null;
  #unplayable = false; // whether the browser cannot play the video
  #summary = "";

  constructor(file, view) {
    this.file = file;
    this.view = view;
    this.player = $("film");
    this.url = URL.createObjectURL(file);
    this.timeline = new Timeline($("timeline"), { onSeek: (time) => this.#seek(time) });
  }

  async start() {
    clearProblem();
    this.moments = [];
    this.#summary = "";
    this.#analysis?.abort();
    const analysis = (this.#analysis = new AbortController());
    this.player.onerror = () => this.#onPlayerError();
    this.player.src = this.url;
    this.player.ontimeupdate = this.player.onseeked = () => this.#showNearest();
    this.player.onplay = () => { this.view.forget(); this.#updateControls(); this.#animate(); };
    this.player.onpause = () => this.#updateControls();
    this.player.onclick = $("play").onclick = () => (this.player.paused ? this.player.play().catch(showProblem) : this.player.pause());
    $("sound").onclick = () => { this.player.muted = !this.player.muted; this.#updateControls(); };
    this.#updateControls();
    $("rate").onchange = () => this.start();
    $("save-mp4").disabled = true;
    try {
      await this.#analyse(analysis);
    } catch (error) {
      showProblem(error, () => this.start());
      if (analysis === this.#analysis && this.moments.length) this.#showSummary(`${counted(this.moments.length, "frame")} analysed.`);
    }
  }

  stop() {
    this.#analysis?.abort();
    this.#annotation?.abort();
    this.#analysis = null;
    this.player.pause();
    this.player.removeAttribute("src");
    this.player.onerror = this.player.ontimeupdate = this.player.onseeked = this.player.onplay = this.player.onpause =
      this.player.onclick = $("play").onclick = $("sound").onclick = $("rate").onchange = null;
    this.timeline.clear();
    URL.revokeObjectURL(this.url);
  }

  question(index) {
    this.player.pause();
    return { image: this.#unplayable ? Promise.reject(new Problem(UNPLAYABLE)) : this.#frameImage(), face: index };
  }

  csv() {
    const rows = this.moments.flatMap(({ frame, time, faces }) => faces.map((face) => row(face, frame, time, face.track)));
    save(csv(FRAME_COLUMNS, rows), `${stem(this.file.name)}.csv`);
  }

  async png(query) {
    save(await explanationImage(await this.question(0).image, query), `${stem(this.file.name)}-${query.view}.png`);
  }

  async mp4() {
    const annotation = (this.#annotation = new AbortController());
    const received = (size) => progress(annotation, `Annotating the video: ${(size / 1e6).toFixed(1)} MB so far`);
    received(0);
    try {
      const { method, layer, colormap, alpha } = this.view.why.query;
      const query = { method, layer, colormap, alpha };
      const movie = await annotatedVideo(this.file, query, annotation.signal, received);
      save(movie, `${stem(this.file.name)}-gimefive.mp4`);
      showStatus("The annotated video is saved.");
    } finally {
      endProgress(annotation);
    }
  }

  /** The image of the analysed frame, at which the bounding boxes match the faces. */
  async #frameImage() {
    const time = this.#frame ? this.#frame.time + 0.01 : this.player.currentTime; // timestamps are rounded
    if (this.player.currentTime !== time) {
      const sought = new Promise((resolve) => this.player.addEventListener("seeked", resolve, { once: true }));
      this.player.currentTime = time;
      await sought;
    }
    return snapshot(this.player, this.width, this.height);
  }

  async #analyse(analysis) {
    const started = performance.now();
    progress(analysis, "Sending the video");
    try {
      for await (const line of classifyVideo(this.file, { fps: $("rate").value }, analysis.signal)) {
        if (line.video) this.#onVideoInfo(line.video);
        else if (line.summary) this.#summarise(line.summary);
        else this.#addFrame({ faces: [], ...line }, started, analysis); // a frame that could not be read or classified has no faces
      }
    } finally {
      endProgress(analysis);
      if (analysis === this.#analysis) {
        this.timeline.draw();
        $("save-mp4").disabled = !this.moments.length;
      }
    }
  }

  #onVideoInfo(info) {
    Object.assign(this, { width: info.width, height: info.height, sampled: info.sampled_frames, duration: info.duration });
    this.timeline.start(info.duration);
    this.#show();
  }

  #show() {
    this.view.stage.show(this.#unplayable ? "none" : "film", this.width, this.height);
    this.#frame = null;
    this.#showNearest();
  }

  #updateControls() {
    $("play").disabled = $("sound").disabled = this.#unplayable;
    $("play").textContent = this.player.paused ? "Play" : "Pause";
    $("sound").setAttribute("aria-pressed", !this.player.muted);
  }

  #onPlayerError() {
    this.#unplayable = this.player.error.code === MediaError.MEDIA_ERR_SRC_NOT_SUPPORTED;
    this.#updateControls();
    if (this.width) this.#show();
  }

  #addFrame(moment, started, analysis) {
    this.moments.push(moment);
    this.timeline.add(moment);
    if (moment.faces.length) $("keep").hidden = false;
    const done = this.moments.length;
    const share = this.sampled ? done / this.sampled : this.duration ? moment.time / this.duration : null;
    const rate = (done / (performance.now() - started)) * 1000;
    const left = share ? `, ${clock(((1 - share) / share) * done / rate)} left` : "";
    progress(analysis, `${counted(done, "frame")}, ${rate.toFixed(1)} per second${left}`, share && Math.min(share, 1));
    if (done === 1 || Math.abs(moment.time - this.player.currentTime) < MAX_DISTANCE) this.#showNearest();
  }

  #summarise({ frames, faces, tracks }) {
    const people = tracks?.length ?? 0;
    const lost = this.moments.filter(({ problem }) => problem).length;
    this.#showSummary(`${counted(frames, "frame")}, ${counted(faces, "face")}${people ? `, ${people === 1 ? "one person" : `${people} people`}` : ""}.${lost ? ` ${lost === 1 ? "One frame" : `${lost} frames`} could not be read or classified.` : ""}${this.#unplayable ? ` ${UNPLAYABLE.detail}` : ""}`);
  }

  #showSummary(summary) {
    this.#summary = summary;
    showStatus(summary);
  }

  #seek(time) {
    this.player.pause();
    this.player.currentTime = time;
    this.#showNearest(); // a video that the browser cannot play fires no event
  }

  #animate() {
    this.#showNearest();
    if (!this.player.paused && !this.player.ended) requestAnimationFrame(() => this.#animate());
  }

  /** Show the result of the analysed frame nearest before the current time. */
  #showNearest() {
    const time = this.player.currentTime;
    this.timeline.at(time);
    const moment = nearest(this.moments, time);
    if (moment === this.#frame) return;
    this.#frame = moment;
    this.view.forget();
    this.view.update(moment?.faces ?? []);
    const ahead = !moment && time > this.moments.at(-1)?.time;
    showStatus(ahead ? "This part of the video has not been analysed." : this.#summary);
  }
}

function nearest(moments, time) {
  let low = 0, high = moments.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (moments[middle].time <= time + 0.02) low = middle + 1;
    else high = middle;
  }
  const found = moments[low - 1] ?? moments[0];
  return found && Math.abs(found.time - time) < MAX_DISTANCE ? found : null;
}
