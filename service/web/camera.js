// The camera, live: frames go to /live as fast as answers come; the newest wins.

import { $, snapshot } from "./dom.js";
import { coloured } from "./crop.js";
import { askForKey, headers, subprotocols } from "./key.js";
import { csv, FRAME_COLUMNS, row, save } from "./saving.js";
import { clearProblem, say, tell } from "./say.js";
import { explained } from "./service.js";

const WIDTH = 640; // of the frames that are sent
const UNDER_WAY = 2; // frames sent and not yet answered
const KEPT = 200_000; // rows kept for the CSV
const SECOND = 1000;

const CLOSED = {
  1008: "The service does not accept this connection.",
  1009: "The camera’s pictures are larger than the service accepts.",
  1012: "The service is shutting down.",
  1013: "Too many cameras are in use already.",
};

export class Camera {
  mode = "camera";
  #socket = null;
  #seq = 0;
  #sent = new Map();
  #fresh = false; // a frame has come that was not sent
  #arrivals = [];
  #dropped = 0;
  #problem = null; // of the last answer
  #ended = false;

  constructor(track, view) {
    this.track = track;
    this.view = view;
    this.rows = [];
    this.video = $("camera");
  }

  async start() {
    clearProblem();
    this.video.srcObject = new MediaStream([this.track]);
    await this.video.play().catch(tell);
    if (this.#ended) return;
    this.view.stage.show("camera", this.video.videoWidth, this.video.videoHeight, true);
    $("pause").onclick = () => (this.video.paused ? this.#resume() : this.#pause());
    $("live-heat").onchange = () => { this.view.forget(); this.#connect(); };
    this.#connect();
    this.#pace();
  }

  stop() {
    this.#ended = true;
    this.#socket?.close();
    this.track.stop();
    this.video.srcObject = null;
    $("pause").onclick = $("live-heat").onchange = null;
    $("pause").setAttribute("aria-pressed", false);
  }

  /** A moving picture cannot be asked about: it stops. */
  question(index) {
    if (!this.video.paused) this.#pause();
    return { image: this.#picture(), face: index };
  }

  csv() { save(csv(FRAME_COLUMNS, this.rows), "camera.csv"); }

  async png(query) {
    save(await explained(await this.#picture(), query), `camera-${query.view}.png`);
  }

  #picture() { return snapshot(this.video, this.video.videoWidth, this.video.videoHeight); }

  #connect() {
    this.#socket?.close();
    const query = new URLSearchParams($("live-heat").checked ? { explain: "gradcam" } : {});
    const socket = (this.#socket = new WebSocket(`live?${query}`, subprotocols()));
    this.#sent.clear();
    this.#seq = 0;
    let opened = false;
    socket.onopen = () => { opened = true; this.#announce(); this.#send(); };
    socket.onmessage = ({ data }) => {
      if (socket !== this.#socket) return;
      this.#answered(JSON.parse(data));
      this.#send();
    };
    socket.onclose = ({ code, reason }) => {
      if (socket === this.#socket && !this.#ended) this.#closed(code, reason, opened);
    };
  }

  /** Note each frame as it comes. */
  #pace() {
    if (this.#ended) return;
    this.#fresh = true;
    this.#send();
    const next = () => this.#pace();
    this.video.requestVideoFrameCallback ? this.video.requestVideoFrameCallback(next) : setTimeout(next, 40);
  }

  async #send() {
    const socket = this.#socket;
    if (!this.#fresh || socket.readyState !== WebSocket.OPEN) return;
    if (document.hidden || this.#sent.size >= UNDER_WAY) return;
    this.#fresh = false;
    this.#sent.set(this.#seq, { at: performance.now(), time: this.video.currentTime, still: this.video.paused });
    this.#seq += 1;
    const height = Math.round((WIDTH * this.video.videoHeight) / this.video.videoWidth);
    socket.send(await snapshot(this.video, WIDTH, height, "image/jpeg", 0.85));
  }

  #answered({ seq, dropped, image, faces, problem }) {
    const { at, time, still } = this.#sent.get(seq) ?? {};
    for (const each of this.#sent.keys()) if (each <= seq) this.#sent.delete(each);
    this.#dropped += dropped ?? 0;
    if (this.video.paused && !still) return; // of a frame before the one that is seen
    if (problem) {
      if (this.#problem !== problem.detail) tell(Object.assign(new Error(problem.detail), problem));
      this.#problem = problem.detail;
      return;
    }
    if (this.#problem) clearProblem();
    this.#problem = null;
    const scale = this.video.videoWidth / image.width;
    for (const face of faces) face.box = scaled(face.box, scale);
    this.view.update(faces);
    this.#heat(faces, scale);
    if (this.rows.length < KEPT) {
      for (const face of faces) this.rows.push(row(face, seq, time?.toFixed(3) ?? "", face.track));
    }
    this.#figures(performance.now() - at);
  }

  /** Where each face's evidence is. */
  #heat(faces, scale) {
    if (!$("live-heat").checked || this.video.paused) return;
    this.view.stage.clearHeat();
    for (const face of faces) {
      if (!face.map) continue;
      const place = face.place.flatMap(([a, b, c]) => [a * scale, b * scale, (c + 0.5) * scale - 0.5]);
      this.view.stage.addHeat(coloured(face.map), place);
    }
  }

  #figures(latency) {
    const now = performance.now();
    this.#arrivals = [...this.#arrivals, now].filter((each) => now - each < 2 * SECOND);
    const rate = (this.#arrivals.length / 2).toFixed(1);
    $("figures").textContent =
      `${rate} answers per second, ${Math.round(latency)} ms each, ${this.#dropped} frames skipped.`;
  }

  #pause() {
    this.video.pause();
    this.#held();
    this.#fresh = true; // the frame that stays on is one to send
    this.#send();
  }

  #resume() {
    this.video.play().catch(tell);
    this.#held();
  }

  #held() {
    $("pause").setAttribute("aria-pressed", this.video.paused);
    this.view.forget();
    this.#announce();
  }

  #announce() {
    say(this.video.paused ? "Paused." : "Live.");
  }

  async #closed(code, reason, opened) {
    if (!opened && await refused() && !this.#ended && await askForKey() && !this.#ended) return this.#connect();
    if (this.#ended) return;
    const detail = reason || CLOSED[code] || "The connection was lost.";
    tell(Object.assign(new Error(detail), { title: "The live stream ended" }), () => this.#connect());
  }
}

/** Whether it is for want of a key, which a page is not told of a WebSocket. */
const refused = () => fetch("models", { headers: headers() }).then(({ status }) => status === 401, () => false);

const scaled = ({ x, y, width, height }, by) => ({ x: x * by, y: y * by, width: width * by, height: height * by });

/** A track of pictures, if people and the browser let the page have one. */
export async function openCamera() {
  try {
    const stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "user" } });
    return stream.getVideoTracks()[0];
  } catch (error) {
    throw refusal(error);
  }
}

function refusal(error) {
  const detail = !isSecureContext
    ? "Browsers allow the camera only on pages from this device or over HTTPS."
    : error.name === "NotAllowedError"
      ? "The browser blocks the camera for this page: allow it next to the address."
      : error.name === "NotReadableError"
        ? "Another program may be using the camera: close it, then try again."
        : "This browser found no camera.";
  return Object.assign(new Error(detail), { title: "No camera" });
}
