// A video: answers stream in while it can be watched, sought through and explained.

import { $, snapshot } from "./dom.js";
import { csv, FRAME_COLUMNS, row, save, stem } from "./saving.js";
import { clearProblem, endProgress, progress, say, tell } from "./say.js";
import { annotated, explained, Problem, video } from "./service.js";
import { clock, Timeline } from "./timeline.js";

const NEAR = 0.6; // seconds from a frame that was looked at for which it still stands
const UNSEEN = {
  title: "This browser cannot play the video",
  detail: "This browser cannot play this type of video: the boxes mark where its faces are, and “Video as MP4” makes one that it can play.",
  status: 415,
};

export class Film {
  mode = "film";
  #looking = null;
  #drawing = null;
  #frame = null;
  #unseen = false; // since the browser cannot play it
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
    this.#looking?.abort();
    const looking = (this.#looking = new AbortController());
    this.player.onerror = () => this.#failed();
    this.player.src = this.url;
    this.player.ontimeupdate = this.player.onseeked = () => this.#follow();
    this.player.onplay = () => { this.view.forget(); this.#controls(); this.#run(); };
    this.player.onpause = () => this.#controls();
    this.player.onclick = $("play").onclick = () => (this.player.paused ? this.player.play().catch(tell) : this.player.pause());
    $("sound").onclick = () => { this.player.muted = !this.player.muted; this.#controls(); };
    this.#controls();
    $("rate").onchange = () => this.start();
    $("save-mp4").disabled = true;
    try {
      await this.#look(looking);
    } catch (error) {
      tell(error, () => this.start());
      if (looking === this.#looking && this.moments.length) this.#conclude(`${this.moments.length} frames were analysed.`);
    }
  }

  stop() {
    this.#looking?.abort();
    this.#drawing?.abort();
    this.#looking = null;
    this.player.pause();
    this.player.removeAttribute("src");
    this.player.onerror = this.player.ontimeupdate = this.player.onseeked = this.player.onplay = this.player.onpause =
      this.player.onclick = $("play").onclick = $("sound").onclick = $("rate").onchange = null;
    this.timeline.clear();
    URL.revokeObjectURL(this.url);
  }

  question(index) {
    this.player.pause();
    return { image: this.#unseen ? Promise.reject(new Problem(UNSEEN)) : this.#still(), face: index };
  }

  csv() {
    const rows = this.moments.flatMap(({ frame, time, faces }) => faces.map((face) => row(face, frame, time, face.track)));
    save(csv(FRAME_COLUMNS, rows), `${stem(this.file.name)}.csv`);
  }

  async png(query) {
    save(await explained(await this.question(0).image, query), `${stem(this.file.name)}-${query.view}.png`);
  }

  async mp4() {
    const drawing = (this.#drawing = new AbortController());
    const received = (size) => progress(drawing, `Annotating the video: ${(size / 1e6).toFixed(1)} MB so far`);
    received(0);
    try {
      const { method, layer, colormap, alpha } = this.view.why.query;
      const query = { method, layer, colormap, alpha };
      const film = await annotated(this.file, query, drawing.signal, received);
      save(film, `${stem(this.file.name)}-gimefive.mp4`);
      say("The annotated video is saved.");
    } finally {
      endProgress(drawing);
    }
  }

  /** The frame that was looked at: in those after it, the faces of the boxes are elsewhere. */
  async #still() {
    const time = this.#frame ? this.#frame.time + 0.01 : this.player.currentTime; // times are rounded
    if (this.player.currentTime !== time) {
      const sought = new Promise((resolve) => this.player.addEventListener("seeked", resolve, { once: true }));
      this.player.currentTime = time;
      await sought;
    }
    return snapshot(this.player, this.width, this.height);
  }

  async #look(looking) {
    const started = performance.now();
    progress(looking, "Sending the video");
    try {
      for await (const line of video(this.file, { fps: $("rate").value }, looking.signal)) {
        if (line.video) this.#begin(line.video);
        else if (line.summary) this.#summarise(line.summary);
        else this.#add({ faces: [], ...line }, started, looking); // some could not be read or answered
      }
    } finally {
      endProgress(looking);
      if (looking === this.#looking) {
        this.timeline.draw();
        $("save-mp4").disabled = !this.moments.length;
      }
    }
  }

  #begin(info) {
    Object.assign(this, { width: info.width, height: info.height, sampled: info.sampled_frames, duration: info.duration });
    this.timeline.start(info.duration);
    this.#show();
  }

  #show() {
    this.view.stage.show(this.#unseen ? "none" : "film", this.width, this.height);
    this.#frame = null;
    this.#follow();
  }

  #controls() {
    $("play").disabled = $("sound").disabled = this.#unseen;
    $("play").textContent = this.player.paused ? "Play" : "Pause";
    $("sound").setAttribute("aria-pressed", !this.player.muted);
  }

  #failed() {
    this.#unseen = this.player.error.code === MediaError.MEDIA_ERR_SRC_NOT_SUPPORTED;
    this.#controls();
    if (this.width) this.#show();
  }

  #add(moment, started, looking) {
    this.moments.push(moment);
    this.timeline.add(moment);
    if (moment.faces.length) $("keep").hidden = false;
    const done = this.moments.length;
    const share = this.sampled ? done / this.sampled : this.duration ? moment.time / this.duration : null;
    const rate = (done / (performance.now() - started)) * 1000;
    const left = share ? `, ${clock(((1 - share) / share) * done / rate)} left` : "";
    progress(looking, `${done} frames, ${rate.toFixed(1)} per second${left}`, share && Math.min(share, 1));
    if (done === 1 || Math.abs(moment.time - this.player.currentTime) < NEAR) this.#follow();
  }

  #summarise({ frames, faces, tracks }) {
    const people = tracks?.length ?? 0;
    const lost = this.moments.filter(({ problem }) => problem).length;
    this.#conclude(`${frames} frames, ${faces || "no"} faces${people ? `, ${people === 1 ? "one person" : `${people} people`}` : ""}.${lost ? ` ${lost === 1 ? "One frame" : `${lost} frames`} could not be read or classified.` : ""}${this.#unseen ? ` ${UNSEEN.detail}` : ""}`);
  }

  #conclude(summary) {
    this.#summary = summary;
    say(summary);
  }

  #seek(time) {
    this.player.pause();
    this.player.currentTime = time;
    this.#follow(); // a video that the browser cannot play has no event for it
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
    const ahead = !moment && time > this.moments.at(-1)?.time;
    say(ahead ? "This part of the video has not been analysed." : this.#summary);
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
