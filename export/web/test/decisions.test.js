// What a cosine means, against the numbers of keras_margin (numbers.json, which tests/scripts/test_web_numbers.py writes).

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { Calibration, SearchThresholds, percent, zoneVerdict } from "../decisions.js";

const numbers = JSON.parse(readFileSync(new URL("numbers.json", import.meta.url)));
const calibration = Calibration.of(numbers);
const searches = SearchThresholds.of(numbers);

test("a cosine has keras_margin's probability and interval, and is told in its words", () => {
  for (const { cosine, prior, words, probability, low, high } of numbers.probabilities) {
    const found = calibration.probability(cosine, prior);
    assert.equal(found.words, words, `${cosine} at ${prior}`);
    for (const [value, wanted] of [[found.probability, probability], [found.low, low], [found.high, high]]) {
      assert.ok(Math.abs(value - wanted) <= 1e-12, `${value} for ${wanted}`);
    }
  }
});

test("percentages round as Python's do, and are never 0 or 100", () => {
  for (const { share, words } of numbers.percents) assert.equal(percent(share), words, `${share}`);
});

test("between two thresholds a person is asked", () => {
  for (const { cosine, verdict } of numbers.zone) assert.equal(zoneVerdict(cosine, calibration.zone), verdict, `${cosine}`);
});

test("the threshold of a search rises with the number of faces, as keras_margin's", () => {
  for (const { faces, rate, cosine } of numbers.thresholds) {
    const found = searches.threshold(faces, rate);
    assert.ok(Math.abs(found.threshold - cosine) <= 1e-12, `${faces}: ${found.threshold} for ${cosine}`);
    assert.equal(found.rate, rate);
  }
});

test("a rate beyond the table gives its strictest threshold, and says which rate that has", () => {
  const found = searches.threshold(10 ** 6, 0.01);
  assert.equal(found.threshold, 0.6);
  assert.ok(Math.abs(found.rate - (1 - Math.exp(-1))) < 1e-6, `${found.rate}`);
});

test("a damaged calibration is refused in words, and none is none", () => {
  const changed = (changes) => () => Calibration.of({ calibration: { ...numbers.calibration, ...changes } });
  assert.throws(changed({ llr: [1] }), /calibration.*is damaged: its lists.*Calibrate/);
  assert.throws(changed({ cosine: [0, 1, 1, 2, 3] }), /must rise/);
  assert.throws(changed({ prior: 1 }), /between 0 and 1/);
  assert.throws(changed({ zone: { same_from: 0.4 } }), /two thresholds/);
  assert.throws(() => SearchThresholds.of({ search: { far: [0.1, 0.2], cosine: [0, 1] } }), /search.*FARs must fall/);
  assert.equal(Calibration.of(null), null);
  assert.equal(SearchThresholds.of({ search: null }), null);
});
