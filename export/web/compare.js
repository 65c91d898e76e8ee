// Two faces compared: the ring, the similarity, the verdict and how sure it is.

import { find, guarded, say } from "./dom.js";
import { Portrait } from "./portrait.js";
import { drawAgreement, drawEmpty } from "./ring.js";
import { session } from "./session.js";
import { cosine, unit, verdict } from "./similarity.js";

export class Comparison {
  /** @param {{editor: object, camera: object, take: Function}} tools As for `Portrait`. */
  constructor(tools) {
    const changed = () => this.refresh();
    this.faces = [...document.querySelectorAll("#compare .face")].map(
      (section) => new Portrait(section, `${section.dataset.face} face`, { ...tools, changed }),
    );
    this.prior = null;
    find("#prior").addEventListener("change", () => {
      this.prior = Number(find("#prior").value);
      this.refresh();
    });
    this.refresh();
  }

  /** The frame that a paste goes to: the one in focus, else the first that is empty. */
  get frameInTurn() {
    const focused = document.activeElement?.closest?.(".face");
    const [first, second] = this.faces;
    return this.faces.find(({ section }) => section === focused) ?? (first.picture === null ? first : second);
  }

  /** Takes pictures for a frame and then for the other. */
  async take(files, frame = this.frameInTurn) {
    const frames = [frame, ...this.faces.filter((other) => other !== frame)];
    await guarded(async () => {
      const problems = files.length > frames.length ? [new Error("Two pictures are compared: the others were left out.")] : [];
      for (const [index, file] of files.slice(0, frames.length).entries()) {
        await frames[index].use(file).catch((error) => problems.push(error));
      }
      if (problems.length > 0) throw problems[0];
    });
  }

  /** Drops what was made by the model there was. */
  forget() {
    this.prior = null;
    for (const face of this.faces) face.forget();
    this.refresh();
  }

  /** Another model: what was made of the pictures is made again. */
  async follow() {
    this.describePriors();
    const problems = [];
    for (const face of this.faces) {
      if (face.picture !== null) await face.fit(false).catch((error) => problems.push(error));
    }
    this.refresh();
    if (problems.length > 0) throw problems[0];
  }

  refresh() {
    if (this.faces === undefined) return;
    if (this.faces.some(({ status }) => status === "busy")) {
      // No number of other pictures may stand next to this one meanwhile.
      this.clear("Computing …", "");
      return this.say("Computing …");
    }
    const failed = this.faces.find(({ status }) => status === "failed");
    if (failed !== undefined) return this.clear("No result", `The ${failed.name} could not be embedded.`);
    const missing = this.faces.filter(({ embedding }) => embedding === null);
    if (missing.length === 0) return this.show(...this.faces.map(({ embedding }) => embedding));
    const next = nextStep(missing);
    this.clear(missing.length === 2 ? "Add two faces" : "Add another face", next);
    this.say(this.faces.every(({ picture }) => picture === null) ? "" : next);
  }

  /** Tells a screen reader, while the comparison is shown. */
  say(words) {
    if (!find("#compare").hidden) say(words);
  }

  show(first, second) {
    const similarity = cosine(first, second);
    const { threshold, calibration } = session.metadata;
    const zone = calibration?.zone ?? null;
    const { same, ask, title, sentence } = verdict(similarity, threshold, zone);
    drawAgreement(find("#ring"), unit(first), unit(second));
    find("#similarity").value = similarity.toFixed(3).replace("-", "−");
    find("#similarity").dataset.exact = similarity;
    delete find(".answer").dataset.same;
    if (same !== null || ask) find(".answer").dataset.same = ask ? "ask" : same;
    [find("#verdict").textContent, find("#sentence").textContent] = [title, sentence];
    drawScale(similarity, zone === null ? [threshold] : [zone.different_below, zone.same_from]);
    const sure = this.showProbability(similarity, calibration);
    this.say(`${title}. ${sentence}${sure}`);
  }

  /** The probability as `keras-margin verify` prints it; returns what a screen reader is told of it. */
  showProbability(similarity, calibration) {
    find("#sure").hidden = calibration === null;
    if (calibration === null) return "";
    const found = calibration.probability(similarity, this.prior ?? calibration.prior);
    find("#probability").value = found.words;
    find("#probability").dataset.exact = found.probability;
    return ` One person: ${found.words}.`;
  }

  /** What a person may think before looking; the file's own prior first, where it is another. */
  describePriors() {
    const { calibration } = session.metadata;
    if (calibration === null) return;
    const known = [[0.5, "even odds"], [0.1, "1 in 10"], [0.01, "1 in 100"], [0.001, "1 in 1,000"]];
    if (!known.some(([prior]) => prior === calibration.prior)) known.unshift([calibration.prior, `the model's: ${calibration.prior}`]);
    const options = known.map(([prior, words]) => new Option(words, prior, false, prior === calibration.prior));
    find("#prior").replaceChildren(...options);
  }

  /** Takes ring, number and scale away, and says why in their place. */
  clear(title, sentence) {
    drawEmpty(find("#ring"));
    find("#similarity").value = "–";
    delete find("#similarity").dataset.exact;
    [find("#scale").hidden, find("#sure").hidden] = [true, true];
    delete find(".answer").dataset.same;
    [find("#verdict").textContent, find("#sentence").textContent] = [title, sentence];
  }
}

/** What to do next while there is nothing to compare. */
function nextStep(missing) {
  const unplaced = missing.find(({ status }) => status === "unplaced");
  if (unplaced !== undefined) {
    const lacks = session.embedder.photographs === null ? "no points" : "no face";
    return `The ${unplaced.name} has ${lacks} yet: press ${unplaced.alignWord}.`;
  }
  if (missing.length === 2) return "Choose, drop or paste a picture into each frame.";
  return `Still to come: the ${missing[0].name}.`;
}

/** One threshold, or two with what lies between them; none where it is null. */
function drawScale(similarity, thresholds) {
  const scale = find("#scale");
  scale.hidden = false;
  const percent = (value) => Math.min(Math.max(value, 0), 1) * 100;
  scale.querySelector(".value").style.left = `${percent(similarity)}%`;
  scale.querySelectorAll(".threshold").forEach((tick, index) => {
    const value = thresholds[index] ?? null;
    tick.hidden = value === null;
    if (value === null) return;
    const two = thresholds.length === 2;
    tick.dataset.label = two ? value.toFixed(2) : `threshold ${value.toFixed(2)}`;
    tick.dataset.side = two ? ["left", "right"][index] : "middle";
    tick.style.left = `${percent(value)}%`;
  });
  const between = scale.querySelector(".between");
  between.hidden = thresholds.length < 2;
  if (between.hidden) return;
  const [low, high] = thresholds.map(percent);
  Object.assign(between.style, { left: `${low}%`, width: `${high - low}%` });
}
