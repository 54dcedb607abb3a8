// Small help with the document. Text is always set as text, never as markup.

export const $ = (id) => document.getElementById(id);

/** An element with properties, CSS variables (names beginning with --) and children. */
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

/** Bring the children of a parent to a number; those that stay keep the focus. */
export function keep(parent, count, make) {
  while (parent.children.length > count) parent.lastElementChild.remove();
  while (parent.children.length < count) parent.append(make(parent.children.length));
  return [...parent.children];
}

/** Changing nothing leaves screen readers and selections alone. */
export function setText(target, words) {
  if (target.textContent !== words) target.textContent = words;
}

/** Hide an element; the focus, if it is in there, goes to the next one. */
export function hide(gone, next) {
  const focused = gone.contains(document.activeElement);
  gone.hidden = true;
  if (focused) next.focus({ preventScroll: true });
}

/** A picture of what an image, video or canvas shows now. */
export function snapshot(source, width, height, type = "image/jpeg", quality = 0.9) {
  const canvas = element("canvas", { width, height });
  canvas.getContext("2d").drawImage(source, 0, 0, width, height);
  return new Promise((resolve, reject) => {
    canvas.toBlob((blob) => (blob ? resolve(blob) : reject(new Error("no picture"))), type, quality);
  });
}
