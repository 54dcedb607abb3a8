// What the page says of itself: one quiet line, problems, and progress.

import { $, element, hide, setText } from "./dom.js";

export const say = (words) => setText($("status"), words);

export const clearProblem = () => hide($("problem"), $("stage"));

/** Whether the same request may go better another time. */
const passing = ({ status = 0 }) => [0, 401, 429].includes(status) || status >= 500;

/** What a task is ended with by people, who may want it after all. */
const CANCELLED = { title: "Cancelled", message: "Cancelled", calm: true };

/** Tell of a problem in words; `again`, if it may help, is offered as a button. */
export function tell(error, again = null) {
  if (error.name === "AbortError") return;
  const wait = error.retryAfter ? ` Try again in ${error.retryAfter} s.` : "";
  const { title = "Something went wrong", message } = error;
  const parts = [element("strong", { textContent: title })];
  if (message !== title || wait) parts.push(element("p", { textContent: sentence(message) + wait }));
  if (again && passing(error)) {
    const onclick = () => { clearProblem(); again(); };
    parts.push(element("button", { type: "button", className: "small", textContent: "Try again", onclick }));
  }
  $("problem").replaceChildren(...parts);
  $("problem").classList.toggle("calm", Boolean(error.calm));
  $("problem").hidden = false;
  $("problem").scrollIntoView({ block: "nearest" });
  say("");
}

let working = null; // the task whose progress is shown

/** Show how far a task is, from 0 to 1 or null where nobody knows. It is an AbortController, by which people may end it. */
export function progress(task, words, share = null) {
  if (task.signal.aborted) return;
  working = task;
  if ($("progress").hidden) {
    $("progress").hidden = false;
    $("progress").scrollIntoView({ block: "nearest" });
  }
  $("progress-words").textContent = words;
  if (share == null) $("bar").removeAttribute("value");
  else $("bar").value = share;
  $("cancel").onclick = () => task.abort(CANCELLED);
}

/** A task has ended: its progress goes, unless another's is shown by now. */
export function endProgress(task) {
  if (task === working) hide($("progress"), $("stage"));
}

const sentence = (words) => {
  const text = words[0].toUpperCase() + words.slice(1);
  return /[.!?]$/.test(text) ? text : `${text}.`;
};
