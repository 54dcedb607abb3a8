// Where the tags of faces stand: beside them, in the picture, on no other face and no other tag.

const GAP = 7; // between a box and its tag, in CSS pixels
const NARROW = 100; // narrower boxes keep their tags to themselves
const ROOMY = 4; // a box as many tags high has room for one inside

/** Place the tag of each mark; the mark of rank `looked` comes first. */
export function settle(marks, looked, { clientWidth, clientHeight }) {
  const boxes = marks.map(area);
  const tags = marks.map(({ firstChild }) => area(firstChild));
  const standing = [];
  for (const index of [...marks.keys()].sort((a, b) => (b === looked) - (a === looked))) {
    const { left, top, width, height, border } = boxes[index];
    const tag = tags[index];
    const inside = height >= ROOMY * tag.height ? [top + GAP] : [];
    const taken = [...standing, ...boxes.filter((box) => box !== boxes[index])];
    const places = [top - GAP - tag.height, top + height + GAP, ...inside]
      .filter((each) => each >= 0 && each + tag.height <= clientHeight && tag.width <= clientWidth)
      .map((each) => ({ ...tag, top: each, left: Math.max(0, Math.min(left, clientWidth - tag.width)) }));
    const free = places.find((place) => !taken.some((each) => overlap(place, each)));
    const place = free ?? places[0];
    const standsAlways = free && width >= NARROW;
    const { style, dataset } = marks[index].firstChild;
    dataset.shown = !place ? "never" : standsAlways ? "always" : "asked";
    if (!place) continue;
    if (standsAlways || index === looked) standing.push(place);
    style.left = `${place.left - left - border}px`;
    style.top = `${place.top - top - border}px`;
  }
}

const area = ({ offsetLeft, offsetTop, offsetWidth, offsetHeight, clientLeft }) =>
  ({ left: offsetLeft, top: offsetTop, width: offsetWidth, height: offsetHeight, border: clientLeft });

const overlap = (a, b) =>
  a.left < b.left + b.width && b.left < a.left + a.width && a.top < b.top + b.height && b.top < a.top + a.height;
