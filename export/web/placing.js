// Photographs of any size on a canvas of one size: keras_margin's `_utils/canvas.py`, to the grey level; a mean of exactly
// a half, which float32 rounds by chance there, goes to the even one.
//
// A network of static shapes takes one size of picture. The photograph lies at the top left of the canvas and the
// network is told its height and width; what lies beyond them is never read.

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
 * @param {{data: ArrayLike<number>, width: number, height: number}} photo RGBA.
 * @param {number[]} size [height, width], each in [1, the photograph's].
 * @returns {Uint8Array} RGB, rounded to nearest, ties to even.
 */
export function shrunk({ data, width, height }, size) {
  const rows = stretches(height, size[0]);
  const columns = stretches(width, size[1]);
  const pixels = new Uint8Array(size[0] * size[1] * 3);
  const line = new Float64Array(width * 3);
  rows.forEach((row, at) => {
    line.fill(0);
    row.forEach(([y, share]) => {
      let from = y * width * 4;
      for (let to = 0; to < line.length; to += 3, from += 4) {
        line[to] += share * data[from];
        line[to + 1] += share * data[from + 1];
        line[to + 2] += share * data[from + 2];
      }
    });
    columns.forEach((column, across) => {
      for (let channel = 0; channel < 3; channel += 1) {
        let sum = 0;
        for (const [x, share] of column) sum += share * line[3 * x + channel];
        pixels[(at * size[1] + across) * 3 + channel] = roundHalfEven((sum * size[0] * size[1]) / (height * width));
      }
    });
  });
  return pixels;
}

/** Of `count` equal stretches of `side` pixels, which pixels each covers and how much of each: [[pixel, share], ...]. */
function stretches(side, count) {
  const edge = (index) => index * (side / count);
  return Array.from({ length: count }, (_, index) => {
    const [from, to] = [edge(index), edge(index + 1)];
    const covered = [];
    // 1e-9: an edge that should be whole but for rounding covers nothing of the next pixel.
    for (let pixel = Math.floor(from + 1e-9); pixel < Math.min(side, to - 1e-9); pixel += 1) {
      covered.push([pixel, Math.min(pixel + 1, to) - Math.max(pixel, from)]);
    }
    return covered;
  });
}

function withoutAlpha({ data, width, height }) {
  const pixels = new Uint8Array(width * height * 3);
  for (let to = 0, from = 0; to < pixels.length; to += 3, from += 4) {
    pixels[to] = data[from];
    pixels[to + 1] = data[from + 1];
    pixels[to + 2] = data[from + 2];
  }
  return pixels;
}

function roundHalfEven(value) {
  const floor = Math.floor(value);
  return value - floor === 0.5 ? floor + (floor % 2) : Math.round(value);
}
