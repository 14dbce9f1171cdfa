// A map of what speaks for a query -> colours over a picture. Nothing is drawn where nothing speaks for it.

// Inferno (matplotlib, CC0): even steps of value are even steps of lightness, also for the colour-blind.
const INFERNO = [
  [0, 0, 4],
  [31, 12, 72],
  [85, 15, 109],
  [136, 34, 106],
  [186, 54, 85],
  [227, 89, 51],
  [249, 140, 10],
  [249, 201, 50],
  [252, 255, 164],
];
const RASTER = 224; // points along the longer side: more than a screen shows of a map of 7 or 14 cells

/** @param {number} value 0 to 1 @returns {number[]} red, green, blue, 0 to 255 */
function colourOf(value) {
  const at = Math.min(1, Math.max(0, value)) * (INFERNO.length - 1);
  const low = Math.min(INFERNO.length - 2, Math.floor(at));
  return INFERNO[low].map((from, channel) => from + (INFERNO[low + 1][channel] - from) * (at - low));
}

/** Whether a map has nothing in it. @param {number[][]} map */
export const isBlank = (map) => map.every((row) => row.every((value) => value <= 0));

/** Catmull-Rom weights of the four neighbours of a point `t` of the way between the middle two. */
function weights(t) {
  return [
    ((-0.5 * t + 1) * t - 0.5) * t,
    (1.5 * t - 2.5) * t * t + 1,
    ((-1.5 * t + 2) * t + 0.5) * t,
    (0.5 * t - 0.5) * t * t,
  ];
}

/** For each point along an axis of `count` cells: its four cells, and how much each counts. */
function taps(points, count) {
  return Array.from({ length: points }, (_, point) => {
    const at = ((point + 0.5) / points) * count - 0.5; // a cell's value is that of its middle
    const base = Math.floor(at);
    const cells = [-1, 0, 1, 2].map((step) => Math.min(count - 1, Math.max(0, base + step)));
    return { cells, weights: weights(at - base) };
  });
}

/** @param {number[][]} map rows from top to bottom, 0 to 1 @returns {HTMLCanvasElement} its colours, smooth */
function rasterOf(map) {
  const [rows, columns] = [map.length, map[0].length];
  const scale = RASTER / Math.max(rows, columns);
  const canvas = document.createElement("canvas");
  canvas.width = Math.round(columns * scale);
  canvas.height = Math.round(rows * scale);
  const context = canvas.getContext("2d");
  const pixels = context.createImageData(canvas.width, canvas.height);
  const [across, down] = [taps(canvas.width, columns), taps(canvas.height, rows)];
  let place = 0;
  for (const y of down) {
    for (const x of across) {
      let value = 0;
      y.cells.forEach((row, i) =>
        x.cells.forEach((column, j) => (value += map[row][column] * y.weights[i] * x.weights[j])),
      );
      value = Math.min(1, Math.max(0, value));
      const clear = Math.min(1, value / 0.45);
      pixels.data.set([...colourOf(value), 255 * clear * clear * (3 - 2 * clear)], place);
      place += 4;
    }
  }
  context.putImageData(pixels, 0, 0);
  return canvas;
}

/** Grey with fine stripes: the part of a picture that the model did not see. */
function veil(context, width, height, [left, top, right, bottom]) {
  context.save();
  context.beginPath();
  context.rect(0, 0, width, height);
  context.rect(left * width, top * height, (right - left) * width, (bottom - top) * height);
  context.clip("evenodd");
  context.fillStyle = "rgb(24 24 27 / 62%)";
  context.fillRect(0, 0, width, height);
  context.strokeStyle = "rgb(255 255 255 / 22%)";
  context.lineWidth = Math.max(1, devicePixelRatio);
  context.beginPath();
  for (let x = -height; x < width; x += 9 * devicePixelRatio) {
    context.moveTo(x, height);
    context.lineTo(x + height, 0);
  }
  context.stroke();
  context.restore();
}

/** Whether some of the picture lies outside of what the model saw; a pixel's breadth does not count. */
export function isCropped([left, top, right, bottom]) {
  return left > 0.005 || top > 0.005 || right < 0.995 || bottom < 0.995;
}

/**
 * Make the function that draws an explanation on a canvas as large as it is shown.
 * @param {{map: number[][], box: number[]}} explanation the box as left, top, right, bottom fractions of the picture
 * @returns {(canvas: HTMLCanvasElement, strength: number) => void} strength 0 to 1
 */
export function painter({ map, box }) {
  const raster = rasterOf(map);
  return (canvas, strength) => {
    const width = (canvas.width = Math.round(canvas.clientWidth * devicePixelRatio));
    const height = (canvas.height = Math.round(canvas.clientHeight * devicePixelRatio));
    const context = canvas.getContext("2d");
    if (!width || !height) return;
    const [left, top, right, bottom] = box;
    context.globalAlpha = strength;
    context.imageSmoothingQuality = "high";
    context.drawImage(raster, left * width, top * height, (right - left) * width, (bottom - top) * height);
    context.globalAlpha = 1;
    if (isCropped(box)) veil(context, width, height, box);
  };
}
