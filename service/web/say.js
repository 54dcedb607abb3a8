// What the page says of itself: one quiet line, problems, and progress.

import { $, element } from "./dom.js";

export const say = (words) => { $("status").textContent = words; };

export function clearProblem() { $("problem").hidden = true; }

/** Whether the same request may go better another time. */
const passing = ({ status = 0 }) => status === 0 || status === 429 || status >= 500;

/** Tell of a problem in words; `again`, if it may help, is offered as a button. */
export function tell(error, again = null) {
  if (error.name === "AbortError") return;
  const wait = error.retryAfter ? ` Try again in ${error.retryAfter} s.` : "";
  const parts = [
    element("strong", { textContent: error.title ?? "Something went wrong" }),
    element("p", { textContent: sentence(error.message) + wait }),
  ];
  if (again && passing(error)) {
    const onclick = () => { clearProblem(); again(); };
    parts.push(element("button", { type: "button", className: "small", textContent: "Try again", onclick }));
  }
  $("problem").replaceChildren(...parts);
  $("problem").hidden = false;
  say("");
}

let working = null; // the task whose progress is shown

/** Show how far a task is, from 0 to 1 or null where nobody knows. It is an AbortController, by which people may end it. */
export function progress(task, words, share = null) {
  if (task.signal.aborted) return;
  working = task;
  $("progress").hidden = false;
  $("progress-words").textContent = words;
  if (share == null) $("bar").removeAttribute("value");
  else $("bar").value = share;
  $("cancel").onclick = () => task.abort();
}

/** A task has ended: its progress goes, unless another's is shown by now. */
export function endProgress(task) {
  if (task === working) $("progress").hidden = true;
}

const sentence = (words) => {
  const text = words[0].toUpperCase() + words.slice(1);
  return /[.!?]$/.test(text) ? text : `${text}.`;
};
