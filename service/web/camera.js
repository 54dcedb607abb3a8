// The camera, live: frames go to /live as fast as answers come; the newest wins.

import { $, snapshot } from "./dom.js";
import { coloured } from "./crop.js";
import { askForKey, forgetKey, headers, subprotocols } from "./key.js";
import { csv, FRAME_COLUMNS, row, save } from "./saving.js";
import { clearProblem, say, tell } from "./say.js";
import { classify, explained } from "./service.js";

const WIDTH = 640; // of the frames that are sent
const UNDER_WAY = 2; // frames sent and not yet answered
const KEPT = 200_000; // rows kept for the CSV
const SECOND = 1000;

const CLOSED = {
  1008: "The service does not accept this connection.",
  1009: "The camera’s pictures are larger than the service accepts.",
  1012: "The service is going down.",
  1013: "Too many cameras are on already.",
};

export class Camera {
  mode = "camera";
  #stream = null;
  #socket = null;
  #sent = new Map();
  #arrivals = [];
  #dropped = 0;
  #problem = null; // of the last answer
  #ended = false;

  constructor(view) {
    this.view = view;
    this.rows = [];
    this.video = $("camera");
  }

  async start() {
    clearProblem();
    say("Waiting for the camera.");
    try {
      this.#stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "user" } });
    } catch (error) {
      return tell(refusal(error), () => this.start());
    }
    if (this.#ended) return this.stop();
    this.video.srcObject = this.#stream;
    await this.video.play();
    this.view.stage.show("camera", this.video.videoWidth, this.video.videoHeight, true);
    $("pause").onclick = () => this.#pause();
    $("live-heat").onchange = () => { this.#socket?.close(); this.#connect(); };
    this.#connect();
  }

  stop() {
    this.#ended = true;
    this.#socket?.close();
    this.#stream?.getTracks().forEach((track) => track.stop());
    this.video.srcObject = null;
    $("pause").onclick = $("live-heat").onchange = null;
    $("pause").setAttribute("aria-pressed", false);
  }

  question(index) { return { image: snapshot(this.video, this.video.videoWidth, this.video.videoHeight), face: index }; }

  csv() { save(csv(FRAME_COLUMNS, this.rows), "camera.csv"); }

  async png(query) {
    const picture = await this.question(0).image;
    save(await explained(picture, query), `camera-${query.view}.png`);
  }

  #connect() {
    const query = new URLSearchParams($("live-heat").checked ? { explain: "gradcam" } : {});
    const socket = (this.#socket = new WebSocket(`live?${query}`, subprotocols()));
    this.#sent.clear();
    let seq = 0, opened = false;
    const send = async () => {
      if (socket !== this.#socket || socket.readyState !== WebSocket.OPEN) return;
      if (this.video.paused || document.hidden || this.#sent.size >= UNDER_WAY) return;
      const at = performance.now();
      this.#sent.set(seq, { at, time: this.video.currentTime });
      seq += 1;
      const height = Math.round((WIDTH * this.video.videoHeight) / this.video.videoWidth);
      socket.send(await snapshot(this.video, WIDTH, height, "image/jpeg", 0.85));
    };
    const pace = () => {
      if (this.#ended || socket !== this.#socket) return;
      send();
      this.video.requestVideoFrameCallback ? this.video.requestVideoFrameCallback(pace) : setTimeout(pace, 40);
    };
    socket.onopen = () => { opened = true; say("Looking."); pace(); };
    socket.onmessage = ({ data }) => { this.#answered(JSON.parse(data)); send(); };
    socket.onclose = ({ code, reason }) => {
      if (socket === this.#socket && !this.#ended) this.#closed(code, reason, opened);
    };
  }

  #answered({ seq, dropped, image, faces, problem }) {
    const { at, time } = this.#sent.get(seq) ?? {};
    for (const each of this.#sent.keys()) if (each <= seq) this.#sent.delete(each);
    this.#dropped += dropped ?? 0;
    if (this.video.paused) return;
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
    if (!$("live-heat").checked) return;
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
      `${rate} answers a second, ${Math.round(latency)} ms each, ${this.#dropped} frames passed over.`;
  }

  async #pause() {
    const paused = !this.video.paused;
    $("pause").setAttribute("aria-pressed", paused);
    this.view.forget();
    if (!paused) {
      say("Looking.");
      return this.video.play();
    }
    this.video.pause();
    try {
      const { faces } = await classify(await this.question(0).image);
      if (this.#ended || !this.video.paused) return;
      this.view.update(faces);
      say("Paused: choose an emotion to see where it comes from.");
    } catch (error) {
      if (!this.#ended) tell(error);
    }
  }

  async #closed(code, reason, opened) {
    if (!opened && await refused() && !this.#ended) {
      forgetKey();
      if (await askForKey() && !this.#ended) return this.#connect();
    }
    if (this.#ended) return;
    const detail = reason || CLOSED[code] || "The connection was lost.";
    tell(Object.assign(new Error(detail), { title: "The camera’s stream ended" }), () => this.#connect());
  }
}

/** Whether it is for want of a key, which a page is not told of a WebSocket. */
const refused = () => fetch("models", { headers: headers() }).then(({ status }) => status === 401, () => false);

const scaled = ({ x, y, width, height }, by) => ({ x: x * by, y: y * by, width: width * by, height: height * by });

function refusal(error) {
  const detail = !isSecureContext
    ? "Browsers give a camera only to pages that come over HTTPS or from this device."
    : error.name === "NotAllowedError"
      ? "The browser was told not to let this page use the camera: allow it beside the address."
      : "There is no camera that this browser could use.";
  return Object.assign(new Error(detail), { title: "No camera" });
}
