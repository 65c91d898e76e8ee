// Photographs of any size on a canvas of one size: keras_margin's `_utils/canvas.py`, number for number.
//
// A network of static shapes takes one size of picture. The photograph lies at the top left of the canvas and the
// network is told its height and width; what lies beyond them is never read.

import { rgb as withoutAlpha } from "./pictures.js";

const { fround } = Math;

/**
 * Places a photograph at the top left of a canvas; a larger one is shrunk by area means until it fits.
 *
 * @param {{data: Uint8ClampedArray|Uint8Array, width: number, height: number}} photo RGBA, of any size.
 * @param {number[]} canvas [height, width] in pixels.
 * @returns {{pixels: Uint8Array, size: number[], factors: number[], shrink: number}} `pixels`: RGB of the canvas, 0
 *   beyond the photograph; `size`: [height, width] of the photograph on it; `factors`: [x, y], pixels of the photograph
 *   for each pixel of the canvas; `shrink`: the larger of them.
 */
export function place(photo, canvas) {
  const sides = [photo.height, photo.width];
  const scale = Math.min(1, ...sides.map((side, axis) => canvas[axis] / side));
  // Each side rounded for itself; a strip of 1 x 100,000 keeps one pixel.
  const size = sides.map((side, axis) => Math.min(canvas[axis], Math.max(1, roundHalfEven(side * scale))));
  const factors = [photo.width / size[1], photo.height / size[0]];
  const rgb = scale === 1 ? withoutAlpha(photo) : shrunk(photo, size);
  const pixels = new Uint8Array(canvas[0] * canvas[1] * 3);
  const row = size[1] * 3;
  for (let at = 0; at < size[0]; at += 1) pixels.set(rgb.subarray(at * row, (at + 1) * row), at * canvas[1] * 3);
  return { pixels, size, factors, shrink: Math.max(...factors) };
}

/** Carries [x, y] of the canvas to the photograph: (0, 0) is the centre of the first pixel on both. */
export function toPhotograph([x, y], factors) {
  return [(x + 0.5) * factors[0] - 0.5, (y + 0.5) * factors[1] - 0.5];
}

/**
 * Makes a picture smaller: each pixel is the mean of the area that it covers.
 *
 * In float32 and in NumPy's order of additions, so that a mean near a half is rounded to the same grey level: one level
 * moves a box by hundredths of a pixel.
 *
 * @param {{data: ArrayLike<number>, width: number, height: number}} photo RGBA.
 * @param {number[]} size [height, width], each in [1, the photograph's].
 * @returns {Uint8Array} RGB, rounded to nearest, ties to even.
 */
export function shrunk({ data, width, height }, size) {
  const pixels = new Uint8Array(size[0] * size[1] * 3);
  const columns = stretches(width, size[1]);
  const [row, sums] = [new Float32Array(width * 3), new Float64Array(width * 3)];
  const pixel = (y, at) => data[(y * width + Math.floor(at / 3)) * 4 + (at % 3)];
  stretches(height, size[0]).forEach(({ from, to, before, after, last, scale }, at) => {
    sums.fill(0);
    for (let y = from; y < to; y += 1) {
      for (let source = y * width * 4, target = 0; target < sums.length; source += 4, target += 3) {
        sums[target] += data[source];
        sums[target + 1] += data[source + 1];
        sums[target + 2] += data[source + 2];
      }
    }
    for (let index = 0; index < row.length; index += 1) {
      const edges = [before === 0 ? 0 : pixel(from, index) * before, after === 0 ? 0 : pixel(last, index) * after];
      row[index] = mean(fround(sums[index]), edges, scale);
    }
    for (let across = 0; across < size[1]; across += 1) {
      for (let channel = 0; channel < 3; channel += 1) {
        const column = columns[across];
        const edges = [row[3 * column.from + channel] * column.before, row[3 * column.last + channel] * column.after];
        const value = mean(numpySum(row, column, channel), edges, column.scale);
        pixels[(at * size[1] + across) * 3 + channel] = roundHalfEven(value);
      }
    }
  });
  return pixels;
}

/**
 * Of `count` equal stretches of `side` pixels, the pixels from each one's first edge to its last: [from, to), the share
 * of pixel `from` that lies before it, and the share `after` of pixel `last` that it still covers.
 */
function stretches(side, count) {
  const edges = Array.from({ length: count + 1 }, (_, index) => index * (side / count));
  const whole = edges.map((edge) => Math.min(Math.floor(edge + 1e-9), side));
  const parts = edges.map((edge, index) => fround(Math.max(edge - whole[index], 0)));
  return Array.from({ length: count }, (_, index) => ({
    from: whole[index],
    to: whole[index + 1],
    before: parts[index],
    after: parts[index + 1],
    last: Math.min(whole[index + 1], side - 1),
    scale: fround(count / side),
  }));
}

function mean(sum, [before, after], scale) {
  return fround(fround(fround(sum - fround(before)) + fround(after)) * scale);
}

/** The sum of a stretch of float32 values as numpy.add.reduceat adds them: the first, and eight running sums of the rest. */
function numpySum(row, { from, to }, channel) {
  const value = (index) => row[3 * index + channel];
  let [at, rest] = [from + 1, 0];
  if (to - at >= 8) {
    const sums = Array.from({ length: 8 }, (_, lane) => value(at + lane));
    for (at += 8; to - at >= 8; at += 8) sums.forEach((sum, lane) => (sums[lane] = fround(sum + value(at + lane))));
    const pairs = [0, 2, 4, 6].map((lane) => fround(sums[lane] + sums[lane + 1]));
    rest = fround(fround(pairs[0] + pairs[1]) + fround(pairs[2] + pairs[3]));
  }
  for (; at < to; at += 1) rest = fround(rest + value(at));
  return fround(value(from) + rest);
}

function roundHalfEven(value) {
  const floor = Math.floor(value);
  return value - floor === 0.5 ? floor + (floor % 2) : Math.round(value);
}
