// The service's HTTP interface, and what it says when something is wrong.

import { askForKey, headers } from "./key.js";

const CARD = "models/gimefive/card";
const LARGE = 10e6; // bytes; smaller files are refused for other reasons
const UNREACHED = "The service cannot be reached.";
const UNSENT = "The service cannot be reached, or it refused the file because it is too large.";
const BROKEN = "The connection was lost before the answer was complete.";

const AWAY = { title: "The service is not answering", detail: "Try again in a moment." };

/** For what the service, or a proxy before it, says to programmers, by its type or status. */
const OWN_WORDS = {
  "urn:gimefive:no-face": { title: "No face in the picture", detail: "There is nothing to draw without a face." },
  401: { title: "API key needed", detail: "This service needs an API key." },
  413: { title: "Too large", detail: "This file is larger than the service accepts: choose a smaller one." },
  415: { title: "Not a photo or video", detail: "The service does not support this type of file." },
  502: AWAY,
  504: { title: "This took too long", detail: "The service stopped at its time limit. Try again in a moment." },
};

/** What the service, or the way to it, says is wrong. */
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

/** The heat map as an image, where it lies in the picture, and what is said of it. */
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

export const explained = async (image, query, signal) =>
  (await post("explain", image, query, signal)).blob();

/** The lines of a video's answer, as they come. */
export async function* video(file, query, signal) {
  const response = await post("classify/video", file, query, signal);
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await received(reader.read(), signal, BROKEN);
    const lines = (rest + (value ?? "")).split("\n");
    rest = done ? "" : lines.pop();
    for (const line of lines) if (line) yield checked(JSON.parse(line));
    if (done) return;
  }
}

/** The annotated video; `onSize` hears how many bytes have come. */
export async function annotated(file, query, signal, onSize) {
  const response = await post("explain/video", file, query, signal);
  const parts = [];
  let size = 0;
  for (const reader = response.body.getReader(); ; ) {
    const { done, value } = await received(reader.read(), signal, BROKEN);
    if (done) return new Blob(parts, { type: "video/mp4" });
    parts.push(value);
    onSize((size += value.length));
  }
}

export async function about() {
  const [models, card] = await Promise.all(["models", CARD].map(get));
  return { serving: models.models.find(({ name }) => name === "gimefive")?.serving, card };
}

/** The model card, as a file. */
export const modelCard = async () => (await answered(() => fetched(CARD))).blob();

const get = async (path) => {
  const response = await fetched(path);
  if (!response.ok) throw await problem(response);
  return response.json();
};

function checked(line) {
  if (line.problem && !("frame" in line)) throw new Problem(line.problem);
  return line;
}

const post = (path, body, query, signal) => answered(() => {
  const type = body.type || "application/octet-stream";
  return fetched(url(path, query), { method: "POST", body, signal, headers: { "Content-Type": type } });
});

/** Send until the service answers, asking for a key as often as it wants one. */
async function answered(send) {
  for (;;) {
    const response = await send();
    if (response.ok) return response;
    const said = await problem(response);
    if (said.status !== 401) throw said;
    if (!(await askForKey())) throw said;
  }
}

function fetched(path, options = {}) {
  const coming = fetch(path, { ...options, headers: { ...options.headers, ...headers() } });
  return received(coming, options.signal, options.body?.size > LARGE ? UNSENT : UNREACHED);
}

/** What comes over the network; who ended it gets their own reason back. */
async function received(coming, signal, detail) {
  try {
    return await coming;
  } catch {
    if (signal?.aborted) throw signal.reason;
    throw new Problem({ title: "No answer", detail: navigator.onLine ? detail : "This device is offline." });
  }
}

async function problem(response) {
  const retryAfter = Number(response.headers.get("Retry-After")) || 0;
  const given = await response.json().catch(() => ({}));
  const status = response.status;
  const own = OWN_WORDS[given.type] ?? OWN_WORDS[status];
  return new Problem({ title: `The service answered with status ${status}`, status, ...given, ...own }, retryAfter);
}
