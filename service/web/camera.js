// The live camera: the newest frame is sent to /live whenever an answer has arrived.

import { $, snapshot } from "./dom.js";
import { coloured } from "./crop.js";
import { askForKey, headers, subprotocols } from "./key.js";
import { csv, FRAME_COLUMNS, row, save } from "./saving.js";
import { clearProblem, counted, showStatus, showProblem } from "./say.js";
import { explanationImage } from "./service.js";

const WIDTH = 640; // of the frames sent
const MAX_IN_FLIGHT = 2; // frames sent but not yet answered
const MAX_ROWS = 200_000; // rows stored for the CSV
const SECOND = 1000;

const CLOSE_REASONS = {
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
  #newFrame = false; // whether there is a frame that was not sent yet
  #arrivals = [];
  #dropped = 0;
  #problem = null; // reported by the last answer
  #stopped = false;

  constructor(track, view) {
    this.track = track;
    this.view = view;
    this.rows = [];
    this.video = $("camera");
  }

  async start() {
    clearProblem();
    this.video.srcObject = new MediaStream([this.track]);
    await this.video.play().catch(showProblem);
    if (this.#stopped) return;
    this.view.stage.show("camera", this.video.videoWidth, this.video.videoHeight, true);
    $("pause").onclick = () => (this.video.paused ? this.#resume() : this.#pause());
    $("live-heat").onchange = () => { this.view.forget(); this.#connect(); };
    this.#connect();
    this.#onFrame();
  }

  stop() {
    this.#stopped = true;
    this.#socket?.close();
    this.track.stop();
    this.video.srcObject = null;
    $("pause").onclick = $("live-heat").onchange = null;
    $("pause").setAttribute("aria-pressed", false);
  }

  /** Only a still image can be explained, so pause first. */
  question(index) {
    if (!this.video.paused) this.#pause();
    return { image: this.#picture(), face: index };
  }

  csv() { save(csv(FRAME_COLUMNS, this.rows), "camera.csv"); }

  async png(query) {
    save(await explanationImage(await this.#picture(), query), `camera-${query.view}.png`);
  }

  #picture() { return snapshot(this.video, this.video.videoWidth, this.video.videoHeight); }

  #connect() {
    this.#socket?.close();
    const query = new URLSearchParams($("live-heat").checked ? { explain: "gradcam" } : {});
    const socket = (this.#socket = new WebSocket(`live?${query}`, subprotocols()));
    this.#sent.clear();
    this.#seq = 0;
    let opened = false;
    socket.onopen = () => { opened = true; this.#showState(); this.#send(); };
    socket.onmessage = ({ data }) => {
      if (socket !== this.#socket) return;
      this.#onAnswer(JSON.parse(data));
      this.#send();
    };
    socket.onclose = ({ code, reason }) => {
      if (socket === this.#socket && !this.#stopped) this.#onClose(code, reason, opened);
    };
  }

  /** Run for each new frame of the camera. */
  #onFrame() {
    if (this.#stopped) return;
    this.#newFrame = true;
    this.#send();
    const next = () => this.#onFrame();
    this.video.requestVideoFrameCallback ? this.video.requestVideoFrameCallback(next) : setTimeout(next, 40);
  }

  async #send() {
    const socket = this.#socket;
    if (!this.#newFrame || socket.readyState !== WebSocket.OPEN) return;
    if (document.hidden || this.#sent.size >= MAX_IN_FLIGHT) return;
    this.#newFrame = false;
    this.#sent.set(this.#seq, { at: performance.now(), time: this.video.currentTime, paused: this.video.paused });
    this.#seq += 1;
    const height = Math.round((WIDTH * this.video.videoHeight) / this.video.videoWidth);
    socket.send(await snapshot(this.video, WIDTH, height, "image/jpeg", 0.85));
  }

  #onAnswer({ seq, dropped, image, faces, problem }) {
    const { at, time, paused } = this.#sent.get(seq) ?? {};
    for (const each of this.#sent.keys()) if (each <= seq) this.#sent.delete(each);
    this.#dropped += dropped ?? 0;
    if (this.video.paused && !paused) return; // the answer is for a frame from before the pause
    if (problem) {
      if (this.#problem !== problem.detail) showProblem(Object.assign(new Error(problem.detail), problem));
      this.#problem = problem.detail;
      return;
    }
    if (this.#problem) clearProblem();
    this.#problem = null;
    const scale = this.video.videoWidth / image.width;
    for (const face of faces) face.box = scaled(face.box, scale);
    this.view.update(faces);
    this.#showHeat(faces, scale);
    if (this.rows.length < MAX_ROWS) {
      for (const face of faces) this.rows.push(row(face, seq, time?.toFixed(3) ?? "", face.track));
    }
    this.#showRate(performance.now() - at);
  }

  /** Show the heat map of each face. */
  #showHeat(faces, scale) {
    if (!$("live-heat").checked || this.video.paused) return;
    this.view.stage.clearHeat();
    for (const face of faces) {
      if (!face.map) continue;
      const place = face.place.flatMap(([a, b, c]) => [a * scale, b * scale, (c + 0.5) * scale - 0.5]);
      this.view.stage.addHeat(coloured(face.map), place);
    }
  }

  #showRate(latency) {
    const now = performance.now();
    this.#arrivals = [...this.#arrivals, now].filter((each) => now - each < 2 * SECOND);
    const rate = (this.#arrivals.length / 2).toFixed(1);
    $("figures").textContent =
      `${rate} answers per second, ${Math.round(latency)} ms each, ${counted(this.#dropped, "frame")} skipped.`;
  }

  #pause() {
    this.video.pause();
    this.#onPauseChange();
    this.#newFrame = true; // send the frame at which the video was paused
    this.#send();
  }

  #resume() {
    this.video.play().catch(showProblem);
    this.#onPauseChange();
  }

  #onPauseChange() {
    $("pause").setAttribute("aria-pressed", this.video.paused);
    this.view.forget();
    this.#showState();
  }

  #showState() {
    showStatus(this.video.paused ? "Paused." : "Live.");
  }

  async #onClose(code, reason, opened) {
    if (!opened && await keyRejected() && !this.#stopped && await askForKey() && !this.#stopped) return this.#connect();
    if (this.#stopped) return;
    const detail = reason || CLOSE_REASONS[code] || "The connection was lost.";
    showProblem(Object.assign(new Error(detail), { title: "The live stream ended" }), () => this.#connect());
  }
}

/** Whether a missing or invalid key is the reason: the browser does not tell for a WebSocket. */
const keyRejected = () => fetch("models", { headers: headers() }).then(({ status }) => status === 401, () => false);

const scaled = ({ x, y, width, height }, by) => ({ x: x * by, y: y * by, width: width * by, height: height * by });

/** Open a camera's video track, if the user and the browser allow it. */
export async function openCamera() {
  try {
    const stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "user" } });
    return stream.getVideoTracks()[0];
  } catch (error) {
    throw cameraError(error);
  }
}

function cameraError(error) {
  const detail = !isSecureContext
    ? "Browsers allow the camera only on pages from this device or over HTTPS."
    : error.name === "NotAllowedError"
      ? "The browser blocks the camera for this page: allow it next to the address."
      : error.name === "NotReadableError"
        ? "Another program may be using the camera: close it, then try again."
        : "This browser found no camera.";
  return Object.assign(new Error(detail), { title: "No camera" });
}
