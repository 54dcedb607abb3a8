// Placement of face tags: next to their box, inside the image, overlapping no other face or tag.

const GAP = 7; // between a box and its tag, in CSS pixels
const MIN_WIDTH = 100; // the tag of a narrower box is shown only on demand
const MIN_INSIDE = 4; // boxes at least this many tags high may have their tag inside

/** Place the tag of each mark; the mark with the index `current` is placed first. */
export function placeTags(marks, current, { clientWidth, clientHeight }) {
  const boxes = marks.map(rectangle);
  const tags = marks.map(({ firstChild }) => rectangle(firstChild));
  const placed = [];
  for (const index of [...marks.keys()].sort((a, b) => (b === current) - (a === current))) {
    const { left, top, width, height, border } = boxes[index];
    const tag = tags[index];
    const inside = height >= MIN_INSIDE * tag.height ? [top + GAP] : [];
    const taken = [...placed, ...boxes.filter((box) => box !== boxes[index])];
    const places = [top - GAP - tag.height, top + height + GAP, ...inside]
      .filter((each) => each >= 0 && each + tag.height <= clientHeight && tag.width <= clientWidth)
      .map((each) => ({ ...tag, top: each, left: Math.max(0, Math.min(left, clientWidth - tag.width)) }));
    const free = places.find((place) => !taken.some((each) => overlap(place, each)));
    const place = free ?? places[0];
    const alwaysShown = free && width >= MIN_WIDTH;
    const { style, dataset } = marks[index].firstChild;
    dataset.shown = !place ? "never" : alwaysShown ? "always" : "asked";
    if (!place) continue;
    if (alwaysShown || index === current) placed.push(place);
    style.left = `${place.left - left - border}px`;
    style.top = `${place.top - top - border}px`;
  }
}

const rectangle = ({ offsetLeft, offsetTop, offsetWidth, offsetHeight, clientLeft }) =>
  ({ left: offsetLeft, top: offsetTop, width: offsetWidth, height: offsetHeight, border: clientLeft });

const overlap = (a, b) =>
  a.left < b.left + b.width && b.left < a.left + a.width && a.top < b.top + b.height && b.top < a.top + a.height;
