// Photographs on a canvas, pixel for pixel as keras_margin places them.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { place, shrunk, toPhotograph } from "../placing.js";

const { shrunk: cases } = JSON.parse(readFileSync(new URL("numbers.json", import.meta.url)));

/** RGBA of RGB, with an alpha that must not count. */
function photo({ size: [height, width], rgb }) {
  const data = new Uint8ClampedArray(height * width * 4).fill(77);
  rgb.forEach((value, index) => (data[Math.floor(index / 3) * 4 + (index % 3)] = value));
  return { data, width, height };
}

for (const each of cases) {
  test(`${each.name}: each pixel is the mean of the area that it covers`, () => {
    const found = shrunk(photo(each), each.to);
    each.means.forEach((mean, index) => assert.ok(Math.abs(found[index] - mean) <= 0.5 + 1e-4, `${found[index]} for ${mean}`));
    assert.deepEqual([...found], each.shrunk);
  });

  test(`${each.name}: placed at the top left, and carried back`, () => {
    const placed = place(photo(each), each.canvas);
    assert.deepEqual([placed.size, [...placed.pixels]], [each.on, each.placed]);
    toPhotograph([2.5, 1], placed.factors).forEach((value, axis) => assert.ok(Math.abs(value - each.back[axis]) < 1e-12));
  });
}
