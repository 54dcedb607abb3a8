// Emotions over time: one band per person, a stacked area chart of the scores.

import { element } from "./dom.js";
import { colour, EMOTIONS, percent, shownScores, title, topEmotion } from "./emotions.js";

const HEIGHT = 56;
const MAX_BANDS = 8; // only the people seen most often are shown

export const clock = (seconds) => {
  const whole = Math.max(0, Math.floor(seconds));
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
};

export class Timeline {
  #bands = new Map();
  #duration = 1;
  #drawScheduled = false;
  #resizeObserver = new ResizeObserver(() => this.#scheduleDraw());

  constructor(root, { onSeek }) {
    this.root = root;
    this.onSeek = onSeek;
  }

  start(duration) {
    this.#bands.clear();
    this.#duration = duration || 1;
    this.lanes = element("div", { className: "lanes", tabIndex: 0, "aria-label": "Time in the video" });
    this.lanes.setAttribute("role", "slider");
    this.lanes.setAttribute("aria-valuemin", 0);
    this.lanes.onpointerdown = (event) => this.#drag(event);
    this.lanes.onkeydown = (event) => this.#key(event);
    this.head = element("div", { className: "head" });
    this.times = element("div", { className: "times" }, element("span"), element("span"));
    const legend = EMOTIONS.map((each) => element("li", { textContent: title(each), "--colour": colour(each) }));
    this.root.replaceChildren(this.lanes, this.times, element("ul", { className: "legend" }, ...legend));
    this.root.hidden = false;
    this.#resizeObserver.observe(this.root);
    this.at(0);
  }

  clear() {
    this.#resizeObserver.disconnect();
    this.root.hidden = true;
  }

  add({ time, faces }) {
    this.#duration = Math.max(this.#duration, time);
    for (const face of faces) {
      const who = face.track ?? 0;
      if (!this.#bands.has(who)) this.#bands.set(who, []);
      this.#bands.get(who).push({ time, scores: shownScores(face), ...topEmotion(face) });
    }
    this.#scheduleDraw();
  }

  at(time) {
    this.time = time;
    if (!this.lanes) return;
    this.head.style.setProperty("--at", Math.min(1, time / this.#duration));
    this.times.firstChild.textContent = clock(time);
    this.times.lastChild.textContent = clock(this.#duration);
    this.lanes.setAttribute("aria-valuemax", this.#duration.toFixed(2));
    this.lanes.setAttribute("aria-valuenow", time.toFixed(2));
    this.lanes.setAttribute("aria-valuetext", [clock(time), ...this.#describe(time)].join(", "));
  }

  draw() {
    if (!this.lanes) return;
    const seen = [...this.#bands].sort(([, a], [, b]) => b.length - a.length).slice(0, MAX_BANDS);
    const rows = seen.sort(([a], [b]) => a - b).flatMap(([who, points]) => {
      const canvas = element("canvas", { width: Math.max(1, this.root.clientWidth) * devicePixelRatio, height: HEIGHT * devicePixelRatio });
      paint(canvas, points, this.#duration);
      const name = who ? [element("span", { className: "lane-name", textContent: `Person ${who}`, "aria-hidden": "true" })] : [];
      return [element("div", {}, ...(seen.length > 1 ? name : []), canvas)];
    });
    this.lanes.replaceChildren(...rows, this.head);
    this.at(this.time);
  }

  #scheduleDraw() {
    if (this.#drawScheduled) return;
    this.#drawScheduled = true;
    requestAnimationFrame(() => { this.#drawScheduled = false; this.draw(); });
  }

  #describe(time) {
    return [...this.#bands].slice(0, MAX_BANDS).flatMap(([who, points]) => {
      const point = points.findLast((each) => each.time <= time + 0.02);
      return point && time - point.time < 1 ? [`${who ? `person ${who} ` : ""}${point.emotion} ${percent(point.confidence)}`] : [];
    });
  }

  #drag(event) {
    const { left, width } = this.lanes.getBoundingClientRect();
    const seek = ({ clientX }) =>
      this.onSeek(Math.min(1, Math.max(0, (clientX - left) / width)) * this.#duration);
    seek(event);
    this.lanes.setPointerCapture(event.pointerId);
    this.lanes.onpointermove = seek;
    this.lanes.onpointerup = this.lanes.onpointercancel = () => { this.lanes.onpointermove = null; };
  }

  #key(event) {
    const step = { ArrowLeft: -1, ArrowRight: 1, ArrowDown: -1, ArrowUp: 1, PageDown: -10, PageUp: 10 }[event.key];
    const goal = { Home: 0, End: this.#duration }[event.key] ?? (step && this.time + step * Math.max(0.2, this.#duration / 100));
    if (goal === undefined) return;
    event.preventDefault();
    this.onSeek(Math.min(this.#duration, Math.max(0, goal)));
  }
}

/** Paint a stacked area chart of the scores; times without the person stay empty. */
function paint(canvas, points, duration) {
  const brush = canvas.getContext("2d");
  const style = getComputedStyle(document.documentElement);
  const step = medianInterval(points);
  for (const run of splitAtGaps(points, 2.5 * step)) {
    const ended = [...run, { ...run.at(-1), time: run.at(-1).time + step }];
    const xs = ended.map(({ time }) => (time / duration) * canvas.width);
    let lower = ended.map(() => 0);
    for (const emotion of EMOTIONS) {
      const upper = ended.map(({ scores }, at) => lower[at] + scores[emotion] * canvas.height);
      brush.fillStyle = style.getPropertyValue(`--${emotion}`);
      brush.beginPath();
      xs.forEach((x, at) => brush.lineTo(x, lower[at]));
      for (let at = xs.length - 1; at >= 0; at -= 1) brush.lineTo(xs[at], upper[at]);
      brush.fill();
      lower = upper;
    }
  }
}

/** Split the points wherever the gap is longer than `gap`. */
function splitAtGaps(points, gap) {
  const found = [];
  points.forEach((point, at) => {
    if (at && point.time - points[at - 1].time <= gap) found.at(-1).push(point);
    else found.push([point]);
  });
  return found;
}

/** The median time between two points. */
function medianInterval(points) {
  if (points.length < 2) return 0.2;
  const gaps = points.slice(1).map(({ time }, at) => time - points[at].time).sort((a, b) => a - b);
  return gaps[gaps.length >> 1];
}
