import assert from "node:assert/strict";
import { test } from "node:test";

import { cosine, readMetadata, unit, verdict } from "../similarity.js";

test("the cosine is that of the angle, whatever the lengths", () => {
  const angle = 0.7;
  const [a, b] = [[3, 0], [5 * Math.cos(angle), 5 * Math.sin(angle)]];
  assert.ok(Math.abs(cosine(a, b) - Math.cos(angle)) < 1e-15);
  assert.ok(Math.abs(cosine(a, a.map((value) => -value)) + 1) < 1e-15);
  assert.equal(cosine([0, 0], [1, 0]), 0);
  assert.ok(cosine([1, 1, 1], [1, 1, 1]) <= 1);
  assert.deepEqual([...unit([0, 0])], [0, 0]);
});

test("very long and very short embeddings keep their direction", () => {
  assert.ok(Math.abs(cosine([1e30, 1e30], [1e-30, 0]) - Math.SQRT1_2) < 1e-12);
});

test("the threshold itself is accepted, as where it was measured", () => {
  assert.equal(verdict(0.4, 0.4).same, true);
  assert.equal(verdict(0.3999, 0.4).same, false);
  assert.match(verdict(0.3999, 0.4).sentence, /below the threshold of 0.400/);
  assert.equal(verdict(0.9, null).same, null);
  assert.match(verdict(0.9, null).sentence, /no threshold/);
});

test("metadata give their threshold, their template and what was measured", () => {
  const points = [[1, 2], [3, 4], [5, 6], [7, 8], [9, 10]];
  const found = readMetadata({
    threshold: { cosine: 0.31, far: 0.001, tar: 0.925 },
    accuracy: { eer: 0.0123, num_genuine: 450, num_impostor: 4500 },
    alignment: { points },
    head: { class: "ArcFaceHead" },
    recipe: { name: "arcface_casia_r50" },
    keras_margin: "0.1.0",
  });
  assert.equal(found.threshold, 0.31);
  assert.deepEqual([found.aligned, found.template], [true, points]);
  const facts = found.facts.join(" ");
  for (const words of ["0.1 % of the measured impostor", "93 % of the genuine", "1.2 %, measured on 450", "ArcFaceHead, recipe arcface_casia_r50", "0.1.0"]) {
    assert.ok(facts.includes(words), `${words} in ${facts}`);
  }
});

test("metadata without a threshold, or none at all, have no threshold", () => {
  for (const metadata of [null, {}, { threshold: null, accuracy: null, head: null }]) {
    const { threshold, aligned, template } = readMetadata(metadata);
    assert.deepEqual([threshold, aligned, template], [null, true, null]);
  }
  assert.equal(readMetadata({ alignment: null }).aligned, false);
});

test("damaged metadata are refused, not passed over", () => {
  for (const cosine of [1.5, -2, NaN, "0.4x"]) assert.throws(() => readMetadata({ threshold: { cosine } }), /from -1 to 1/);
  assert.throws(() => readMetadata({ alignment: { points: [[1, 2]] } }), /five points/);
});
