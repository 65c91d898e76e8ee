// From two embeddings to a verdict: pure functions of numbers and of the JSON that a model ships.

import { ASK, Calibration, SAME, SearchThresholds, zoneVerdict } from "./decisions.js";

/**
 * Cosine of two embeddings, in [-1, 1]; 0 where either is of zero length, as keras_margin.runtime has it.
 *
 * @param {ArrayLike<number>} first
 * @param {ArrayLike<number>} second
 */
export function cosine(first, second) {
  const [one, other] = [unit(first), unit(second)];
  return Math.min(Math.max(one.reduce((sum, value, index) => sum + value * other[index], 0), -1), 1);
}

/** An embedding over its length, in float64; zeros stay zeros. */
export function unit(embedding) {
  const values = Float64Array.from(embedding);
  const length = Math.hypot(...values);
  return length > 0 ? values.map((value) => value / length) : values;
}

/**
 * What a model's metadata say that this page uses.
 *
 * @param {object|null} metadata The JSON inside the file or next to it; null where there is none.
 * @returns {{threshold: number|null, calibration: Calibration|null, searches: SearchThresholds|null, aligned: boolean,
 *   template: number[][]|null, facts: string[]}} `aligned`: whether faces are carried by five points; `template`: where
 *   to, null for the usual places.
 * @throws {Error} A part is there and is not such a thing.
 */
export function readMetadata(metadata) {
  const threshold = metadata?.threshold?.cosine ?? null;
  if (threshold !== null && !(threshold >= -1 && threshold <= 1)) {
    throw new Error(`The metadata's threshold must be a cosine from -1 to 1. Received: ${threshold}.`);
  }
  const template = metadata?.alignment?.points ?? null;
  if (template !== null && !(template.length === 5 && template.flat().length === 10 && template.flat().every(Number.isFinite))) {
    throw new Error(`The metadata's alignment must be five points. Received: ${JSON.stringify(template)}.`);
  }
  const [calibration, searches] = [Calibration.of(metadata), SearchThresholds.of(metadata)];
  const facts = factsOf(metadata ?? {});
  // Of photographs the faces are aligned, whatever the network was trained on.
  const aligned = metadata?.alignment !== null || Boolean(metadata?.photo);
  return { threshold, calibration, searches, aligned, template, facts };
}

/**
 * The verdict in words.
 *
 * @param {number} similarity Cosine.
 * @param {number|null} threshold
 * @param {{different_below: number, same_from: number}|null} zone Two thresholds between which a person should look; they
 *   count in the threshold's place.
 * @returns {{same: boolean|null, ask: boolean, title: string, sentence: string}}
 */
export function verdict(similarity, threshold, zone = null) {
  const shown = similarity.toFixed(3);
  if (zone !== null) return verdictOfZone(similarity, zone);
  if (threshold === null) {
    return {
      same: null,
      ask: false,
      title: "No verdict",
      sentence: `Similarity ${shown}. This model ships no threshold, so the page draws no line between same and different.`,
    };
  }
  const same = similarity >= threshold;
  const where = same ? "at or above" : "below";
  return { same, ask: false, title: title(same), sentence: `Similarity ${shown}, ${where} the threshold of ${threshold.toFixed(3)}.` };
}

function verdictOfZone(similarity, zone) {
  const found = zoneVerdict(similarity, zone);
  const [shown, low, high] = [similarity, zone.different_below, zone.same_from].map((value) => value.toFixed(3));
  if (found === ASK) {
    return {
      same: null,
      ask: true,
      title: "Ask a person",
      sentence: `Similarity ${shown}: two people below ${low}, one person from ${high}. In between somebody should look.`,
    };
  }
  const same = found === SAME;
  const where = same ? `one person from ${high}` : `two people below ${low}`;
  return { same, ask: false, title: title(same), sentence: `Similarity ${shown}: ${where}.` };
}

function title(same) {
  return same ? "Taken for the same person" : "Taken for two people";
}

/** What was measured, in sentences; the numbers are the metadata's own. */
function factsOf({ threshold, accuracy, head, recipe, keras_margin: version }) {
  const percent = (share) => `${Number((100 * share).toPrecision(2))} %`;
  const facts = [];
  if (threshold?.far !== undefined) {
    const genuine = threshold.tar === undefined ? "" : `, and ${percent(threshold.tar)} of the genuine ones`;
    facts.push(`At the threshold at most ${percent(threshold.far)} of the measured impostor pairs pass${genuine}.`);
  }
  if (accuracy?.eer !== undefined) {
    const pairs = `${accuracy.num_genuine} genuine and ${accuracy.num_impostor} impostor pairs`;
    facts.push(`Equal error rate ${percent(accuracy.eer)}, measured on ${pairs}.`);
  }
  const recipeName = typeof recipe === "string" ? recipe : recipe?.name;
  if (head?.class) facts.push(`Trained with ${head.class}${recipeName ? `, recipe ${recipeName}` : ""}.`);
  if (version) facts.push(`Exported by keras-margin ${version}.`);
  return facts;
}
