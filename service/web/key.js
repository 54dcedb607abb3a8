// The API key, if the service requires one: asked for once, kept until the tab is closed.

import { $ } from "./dom.js";

const STORAGE_KEY = "gimefive.key";

/** The event dispatched when a key was saved. */
export const KEY_SAVED = "gimefive.key";

export const key = () => sessionStorage.getItem(STORAGE_KEY);

export const headers = () => (key() ? { "X-API-Key": key() } : {});

/** The WebSocket subprotocols that carry the key. */
export const subprotocols = () => (key() ? [`${STORAGE_KEY}.${key()}`] : []);

/** Ask for a key, because there is none or it was rejected. Returns whether one was entered. */
export function askForKey() {
  const dialog = $("key-dialog");
  if (!dialog.open) {
    $("key-words").textContent = key()
      ? "The service does not accept this key: check it for typing errors, or ask for a new one."
      : "This service needs an API key.";
    sessionStorage.removeItem(STORAGE_KEY);
    dialog.returnValue = "";
    dialog.showModal();
  }
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      const entered = $("key").value.trim();
      $("key").value = "";
      if (dialog.returnValue !== "use" || !entered) return resolve(false);
      sessionStorage.setItem(STORAGE_KEY, entered);
      dispatchEvent(new Event(KEY_SAVED));
      resolve(true);
    }, { once: true });
  });
}
