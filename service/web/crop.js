// The square crop of a face that the network reads, and its position in the image.

import { element } from "./dom.js";

export const CROP = 64; // side of the crop, in its pixels
const SOFT_EDGE = 3; // width of the heat map's soft edge, in crop pixels

/** Map crop coordinates to image coordinates, both from the top left corner; `place` maps between pixel centres. */
export const toPicture = ([a, b, c, d, e, f]) =>
  new DOMMatrix([a, d, b, e, c + 0.5 - (a + b) / 2, f + 0.5 - (d + e) / 2]);

/** The heat map with a soft edge, as the service draws it. */
export function withSoftEdge(image) {
  const side = 256, margin = SOFT_EDGE / CROP;
  const canvas = element("canvas", { width: side, height: side });
  const paint = canvas.getContext("2d");
  paint.imageSmoothingQuality = "high";
  paint.drawImage(image, 0, 0, side, side);
  paint.globalCompositeOperation = "destination-in";
  for (const [x, y] of [[side, 0], [0, side]]) {
    const edge = paint.createLinearGradient(0, 0, x, y);
    for (const [at, alpha] of [[0, 0], [margin, 1], [1 - margin, 1], [1, 0]]) {
      edge.addColorStop(at, `rgb(0 0 0 / ${alpha})`);
    }
    paint.fillStyle = edge;
    paint.fillRect(0, 0, side, side);
  }
  return canvas;
}

/** Draw the crop of an image into a canvas, upright and enlarged. */
export function closeUp(canvas, picture, place, side = 480) {
  canvas.width = canvas.height = side;
  const paint = canvas.getContext("2d");
  paint.imageSmoothingQuality = "high";
  paint.setTransform(new DOMMatrix().scale(side / CROP).multiply(toPicture(place).inverse()));
  paint.drawImage(picture, 0, 0);
}

/** Colour a raw heat map with the colormap of the paper. */
export function coloured(map) {
  const side = 64;
  const cells = element("canvas", { width: map[0].length, height: map.length });
  const maximum = Math.max(...map.flat());
  const cellContext = cells.getContext("2d");
  map.forEach((row, y) => row.forEach((value, x) => {
    const grey = maximum ? (255 * value) / maximum : 0;
    cellContext.fillStyle = `rgb(${grey} ${grey} ${grey})`;
    cellContext.fillRect(x, y, 1, 1);
  }));
  const canvas = element("canvas", { width: side, height: side });
  if (!maximum) return canvas; // no evidence for the emotion: an empty heat map
  const paint = canvas.getContext("2d", { willReadFrequently: true });
  paint.imageSmoothingQuality = "high";
  paint.drawImage(cells, 0, 0, side, side);
  const image = paint.getImageData(0, 0, side, side);
  for (let at = 0; at < image.data.length; at += 4) {
    const strength = (4 * image.data[at]) / 255;
    for (const channel of [0, 1, 2]) {
      image.data[at + channel] = 255 * Math.min(1, Math.max(0, 1.5 - Math.abs(strength - 3 + channel)));
    }
  }
  paint.putImageData(image, 0, 0);
  return canvas;
}
