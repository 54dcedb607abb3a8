// Messages of the page: the status line, problems, and progress.

import { $, element, hide, setText } from "./dom.js";

export const showStatus = (text) => setText($("status"), text);

/** How many of a thing: no faces, 1 face, 2 faces. */
export const counted = (count, thing) => `${count || "no"} ${thing}${count === 1 ? "" : "s"}`;

export const clearProblem = () => hide($("problem"), $("stage"));

/** Whether the same request may succeed later. */
const mayPass = ({ status = 0 }) => [0, 401, 429].includes(status) || status >= 500;

/** The abort reason of a task that the user cancelled; it can be retried. */
const CANCELLED = { title: "Cancelled", message: "Cancelled", calm: true };

/** Show a problem; `retry`, if it may help, is offered as a button. */
export function showProblem(error, retry = null) {
  if (error.name === "AbortError") return;
  const wait = error.retryAfter ? ` Try again in ${error.retryAfter} s.` : "";
  const { title = "Something went wrong", message } = error;
  const parts = [element("strong", { textContent: title })];
  if (message !== title || wait) parts.push(element("p", { textContent: asSentence(message) + wait }));
  if (retry && mayPass(error)) {
    const onclick = () => { clearProblem(); retry(); };
    parts.push(element("button", { type: "button", className: "small", textContent: "Try again", onclick }));
  }
  $("problem").replaceChildren(...parts);
  $("problem").classList.toggle("calm", Boolean(error.calm));
  $("problem").hidden = false;
  $("problem").scrollIntoView({ block: "nearest" });
  showStatus("");
}

let shownTask = null; // the task whose progress is shown

/** Show the progress of a task: 0 to 1, or null if unknown. The task is an AbortController, which the cancel button aborts. */
export function progress(task, text, share = null) {
  if (task.signal.aborted) return;
  shownTask = task;
  if ($("progress").hidden) {
    $("progress").hidden = false;
    $("progress").scrollIntoView({ block: "nearest" });
  }
  $("progress-words").textContent = text;
  if (share == null) $("bar").removeAttribute("value");
  else $("bar").value = share;
  $("cancel").onclick = () => task.abort(CANCELLED);
}

/** Hide the progress of a task that has ended, unless that of another is shown by now. */
export function endProgress(task) {
  if (task === shownTask) hide($("progress"), $("stage"));
}

const asSentence = (text) => {
  const capitalised = text[0].toUpperCase() + text.slice(1);
  return /[.!?]$/.test(capitalised) ? capitalised : `${capitalised}.`;
};
