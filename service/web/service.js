// The client of the service's HTTP API, and its error messages.

import { askForKey, headers } from "./key.js";

const CARD = "models/gimefive/card";
const LARGE_FILE = 10e6; // bytes; the size of smaller files is never the reason for a rejection
const UNREACHABLE = "The service cannot be reached.";
const UNREACHABLE_OR_TOO_LARGE = "The service cannot be reached, or it refused the file because it is too large.";
const CONNECTION_LOST = "The connection was lost before the answer was complete.";

const UNAVAILABLE = { title: "The service is not answering", detail: "Try again in a moment." };

/** The page's own messages for errors of the service or a proxy, by problem type or status. */
const PAGE_MESSAGES = {
  "urn:gimefive:no-face": { title: "No face in the picture", detail: "There is nothing to draw without a face." },
  401: { title: "API key needed", detail: "This service needs an API key." },
  413: { title: "Too large", detail: "This file is larger than the service accepts: choose a smaller one." },
  415: { title: "Not a photo or video", detail: "The service does not support this type of file." },
  502: UNAVAILABLE,
  504: { title: "This took too long", detail: "The service stopped at its time limit. Try again in a moment." },
};

/** An error reported by the service or on the way to it. */
export class Problem extends Error {
  constructor({ type = "", title, detail = "", status = 0 }, retryAfter = 0) {
    super(detail || title);
    Object.assign(this, { type, title, detail, status, retryAfter });
  }
}

const url = (path, query) => {
  const given = Object.entries(query).filter(([, value]) => value !== "" && value != null);
  return given.length ? `${path}?${new URLSearchParams(given)}` : path;
};

export const classify = async (image, signal) =>
  (await post("classify", image, {}, signal)).json();

/** The heat map as an image, its position in the photo, its target emotion, and whether it is empty. */
export async function heatmap(image, query, signal) {
  const response = await post("explain", image, { ...query, view: "heatmap" }, signal);
  const said = response.headers;
  return {
    image: await createImageBitmap(await response.blob()),
    place: said.get("X-Map-Place").split(" ").map(Number),
    target: said.get("X-Target"),
    empty: said.get("X-Map-Empty") === "true",
  };
}

export const explanationImage = async (image, query, signal) =>
  (await post("explain", image, query, signal)).blob();

/** The lines of the answer for a video, as they arrive. */
export async function* classifyVideo(file, query, signal) {
  const response = await post("classify/video", file, query, signal);
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await networkResult(reader.read(), signal, CONNECTION_LOST);
    const lines = (rest + (value ?? "")).split("\n");
    rest = done ? "" : lines.pop();
    for (const line of lines) if (line) yield checkedLine(JSON.parse(line));
    if (done) return;
  }
}

/** The annotated video; `onSize` is called with the number of bytes received so far. */
export async function annotatedVideo(file, query, signal, onSize) {
  const response = await post("explain/video", file, query, signal);
  const parts = [];
  let size = 0;
  for (const reader = response.body.getReader(); ; ) {
    const { done, value } = await networkResult(reader.read(), signal, CONNECTION_LOST);
    if (done) return new Blob(parts, { type: "video/mp4" });
    parts.push(value);
    onSize((size += value.length));
  }
}

export async function modelInfo() {
  const [models, card] = await Promise.all(["models", CARD].map(get));
  return { serving: models.models.find(({ name }) => name === "gimefive")?.serving, card };
}

/** The model card, as a file. */
export const modelCard = async () => (await sendWithKey(() => request(CARD))).blob();

const get = async (path) => {
  const response = await request(path);
  if (!response.ok) throw await problem(response);
  return response.json();
};

function checkedLine(line) {
  if (line.problem && !("frame" in line)) throw new Problem(line.problem);
  return line;
}

const post = (path, body, query, signal) => sendWithKey(() => {
  const type = body.type || "application/octet-stream";
  return request(url(path, query), { method: "POST", body, signal, headers: { "Content-Type": type } });
});

/** Send a request, asking for an API key and repeating it as long as the service requires one. */
async function sendWithKey(send) {
  for (;;) {
    const response = await send();
    if (response.ok) return response;
    const said = await problem(response);
    if (said.status !== 401) throw said;
    if (!(await askForKey())) throw said;
  }
}

function request(path, options = {}) {
  const pending = fetch(path, { ...options, headers: { ...options.headers, ...headers() } });
  return networkResult(pending, options.signal, options.body?.size > LARGE_FILE ? UNREACHABLE_OR_TOO_LARGE : UNREACHABLE);
}

/** Await a network operation; turn a failure into a Problem, or into the abort reason if it was aborted. */
async function networkResult(pending, signal, detail) {
  try {
    return await pending;
  } catch {
    if (signal?.aborted) throw signal.reason;
    throw new Problem({ title: "No answer", detail: navigator.onLine ? detail : "This device is offline." });
  }
}

async function problem(response) {
  const retryAfter = Number(response.headers.get("Retry-After")) || 0;
  const given = await response.json().catch(() => ({}));
  const status = response.status;
  const own = PAGE_MESSAGES[given.type] ?? PAGE_MESSAGES[status];
  return new Problem({ title: `The service answered with status ${status}`, status, ...given, ...own }, retryAfter);
}
