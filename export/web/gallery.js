// Known people and their embeddings, searched exactly: keras_margin.runtime.Gallery in a few lines.

import { unit } from "./similarity.js";

/** Faces of known people, all made by one model. */
export class Gallery {
  /** @param {string} model Whose embeddings these are: the model's identity. */
  constructor(model) {
    this.model = model;
    this.faces = [];
  }

  /** The people, in the order they were first enrolled. */
  get names() {
    return [...new Set(this.faces.map(({ name }) => name))];
  }

  get size() {
    return this.faces.length;
  }

  /**
   * Adds a face. More of a person make it easier to recognise.
   *
   * @param {{name: string, model: string, embedding: ArrayLike<number>}} face Whatever else it has is kept.
   * @throws {Error} An empty name, another model's embedding, or one of no length.
   */
  enroll(face) {
    if (face.name.trim() === "") throw new Error("A person needs a name.");
    this.check(face.model);
    const row = unit(face.embedding);
    if (!row.every(Number.isFinite) || !row.some((value) => value !== 0)) throw new Error("This face has no embedding.");
    if (this.size > 0 && row.length !== this.faces[0].row.length) {
      throw new Error(`The gallery has embeddings of ${this.faces[0].row.length} numbers. Received: ${row.length}.`);
    }
    this.faces.push({ ...face, row });
  }

  /**
   * The person most similar to an embedding: the one with the highest cosine of all faces.
   *
   * @param {ArrayLike<number>} embedding Of any length.
   * @param {string} model What made it.
   * @returns {{name: string, score: number}|null} null where the gallery is empty.
   * @throws {Error} Another model's embedding.
   */
  search(embedding, model) {
    this.check(model);
    const probe = unit(embedding);
    let best = null;
    for (const { name, row } of this.faces) {
      const score = row.reduce((sum, value, index) => sum + value * probe[index], 0);
      if (best === null || score > best.score) best = { name, score };
    }
    return best === null ? null : { ...best, score: Math.min(Math.max(best.score, -1), 1) };
  }

  /** Refuses what another model made. */
  check(model) {
    if (model === this.model) return;
    throw new Error(
      `The gallery holds embeddings of another model (${this.model.slice(0, 12)}…) than this one (${model.slice(0, 12)}…): ` +
        "their similarity means nothing. Enrol its people again with this model.",
    );
  }
}

/**
 * The cosine from which a face of a search gets a name.
 *
 * @param {import("./decisions.js").SearchThresholds|null} thresholds The model's, where it has them.
 * @param {number|null} threshold The model's threshold of two faces.
 * @param {number} faces How many are searched.
 * @param {number} rate Wanted share of strangers that get a name.
 * @returns {{cosine: number, rate: number|null}|null} `rate` null where only the threshold of two faces is known; null
 *   where there is neither.
 */
export function searchThreshold(thresholds, threshold, faces, rate) {
  if (thresholds !== null) {
    const found = thresholds.threshold(Math.max(faces, 1), rate);
    return { cosine: found.threshold, rate: found.rate };
  }
  return threshold === null ? null : { cosine: threshold, rate: null };
}
