// Pictures of any shape -> rows of equal height that fill the width exactly, in whole pixels.

const NARROWEST = 0.5; // width / height: a scroll or a panorama is cut to this in the grid, and whole in the viewer
const WIDEST = 3;

/** The height that rows aim at for a width: two or three landscapes in a row on a phone, about seven on a wall. */
function rowHeight(width) {
  return Math.round(Math.min(290, Math.max(124, 84 + width * 0.1)));
}

/** @param {{width: number, height: number}} picture @returns {number} width / height as the grid shows it */
export function shape({ width, height }) {
  return Math.min(WIDEST, Math.max(NARROWEST, width / height || 1));
}

/**
 * @param {number[]} shapes width / height of each picture, in order
 * @param {number} width of all rows, in pixels
 * @param {number} gap between pictures and between rows
 * @returns {{boxes: {x: number, y: number, width: number, height: number, row: number}[], height: number}}
 *          the last row keeps the height aimed at, unless it would not fit
 */
export function justified(shapes, width, gap) {
  const target = rowHeight(width);
  const boxes = [];
  let y = 0;
  let row = 0;
  for (let start = 0; start < shapes.length; row += 1) {
    const { end, height, full } = nextRow(shapes, start, width, gap, target);
    let x = 0;
    for (let place = start; place < end; place += 1) {
      const last = full && place === end - 1;
      const wide = last ? width - x : Math.min(width - x, Math.round(shapes[place] * height));
      boxes.push({ x, y, width: wide, height: Math.round(height), row });
      x += wide + gap;
    }
    y += Math.round(height) + gap;
    start = end;
  }
  return { boxes, height: Math.max(0, y - gap) };
}

/** The row from `start`, ended where its height comes nearest to the target. */
function nextRow(shapes, start, width, gap, target) {
  let sum = 0;
  let before = Infinity;
  for (let end = start; end < shapes.length; end += 1) {
    sum += shapes[end];
    const height = (width - gap * (end - start)) / sum;
    if (height <= target) {
      const better = end > start && before / target < target / height;
      return better ? { end, height: before, full: true } : { end: end + 1, height, full: true };
    }
    before = height;
  }
  return { end: shapes.length, height: target, full: false };
}
