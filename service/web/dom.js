// DOM helpers. Text is always set as text, never as markup.

export const $ = (id) => document.getElementById(id);

/** Create an element with properties, CSS variables (names beginning with --) and children. */
export function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("--")) made.style.setProperty(name, value);
    else if (name.startsWith("aria-")) made.setAttribute(name, value);
    else made[name] = value;
  }
  made.append(...children);
  return made;
}

/** Add or remove children until there are `count`; the remaining ones keep the focus. */
export function resizeChildren(parent, count, make) {
  while (parent.children.length > count) parent.lastElementChild.remove();
  while (parent.children.length < count) parent.append(make(parent.children.length));
  return [...parent.children];
}

/** Set the text only if it differs, so as not to disturb screen readers and selections. */
export function setText(target, words) {
  if (target.textContent !== words) target.textContent = words;
}

/** Hide an element; if it contains the focus, move the focus to `next`. */
export function hide(gone, next) {
  const focused = gone.contains(document.activeElement);
  gone.hidden = true;
  if (focused) next.focus({ preventScroll: true });
}

/** Encode the current content of an image, video or canvas. */
export function snapshot(source, width, height, type = "image/jpeg", quality = 0.9) {
  const canvas = element("canvas", { width, height });
  canvas.getContext("2d").drawImage(source, 0, 0, width, height);
  return new Promise((resolve, reject) => {
    canvas.toBlob((blob) => (blob ? resolve(blob) : reject(new Error("no picture"))), type, quality);
  });
}
