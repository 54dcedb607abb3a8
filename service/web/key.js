// The API key, where the service wants one: asked for once, kept until the tab is closed.

import { $ } from "./dom.js";

const NAME = "gimefive.key";

/** The event that a key was given. */
export const KEPT = "gimefive.key";

export const key = () => sessionStorage.getItem(NAME);

export const headers = () => (key() ? { "X-API-Key": key() } : {});

/** The subprotocols by which a WebSocket brings the key. */
export const subprotocols = () => (key() ? [`${NAME}.${key()}`] : []);

/** Ask for a key, since there is none or it was refused; whether one was given. */
export function askForKey() {
  const dialog = $("key-dialog");
  if (!dialog.open) {
    $("key-words").textContent = key()
      ? "The service does not accept this key: check it for typing errors, or ask for a new one."
      : "This service needs an API key.";
    sessionStorage.removeItem(NAME);
    dialog.returnValue = "";
    dialog.showModal();
  }
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      const given = $("key").value.trim();
      $("key").value = "";
      if (dialog.returnValue !== "use" || !given) return resolve(false);
      sessionStorage.setItem(NAME, given);
      dispatchEvent(new Event(KEPT));
      resolve(true);
    }, { once: true });
  });
}
