// The reader of .tflite files, on a small FlatBuffer written here by hand.

import assert from "node:assert/strict";
import { test } from "node:test";

import { NotAModel, describe, withBatchOfOne } from "../tflite.js";

/** A FlatBuffer builder that lays everything out forwards; values are tables, lists, strings or numbers. */
class Builder {
  constructor() {
    this.bytes = new DataView(new ArrayBuffer(4096));
    this.end = 8;
  }

  take(size) {
    const at = (this.end = (this.end + 3) & ~3);
    this.end += size;
    return at;
  }

  table(fields) {
    const numbers = Object.keys(fields).map(Number);
    const slots = Math.max(-1, ...numbers) + 1;
    const list = this.take(4 + 2 * slots);
    const start = this.take(4 + 4 * numbers.length);
    this.bytes.setUint16(list, 4 + 2 * slots, true);
    this.bytes.setInt32(start, start - list, true);
    numbers.forEach((number, index) => {
      const at = start + 4 + 4 * index;
      this.bytes.setUint16(list + 4 + 2 * number, at - start, true);
      this.put(at, fields[number]);
    });
    return start;
  }

  put(at, value) {
    if (typeof value === "number") return this.bytes.setUint32(at, value, true);
    const start = Array.isArray(value) ? this.list(value) : typeof value === "string" ? this.text(value) : this.table(value);
    return this.bytes.setUint32(at, start - at, true);
  }

  list(values) {
    const start = this.take(4 + 4 * values.length);
    this.bytes.setUint32(start, values.length, true);
    values.forEach((value, index) => this.put(start + 4 + 4 * index, value));
    return start;
  }

  text(value) {
    const encoded = new TextEncoder().encode(value);
    const start = this.take(4 + encoded.length);
    this.bytes.setUint32(start, encoded.length, true);
    encoded.forEach((byte, index) => this.bytes.setUint8(start + 4 + index, byte));
    return start;
  }

  finish(root) {
    [..."TFL3"].forEach((letter, index) => this.bytes.setUint8(4 + index, letter.charCodeAt(0)));
    this.bytes.setUint32(0, this.table(root), true);
    return new Uint8Array(this.bytes.buffer, 0, this.end);
  }
}

const FREE = 0xffffffff;

function model() {
  const image = { 0: [1, 112, 96, 3], 1: 3, 3: "serving_image", 7: [FREE, 112, 96, 3] };
  const hidden = { 0: [1, 8], 3: "hidden", 7: [FREE, 8] };
  const embedding = { 0: [1, 24], 3: "StatefulPartitionedCall:0", 7: [FREE, 24] };
  return new Builder().finish({
    2: [{ 0: [image, hidden, embedding], 1: [0], 2: [2] }],
    4: [{}, { 0: '{"threshold": 1}' }],
    6: [{ 0: "keras_margin.contract", 1: 1 }],
    7: [{ 0: [{ 0: "image" }], 1: [{ 0: "embedding", 1: 2 }], 2: "serving_default" }],
  });
}

test("a model says what it takes and gives, by its signature's names", () => {
  const { inputs, outputs, metadata } = describe(model());
  assert.deepEqual(inputs, [{ name: "image", shape: [-1, 112, 96, 3], type: "uint8", quantized: false }]);
  assert.deepEqual(outputs, [{ name: "embedding", shape: [-1, 24], type: "float32", quantized: false }]);
  assert.equal(new TextDecoder().decode(metadata.get("keras_margin.contract")), '{"threshold": 1}');
});

test("a batch of one is set everywhere and nothing else changes", () => {
  const [free, fixed] = [model(), withBatchOfOne(model())];
  assert.deepEqual(describe(fixed).inputs[0].shape, [1, 112, 96, 3]);
  assert.deepEqual(describe(fixed).outputs[0].shape, [1, 24]);
  const changed = [...free].flatMap((byte, index) => (byte === fixed[index] ? [] : [index]));
  assert.equal(changed.length, 3 * 4, "three tensors' batch sizes, four bytes each");
  assert.deepEqual(describe(free).inputs[0].shape, [-1, 112, 96, 3], "the bytes given are left as they were");
});

test("what is not a model is named for what it is", () => {
  const bytes = (text) => Uint8Array.from(text, (letter) => letter.charCodeAt(0));
  const cases = [
    ["PK\x03\x04 keras zip", /\.keras/],
    ["\x89PNG\r\n\x1a\n", /picture/],
    ["\xff\xd8\xff\xe0 jfif", /picture/],
    ['{"image": {}}', /JSON next to it/],
    ["version https://git-lfs", /LFS/],
    ["nothing known", /ends in \.tflite/],
    ["", /ends in \.tflite/],
  ];
  for (const [content, words] of cases) {
    assert.throws(() => describe(bytes(content)), (error) => error instanceof NotAModel && words.test(error.message));
  }
});

test("a model cut anywhere is a clear error or still whole, never another one", () => {
  const whole = model();
  for (let length = 0; length < whole.length; length += 1) {
    try {
      describe(whole.slice(0, length));
    } catch (error) {
      assert.ok(error instanceof NotAModel, `${length}: ${error.stack}`);
    }
  }
});

test("damaged bytes end in a clear error too, and soon", () => {
  let state = 1;
  const random = (below) => (state = (state * 48271) % 2147483647) % below;
  for (let turn = 0; turn < 3000; turn += 1) {
    const bytes = model();
    for (let change = 0; change < 3; change += 1) bytes[8 + random(bytes.length - 8)] = random(256);
    try {
      describe(bytes);
    } catch (error) {
      assert.ok(error instanceof NotAModel, error.stack);
    }
  }
});
