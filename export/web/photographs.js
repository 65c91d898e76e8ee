// Finds and embeds the faces of photographs by the signatures of a file exported with photo=: keras_margin.runtime's way.

import { Tensor } from "@litertjs/core";

import { alignPoints } from "./alignment.js";
import { place, toPhotograph } from "./placing.js";

// Largest believable side and area of a canvas, pixels: a damaged number must not exhaust the memory.
const [LARGEST_SIDE, LARGEST_AREA] = [2 ** 13, 2 ** 24];

/**
 * A face of a photograph.
 *
 * @typedef {object} Face
 * @property {number[]} box [x1, y1, x2, y2] in pixels of the photograph, inside it.
 * @property {number[][]} points Eyes, nose tip, mouth corners, the viewer's left first.
 * @property {number} score How sure the detector is, in [0, 1].
 */

export class Photographs {
  /**
   * @param {object} about The metadata's `photo`.
   * @param {Record<string, object>} signatures Of the compiled model.
   * @param {{height: number, width: number}} face Size of an aligned face.
   * @param {(pixels: Uint8Array) => Promise<Float32Array>} embedAligned
   * @throws {Error} The metadata do not describe such signatures.
   */
  constructor(about, signatures, face, embedAligned) {
    Object.assign(this, { signatures, face, embedAligned });
    this.canvases = (about.canvases ?? []).map(({ height, width, detect, embed }) => ({ size: [height, width], detect, embed }));
    this.most = about.faces;
    const named = this.canvases.every(({ detect, embed }) => signatures[detect] && signatures[embed]);
    const side = (pixels) => Number.isInteger(pixels) && pixels >= 12 && pixels <= LARGEST_SIDE;
    const sound = this.canvases.every(({ size }) => size.every(side) && size[0] * size[1] < LARGEST_AREA);
    if (this.canvases.length === 0 || !sound || !named || !(this.most >= 1)) {
      throw new Error("The metadata of this model do not describe its photographs. Export it again.");
    }
  }

  /** Runs the detector once on nothing: the first run compiles it, which takes seconds. */
  async warmUp() {
    await this.detect({ data: new Uint8ClampedArray(12 * 12 * 4), width: 12, height: 12 });
  }

  /**
   * @param {{data: Uint8ClampedArray, width: number, height: number}} photo RGBA, of any size.
   * @returns {Promise<{faces: Face[], dropped: boolean, placed: object}>} The largest face first; `dropped`: whether
   *   there were more than the file has room for; `placed`: for `embed`.
   */
  async detect(photo) {
    const canvas = this.canvasFor(photo);
    const placed = { ...place(photo, canvas.size), canvas };
    const answer = await this.run(canvas.detect, this.inputs(placed));
    const count = Math.min(Math.max(answer.count[0], 0), this.most);
    const numbers = [answer.boxes.subarray(0, 4 * count), answer.points.subarray(0, 10 * count), answer.scores.subarray(0, count)];
    if (!numbers.every((values) => values.every(Number.isFinite))) throw new Error("The detector answered NaN or infinity.");
    const pair = (values, at) => toPhotograph([values[at], values[at + 1]], placed.factors);
    const inside = ([x, y]) => [Math.min(Math.max(x, 0), photo.width - 1), Math.min(Math.max(y, 0), photo.height - 1)];
    const faces = Array.from({ length: count }, (_, index) => ({
      box: [...inside(pair(answer.boxes, 4 * index)), ...inside(pair(answer.boxes, 4 * index + 2))],
      points: Array.from({ length: 5 }, (_, point) => pair(answer.points, 10 * index + 2 * point)),
      score: answer.scores[index],
    }));
    return { faces, dropped: answer.dropped[1] > 0 || answer.dropped[2] > 0, placed };
  }

  /**
   * Aligns and embeds one face.
   *
   * A photograph that was shrunk for the detector has more pixels than its copy: the face is cut out of the photograph
   * itself then.
   *
   * @param {{data: Uint8ClampedArray, width: number, height: number}} photo RGBA.
   * @param {number[][]} points Five.
   * @param {object} placed What `detect` said of the photograph.
   * @returns {Promise<{embedding: Float32Array, pixels: Uint8Array}>} `pixels`: RGB of the aligned face.
   */
  async embed(photo, points, placed) {
    if (placed.shrink > 1) {
      const pixels = alignPoints(photo, points, this.face);
      return { embedding: await this.embedAligned(pixels), pixels };
    }
    const inputs = { ...this.inputs(placed), points: new Tensor(Float32Array.from(points.flat()), [5, 2]) };
    const answer = await this.run(placed.canvas.embed, inputs);
    if (!answer.embedding.every(Number.isFinite)) throw new Error("The network answered NaN or infinity.");
    return { embedding: answer.embedding, pixels: answer.face };
  }

  /** The smallest canvas that a photograph fits on, else the one on which it is shrunk least. */
  canvasFor({ height, width }) {
    const cost = ({ size }) => [Math.max(1, height / size[0], width / size[1]), size[0] * size[1]];
    const better = ([shrink, area], [least, smallest]) => shrink < least || (shrink === least && area < smallest);
    return this.canvases.reduce((best, each) => (better(cost(each), cost(best)) ? each : best));
  }

  inputs({ pixels, size, canvas }) {
    return { photo: new Tensor(pixels, [...canvas.size, 3]), size: new Tensor(Int32Array.from(size), [2]) };
  }

  /** The answers of a signature by name, copied; its tensors and the inputs are deleted. */
  async run(name, inputs) {
    let answers = {};
    try {
      answers = await this.signatures[name].run(inputs);
      const copied = {};
      for (const [key, tensor] of Object.entries(answers)) copied[key] = (await tensor.data()).slice();
      return copied;
    } finally {
      for (const tensor of [...Object.values(inputs), ...Object.values(answers)]) if (!tensor.deleted) tensor.delete();
    }
  }
}
