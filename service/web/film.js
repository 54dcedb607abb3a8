// A video: answers stream in while it can be watched, sought through and explained.

import { $, snapshot } from "./dom.js";
import { csv, FRAME_COLUMNS, row, save, stem } from "./saving.js";
import { clearProblem, endProgress, progress, say, tell } from "./say.js";
import { annotated, explained, video } from "./service.js";
import { clock, Timeline } from "./timeline.js";

const NEAR = 0.6; // seconds from a frame that was looked at for which it still stands

export class Film {
  mode = "film";
  #ending = null;
  #frame = null;

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
    this.#ending?.abort();
    this.#ending = new AbortController();
    this.player.src = this.url;
    this.player.ontimeupdate = this.player.onseeked = () => this.#follow();
    this.player.onplay = () => { this.view.forget(); this.#run(); };
    $("rate").onchange = () => this.start();
    $("save-mp4").disabled = true;
    try {
      await this.#look(this.#ending.signal);
    } catch (error) {
      if (error.name !== "AbortError") tell(error, () => this.start());
    }
  }

  stop() {
    this.#ending?.abort();
    this.player.pause();
    this.player.removeAttribute("src");
    this.player.ontimeupdate = this.player.onseeked = this.player.onplay = $("rate").onchange = null;
    this.timeline.clear();
    URL.revokeObjectURL(this.url);
  }

  question(index) {
    this.player.pause();
    return { image: snapshot(this.player, this.width, this.height), face: index };
  }

  csv() {
    const rows = this.moments.flatMap(({ frame, time, faces }) => faces.map((face) => row(face, frame, time, face.track)));
    save(csv(FRAME_COLUMNS, rows), `${stem(this.file.name)}.csv`);
  }

  async png(query) {
    save(await explained(await this.question(0).image, query), `${stem(this.file.name)}-${query.view}.png`);
  }

  async mp4() {
    const drawing = new AbortController();
    const words = (size) => `Drawing the video: ${(size / 1e6).toFixed(1)} MB so far`;
    progress(words(0), null, () => drawing.abort());
    try {
      const { method, layer, colormap, alpha } = this.view.why.query;
      const query = { method, layer, colormap, alpha };
      const film = await annotated(this.file, query, drawing.signal, (size) => progress(words(size), null, () => drawing.abort()));
      save(film, `${stem(this.file.name)}-gimefive.mp4`);
      say("The video is drawn.");
    } finally {
      endProgress();
    }
  }

  async #look(signal) {
    const started = performance.now();
    progress("Sending the video", null, () => this.#ending.abort());
    try {
      for await (const line of video(this.file, { fps: $("rate").value }, signal)) {
        if (line.video) this.#begin(line.video);
        else if (line.summary) this.#summarise(line.summary);
        else this.#add({ faces: [], ...line }, started); // the model could not answer for all
      }
    } finally {
      this.timeline.draw();
      if (!signal.aborted || this.#ending.signal === signal) endProgress();
      $("save-mp4").disabled = !this.moments.length;
    }
  }

  #begin(info) {
    Object.assign(this, { width: info.width, height: info.height, sampled: info.sampled_frames, duration: info.duration });
    this.view.stage.show("film", info.width, info.height);
    this.timeline.start(info.duration);
  }

  #add(moment, started) {
    this.moments.push(moment);
    this.timeline.add(moment);
    const done = this.moments.length;
    const share = this.sampled ? done / this.sampled : this.duration ? moment.time / this.duration : null;
    const rate = (done / (performance.now() - started)) * 1000;
    const left = share ? `, ${clock(((1 - share) / share) * done / rate)} left` : "";
    progress(`${done} frames, ${rate.toFixed(1)} a second${left}`, share && Math.min(share, 1), () => this.#ending.abort());
    if (done === 1 || Math.abs(moment.time - this.player.currentTime) < NEAR) this.#follow();
  }

  #summarise({ frames, faces, tracks }) {
    const people = tracks?.length ?? 0;
    const lost = this.moments.filter(({ problem }) => problem).length;
    say(`${frames} frames, ${faces} faces${people ? `, ${people === 1 ? "one person" : `${people} people`}` : ""}.${lost ? ` The model could not answer for ${lost} of the frames.` : ""}`);
    if (!faces) this.view.update([]);
  }

  #seek(time) {
    this.player.pause();
    this.player.currentTime = time;
  }

  #run() {
    this.#follow();
    if (!this.player.paused && !this.player.ended) requestAnimationFrame(() => this.#run());
  }

  /** Show what the frame looked at nearest before now shows. */
  #follow() {
    const time = this.player.currentTime;
    this.timeline.at(time);
    const moment = nearest(this.moments, time);
    if (moment === this.#frame) return;
    this.#frame = moment;
    this.view.forget();
    this.view.update(moment?.faces ?? []);
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
  return found && Math.abs(found.time - time) < NEAR ? found : null;
}
