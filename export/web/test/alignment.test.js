// The alignment of the page against the numbers of keras_margin.alignment (golden.json; tests/scripts/test_web.py writes it).

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { LANDMARKS_112, alignPoints, firstGuess, landmarkTemplate, sampling, similarityTransform, warp } from "../alignment.js";

const golden = JSON.parse(readFileSync(new URL("golden.json", import.meta.url)));

function close(found, wanted, bound) {
  found.flat().forEach((value, index) => assert.ok(Math.abs(value - wanted.flat()[index]) <= bound, `${found} ${wanted}`));
  assert.equal(found.flat().length, wanted.flat().length);
}

function rgba({ width, height, rgb }) {
  const data = new Uint8ClampedArray(width * height * 4).fill(255);
  for (let index = 0; index < width * height; index += 1) data.set(rgb.slice(3 * index, 3 * index + 3), 4 * index);
  return { data, width, height };
}

for (const { name, size, points, template, matrix } of golden.transforms) {
  test(`the transform of a face ${name} onto ${size.join(" x ")} is Umeyama's`, () => {
    close(landmarkTemplate(...size), template, 1e-12);
    close(similarityTransform(points, template), matrix, 1e-9);
  });
}

for (const { size, points, picture, rgb } of golden.crops) {
  test(`a crop of ${size.join(" x ")} from ${picture} has the library's pixels`, () => {
    const [height, width] = size;
    assert.deepEqual([...alignPoints(rgba(golden.pictures[picture]), points, { height, width })], rgb);
  });
}

test("up to a shrink of 1.25 a crop is one bilinear sample a pixel", () => {
  for (const shrink of [0.2, 1, 1.25]) assert.deepEqual(sampling(shrink), { halvings: 0, count: 1, step: 0 });
});

test("at whole shrinks of 2, 3 and 4 the samples are a pixel apart: the mean of the area", () => {
  for (const shrink of [2, 3, 4]) {
    assert.deepEqual(sampling(shrink), { halvings: 0, count: shrink, step: 1 / shrink });
    const pixels = Array.from({ length: shrink * shrink * 3 }, (_, index) => (index * 37) % 256);
    const mean = [0, 1, 2].map((channel) => pixels.reduce((sum, value, at) => sum + (at % 3 === channel ? value : 0), 0) / shrink ** 2);
    const shift = -(shrink - 1) / 2 / shrink;
    const found = warp(rgba({ width: shrink, height: shrink, rgb: pixels }), [[1 / shrink, 0, shift], [0, 1 / shrink, shift]], 1, 1);
    found.forEach((value, channel) => assert.ok(Math.abs(value - mean[channel]) <= 0.5 + 1e-9));
  }
});

test("beyond 4, means of squares are sampled", () => {
  const { halvings, count, step } = sampling(13);
  assert.deepEqual([halvings, count], [2, 4]);
  assert.ok(Math.abs(step - Math.sqrt((3.25 ** 2 - 3 + 2 / 16) / 15) / 3.25) < 1e-12);
});

test("a picture far smaller than a pixel of the crop fades to black and breaks nothing", () => {
  const picture = rgba({ width: 2, height: 2, rgb: new Array(12).fill(200) });
  for (const shrink of [1e3, 1e9, 1e150]) {
    assert.deepEqual([...warp(picture, [[1 / shrink, 0, 0], [0, 1 / shrink, 0]], 2, 2)], new Array(12).fill(0));
  }
});

test("a transform carries points that a similarity made exactly back", () => {
  const [c, angle, shift] = [1.7, 2.1, [-30, 12]];
  const [p, q] = [c * Math.cos(angle), c * Math.sin(angle)];
  const source = LANDMARKS_112.map(([x, y]) => [p * x - q * y + shift[0], q * x + p * y + shift[1]]);
  const [[a, b, tx], [d, e, ty]] = similarityTransform(source, LANDMARKS_112);
  close(source.map(([x, y]) => [a * x + b * y + tx, d * x + e * y + ty]), LANDMARKS_112, 1e-9);
  assert.ok(Math.abs(a * e - b * d - 1 / c ** 2) < 1e-12, "no reflection");
});

test("points that fix no position of a face are refused in words", () => {
  const same = Array.from({ length: 5 }, () => [3, 4]);
  assert.throws(() => similarityTransform(same, LANDMARKS_112), /in one place/);
  const [square, mirrored] = [
    [[0, 0], [1, 0], [1, 1], [0, 1]],
    [[0, 0], [-1, 0], [-1, 1], [0, 1]],
  ];
  assert.throws(() => similarityTransform(square, mirrored), /mirrored/);
  assert.throws(() => similarityTransform([[0, 0]], [[1, 1]]), /two or more/);
  assert.throws(() => similarityTransform([[0, 0], [NaN, 1]], [[1, 1], [2, 2]]), /finite/);
  assert.throws(() => alignPoints(null, LANDMARKS_112.slice(1), { height: 4, width: 4 }), /five points/);
  assert.throws(() => warp(rgba({ width: 1, height: 1, rgb: [1, 2, 3] }), [[0, 0, 1], [0, 0, 1]], 2, 2), /too close/);
});

test("a warp by nothing is the picture, and what lies outside is black", () => {
  const picture = rgba({ width: 2, height: 1, rgb: [10, 20, 30, 40, 50, 60] });
  assert.deepEqual([...warp(picture, [[1, 0, 0], [0, 1, 0]], 2, 3)], [10, 20, 30, 40, 50, 60, ...new Array(12).fill(0)]);
  // Half a pixel on: the mean of two neighbours, 25, 35, 45.
  assert.deepEqual([...warp(picture, [[1, 0, -0.5], [0, 1, 0]], 1, 1)], [25, 35, 45]);
});

test("halves are rounded to the even number, as NumPy rounds them", () => {
  const picture = rgba({ width: 2, height: 1, rgb: [0, 1, 2, 1, 2, 3] });
  assert.deepEqual([...warp(picture, [[1, 0, -0.5], [0, 1, 0]], 1, 1)], [0, 2, 2]);
});

test("the first guess is the template, as large as fits, in the middle", () => {
  assert.deepEqual(firstGuess(112, 112), LANDMARKS_112);
  close(firstGuess(400, 224), LANDMARKS_112.map(([x, y]) => [88 + 2 * x, 2 * y]), 1e-9);
});

test("the metadata's own template is where the points go", () => {
  const picture = rgba({ width: 1, height: 1, rgb: [7, 7, 7] });
  const template = LANDMARKS_112.map(([x, y]) => [x + 1, y + 2]);
  const crop = alignPoints(picture, LANDMARKS_112, { height: 4, width: 4, template });
  assert.equal(crop[(2 * 4 + 1) * 3], 7);
  assert.equal(crop.reduce((sum, value) => sum + value), 21);
});
