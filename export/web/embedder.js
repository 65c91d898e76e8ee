// A face embedder in LiteRT.js: RGB pixels of one face in, its embedding out, on this device's processor.

import { Tensor, loadAndCompile, loadLiteRt } from "@litertjs/core";

import { Photographs } from "./photographs.js";
import { describe, withBatchOfOne } from "./tflite.js";

const WASM = new URL("./node_modules/@litertjs/core/wasm/", import.meta.url).href;
const METADATA_NAME = "keras_margin.contract";
// One face in float32 at 1024 x 1024 is 12 MiB; a damaged shape must not exhaust the memory.
const MOST_PIXELS = 1024 * 1024;

let runtime = null;

/** An error whose message is meant for the person in front of the page. */
export class ModelError extends Error {}

export class Embedder {
  /**
   * Loads a model and tries it on one black image, so that a file that cannot run fails here.
   *
   * @param {Uint8Array} bytes The .tflite file.
   * @throws {ModelError|NotAModel} In words for the page's reader.
   */
  static async load(bytes) {
    const layout = checkedLayout(describe(bytes));
    await started();
    let model = null;
    try {
      model = await loadAndCompile(layout.freeBatch ? withBatchOfOne(bytes) : bytes, { accelerator: "wasm" });
      const embedder = new Embedder(model, layout);
      embedder.size = (await embedder.embed(new Uint8Array(layout.height * layout.width * 3))).length;
      embedder.modelId = layout.metadata?.model_id ?? (await digest(bytes));
      await embedder.addPhotographs();
      return embedder;
    } catch (error) {
      model?.delete();
      if (error instanceof ModelError) throw error;
      throw new ModelError(`LiteRT cannot run this model: ${firstLine(error)}. Is the file whole?`);
    }
  }

  constructor(model, layout) {
    this.model = model;
    this.layout = layout;
    this.size = null;
    /** What finds the faces of photographs; null where the file takes aligned faces alone. */
    this.photographs = null;
  }

  async addPhotographs() {
    const { height, width, metadata } = this.layout;
    if (!metadata?.photo) return;
    const face = { height, width, template: metadata.alignment?.points ?? null };
    this.photographs = new Photographs(metadata.photo, this.model.signatures, face, (pixels) => this.embed(pixels));
    await this.photographs.warmUp();
  }

  get height() {
    return this.layout.height;
  }

  get width() {
    return this.layout.width;
  }

  /** The metadata that travel inside the file, or null. */
  get metadata() {
    return this.layout.metadata;
  }

  /**
   * @param {Uint8Array} pixels RGB, height x width x 3.
   * @returns {Promise<Float32Array>} The network's own output.
   */
  async embed(pixels) {
    const { height, width, batch, output } = this.layout;
    const one = height * width * 3;
    if (pixels.length !== one) {
      throw new ModelError(`This model takes ${height} x ${width} x 3 = ${one} values. Received: ${pixels.length}.`);
    }
    const whole = new Uint8Array(batch * one);
    for (let index = 0; index < batch; index += 1) whole.set(pixels, index * one);
    const image = new Tensor(whole, [batch, height, width, 3]);
    let answers = [];
    try {
      answers = await this.model.run([image]);
      const values = await answers[output].data();
      const embedding = Float32Array.from(values.subarray(0, values.length / batch));
      if (!embedding.every(Number.isFinite)) throw new ModelError("The network answered NaN or infinity.");
      return embedding;
    } finally {
      image.delete();
      for (const answer of answers) if (!answer.deleted) answer.delete();
    }
  }

  delete() {
    this.model.delete();
  }
}

/** Loads LiteRT's WebAssembly once; a failed try (no network) may be made again. */
async function started() {
  runtime ??= loadLiteRt(WASM);
  try {
    await runtime;
  } catch (error) {
    runtime = null;
    throw new ModelError(
      `LiteRT's WebAssembly did not load: ${firstLine(error)}. Serve the folder over http with its node_modules (make web).`,
    );
  }
}

/** The sizes this page needs, once the model is an embedder that it can feed. */
function checkedLayout({ inputs, outputs, metadata }) {
  const shown = (tensors) => tensors.map(({ type, shape }) => `${type} ${shape.join(" x ")}`).join(", ") || "nothing";
  if (inputs.length !== 1) {
    throw new ModelError(`A face embedder has one input, the image. This model takes ${shown(inputs)}.`);
  }
  const [{ shape, type, quantized }] = inputs;
  if (shape.length !== 4 || shape[3] !== 3) {
    throw new ModelError(`This page feeds RGB images, batch x height x width x 3. This model takes ${shown(inputs)}.`);
  }
  const [batch, height, width] = shape;
  if (height < 1 || width < 1 || height * width > MOST_PIXELS) {
    throw new ModelError(`This page needs a model of fixed height and width. This one takes ${shown(inputs)} (-1 is free).`);
  }
  if (type !== "uint8" || quantized) {
    throw new ModelError(
      `This page feeds pixels, uint8 from 0 to 255. This model takes ${quantized ? "quantised " : ""}${type}, and how its ` +
        "pixels are normalised is not known: export it with keras_margin.export.to_tflite, which normalises inside.",
    );
  }
  const output = outputs.length === 1 ? 0 : outputs.findIndex(({ name }) => name === "embedding");
  if (output < 0 || outputs[output].type !== "float32") {
    throw new ModelError(`A face embedder answers float32 numbers, an embedding. This model answers ${shown(outputs)}.`);
  }
  if (batch > 32) throw new ModelError(`This model takes ${batch} images at once; export it with a batch size of 1.`);
  return { height, width, batch: Math.max(batch, 1), freeBatch: batch < 1, output, metadata: parsedMetadata(metadata) };
}

/**
 * SHA-256 of the file, as keras_margin.runtime names a model; null where the browser computes none, which is on pages
 * that came neither by https nor from localhost.
 */
async function digest(bytes) {
  if (!globalThis.crypto?.subtle) return null;
  const found = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return [...found].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

function parsedMetadata(metadata) {
  const bytes = metadata.get(METADATA_NAME);
  if (!bytes) return null;
  try {
    return JSON.parse(new TextDecoder().decode(bytes));
  } catch {
    return null;
  }
}

function firstLine(error) {
  return String(error?.message ?? error).split("\n")[0].replace(/\.+$/, "");
}
