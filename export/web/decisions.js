// What a cosine means by a file's metadata: keras_margin's `_utils/decisions.py`, number for number.

/** The ways that two faces can be judged. */
export const [SAME, DIFFERENT, ASK] = ["same", "different", "ask"];

/** The log-likelihood ratio of a cosine: straight lines between knots, level beyond the last. */
export class Calibration {
  /**
   * @param {{cosine: number[], llr: number[], low: number[], high: number[], prior: number, zone: object|null}} found
   *   Knots, ln(p(cosine | one person) / p(cosine | two people)) there with its interval, and the prior of the file.
   * @throws {Error} Lists of other lengths, not finite, not monotone, or a prior out of range.
   */
  constructor({ cosine, llr, low, high, prior, zone }) {
    for (const values of [cosine, llr, low, high]) {
      if (!Array.isArray(values) || values.length !== cosine.length || !values.every(Number.isFinite)) {
        throw new Error("its lists must be as many numbers each");
      }
    }
    if (!rises(cosine, true) || !rises(llr, false)) throw new Error("its numbers must rise");
    Object.assign(this, { cosine, llr, low, high, prior: checkedPrior(prior), zone: checkedZone(zone ?? null) });
  }

  /** The calibration in a model's metadata, or null where there is none. */
  static of(metadata) {
    return damaged("calibration", () => (metadata?.calibration ? new Calibration(metadata.calibration) : null));
  }

  /**
   * How probable it is that two faces are one person's.
   *
   * @param {number} cosine
   * @param {number} prior Probability of one person before the faces were seen, in (0, 1).
   * @returns {{probability: number, low: number, high: number, prior: number, llr: number, words: string}}
   */
  probability(cosine, prior = this.prior) {
    const odds = Math.log(checkedPrior(prior)) - Math.log1p(-prior);
    const [llr, ...ends] = [this.llr, this.low, this.high].map((values) => interpolated(cosine, this.cosine, values));
    const [probability, low, high] = [llr, ...ends].map((value) => sigmoid(value + odds));
    const told = prior === 0.5 ? "even odds" : `a prior of ${general(prior)}`;
    const words = `${percent(probability)} (${percent(low).replace(/ %$/, "")} to ${percent(high)}) at ${told}`;
    return { probability, low, high, prior, llr, words };
  }
}

/** SAME, DIFFERENT or ASK of a cosine; `zone` as in a calibration. */
export function zoneVerdict(cosine, zone) {
  return cosine >= zone.same_from ? SAME : cosine < zone.different_below ? DIFFERENT : ASK;
}

/**
 * The threshold of a search among N faces at a wanted FPIR, the share of strangers' searches that name somebody:
 *
 *     FPIR(N, t) = 1 - (1 - FAR(t))^N
 */
export class SearchThresholds {
  /**
   * @param {{far: number[], cosine: number[]}} found Falling FARs of one comparison, and the thresholds that have them.
   * @throws {Error} Lists of other lengths, not finite or not monotone.
   */
  constructor({ far, cosine }) {
    const lists = [far, cosine].every((values) => Array.isArray(values) && values.every(Number.isFinite));
    if (!lists || far.length !== cosine.length || far.length === 0) throw new Error("its lists must be as many numbers");
    const falls = rises([...far].reverse(), true) && far.at(-1) > 0 && far[0] <= 1;
    if (!falls || !rises(cosine, false)) throw new Error("its FARs must fall and its cosines must not");
    Object.assign(this, { far, cosine });
  }

  /** The thresholds of searches in a model's metadata, or null where there are none. */
  static of(metadata) {
    return damaged("search", () => (metadata?.search ? new SearchThresholds(metadata.search) : null));
  }

  /**
   * The cosine from which the best of `faces` embeddings is named, at a wanted FPIR.
   *
   * Where the table does not reach the rate, the answer is its strictest threshold and the rate which that has.
   *
   * @param {number} faces Embeddings that are searched, >= 1.
   * @param {number} rate Wanted FPIR, in (0, 1).
   * @returns {{threshold: number, rate: number}}
   */
  threshold(faces, rate) {
    const rates = this.far.map((far) => (far === 1 ? 1 : -Math.expm1(faces * Math.log1p(-far))));
    const least = rates.at(-1);
    if (rate < least) return { threshold: this.cosine.at(-1), rate: least };
    const heights = rates.map((each) => -Math.log(each));
    return { threshold: interpolated(-Math.log(rate), heights, this.cosine), rate };
  }
}

/** A probability as text; one that rounds to 0 or to 1 is not called so. */
export function percent(share) {
  if (share < 0.001) return "under 0.1 %";
  if (share > 0.999) return "over 99.9 %";
  return `${fixed(100 * share, share >= 0.01 && share <= 0.99 ? 0 : 1)} %`;
}

/** The value at `x` of straight lines through (xs, ys), level beyond the last: numpy.interp. */
function interpolated(x, xs, ys) {
  if (x <= xs[0]) return ys[0];
  if (x >= xs.at(-1)) return ys.at(-1);
  // The last of equal knots counts, as in NumPy.
  const above = xs.findIndex((each) => each > x);
  const slope = (ys[above] - ys[above - 1]) / (xs[above] - xs[above - 1]);
  return slope * (x - xs[above - 1]) + ys[above - 1];
}

function sigmoid(odds) {
  return odds >= 0 ? 1 / (1 + Math.exp(-odds)) : Math.exp(odds) / (1 + Math.exp(odds));
}

/** As toFixed, but ties go to even, as Python writes numbers. A tie is a multiple of a quarter or a half. */
function fixed(value, digits) {
  const scaled = value * 10 ** digits;
  const tie = Number.isInteger(value * 4) && scaled - Math.floor(scaled) === 0.5;
  return tie ? ((Math.floor(scaled) + (Math.floor(scaled) % 2)) / 10 ** digits).toFixed(digits) : value.toFixed(digits);
}

/** A number in at most six digits, as Python's format "g" writes it. */
function general(value) {
  const short = Number(value.toPrecision(6));
  return short < 1e-4 ? short.toExponential().replace(/e-(\d)$/, "e-0$1") : String(short);
}

function rises(values, strictly) {
  return values.every((value, index) => index === 0 || (strictly ? value > values[index - 1] : value >= values[index - 1]));
}

function checkedPrior(prior) {
  if (!(prior > 0 && prior < 1)) throw new Error(`its prior must be between 0 and 1, not ${prior}`);
  return prior;
}

function checkedZone(zone) {
  if (zone !== null && ![zone.different_below, zone.same_from].every(Number.isFinite)) {
    throw new Error("its zone needs two thresholds");
  }
  return zone;
}

function damaged(part, read) {
  try {
    return read();
  } catch (error) {
    throw new Error(`The ${part} in the model's metadata is damaged: ${error.message}. Calibrate the file again.`);
  }
}
