// Known people: who is nearest, from which similarity, and whose embeddings are refused.

import assert from "node:assert/strict";
import { test } from "node:test";

import { SearchThresholds } from "../decisions.js";
import { Gallery, searchThreshold } from "../gallery.js";
import { verdict } from "../similarity.js";

function people() {
  const gallery = new Gallery("a".repeat(64));
  const enroll = (name, ...embedding) => gallery.enroll({ name, model: gallery.model, embedding });
  enroll("Ada", 3, 4);
  enroll("Grace", 5, 0);
  enroll("Ada", 0, 2);
  return gallery;
}

test("the best of all faces counts, whatever their lengths", () => {
  const found = people().search([12, 5], "a".repeat(64));
  assert.equal(found.name, "Grace");
  assert.ok(Math.abs(found.score - 12 / 13) < 1e-12);
  assert.equal(people().search([0.6, 0.8], "a".repeat(64)).name, "Ada");
});

test("people are named once, in the order they came; an empty gallery names nobody", () => {
  assert.deepEqual([people().names, people().size], [["Ada", "Grace"], 3]);
  assert.equal(new Gallery("b").search([1, 0], "b"), null);
});

test("another model's embeddings are refused, to add and to search", () => {
  const gallery = people();
  assert.throws(() => gallery.search([1, 0], "b".repeat(64)), /another model \(aaaaaaaaaaaa…\) than this one \(bbbbbbbbbbbb…\)/);
  assert.throws(() => gallery.enroll({ name: "Eve", model: "b".repeat(64), embedding: [1, 0] }), /another model/);
  assert.equal(gallery.size, 3);
});

test("nobody is added without a name or an embedding", () => {
  const gallery = people();
  const enroll = (name, embedding) => () => gallery.enroll({ name, model: gallery.model, embedding });
  assert.throws(enroll(" ", [1, 0]), /needs a name/);
  assert.throws(enroll("Eve", [0, 0]), /no embedding/);
  assert.throws(enroll("Eve", [Number.NaN, 1]), /no embedding/);
  assert.throws(enroll("Eve", [1, 0, 0]), /2 numbers. Received: 3/);
});

test("a search's threshold knows the gallery's size where the model tells, else it is that of two faces", () => {
  const thresholds = new SearchThresholds({ far: [1, 1e-2, 1e-4], cosine: [-1, 0.2, 0.4] });
  const few = searchThreshold(thresholds, 0.9, 0, 0.01);
  const many = searchThreshold(thresholds, 0.9, 50, 0.01);
  assert.ok(Math.abs(few.cosine - 0.2) < 1e-12 && few.rate === 0.01);
  assert.ok(many.cosine > 0.35 && many.cosine < 0.4);
  assert.deepEqual(searchThreshold(null, 0.9, 50, 0.01), { cosine: 0.9, rate: null });
  assert.equal(searchThreshold(null, null, 50, 0.01), null);
});

test("with two thresholds the verdict is one of three", () => {
  const zone = { different_below: 0.2, same_from: 0.4 };
  const of = (similarity) => verdict(similarity, 0.3, zone);
  assert.deepEqual([of(0.1).same, of(0.1).ask, of(0.4).same], [false, false, true]);
  assert.deepEqual([of(0.3).same, of(0.3).ask, of(0.3).title], [null, true, "Ask a person"]);
  assert.match(of(0.3).sentence, /0\.300: two people below 0\.200, one person from 0\.400/);
});
