// The page: two faces, one model, and what is said about them.

import { alignPoints } from "./alignment.js";
import { Editor } from "./editor.js";
import { Embedder } from "./embedder.js";
import { decode, pixelsOf, resized, show } from "./pictures.js";
import { drawAgreement, drawEmpty } from "./ring.js";
import { cosine, readMetadata, unit, verdict } from "./similarity.js";

const MODEL = new URL(new URLSearchParams(location.search).get("model") ?? "model/face.tflite", location.href);
const find = (selector) => document.querySelector(selector);
const editor = new Editor(find("#editor"));
const state = { embedder: null, modelName: "", metadata: readMetadata(null), faces: {} };

/** One of the two frames: its picture, its crop and its embedding. */
class Face {
  constructor(section, name) {
    this.name = name;
    this.picture = this.points = this.pixels = this.embedding = null;
    this.unplaced = false;
    section.append(find("#face-template").content.cloneNode(true));
    const part = (selector) => section.querySelector(selector);
    [this.canvas, this.hint, this.note] = [part("canvas"), part(".hint"), part(".note")];
    [this.input, this.align] = [part("input"), part(".align")];
    const title = part("h2");
    title.id = `${section.dataset.face}-title`;
    title.textContent = `${name[0].toUpperCase()}${name.slice(1)}`;
    this.input.id = `${section.dataset.face}-file`;
    part(".button .unseen:not(input)").textContent = ` a picture for the ${name}`;
    part(".align .unseen").textContent = ` the ${name} by five points`;
    this.input.addEventListener("change", () => this.chosen(this.input.files[0]));
    this.align.addEventListener("click", () => this.place());
    acceptDrops(section, (files) => take(files, this));
  }

  async chosen(blob) {
    this.input.value = "";
    if (blob) await guarded(() => this.use(blob));
  }

  /** A new picture: taken as it is where it has the model's size, else onto the bench. */
  async use(blob) {
    const picture = await decode(blob);
    this.picture = this.points = null;
    this.forget();
    refresh();
    this.picture = picture;
    if (state.embedder === null) return this.wait("Waiting for a model");
    await (this.ready ? this.fit() : this.place());
  }

  /** Whether the model there is now takes the picture, or the points placed on it, without a question. */
  get ready() {
    const { height, width } = state.embedder;
    const fits = this.picture.height === height && this.picture.width === width;
    return this.points !== null || fits || !state.metadata.aligned;
  }

  /** Fits the picture to the model there is now. */
  async fit() {
    this.align.disabled = !state.metadata.aligned;
    return this.points === null ? this.whole() : this.crop();
  }

  async place() {
    this.align.disabled = false;
    const answer = await editor.open(this.picture, cropSize(), this.points, this.name);
    if (answer === null) {
      if (this.pixels === null) this.wait("Not aligned yet");
      return;
    }
    if (answer.kind === "whole") {
      this.points = null;
      await guarded(() => this.whole());
    } else {
      this.points = answer.points;
      await guarded(() => this.crop());
    }
    this.align.focus({ preventScroll: true });
  }

  async whole() {
    const { height, width } = state.embedder;
    const note = state.metadata.aligned ? "An aligned crop" : "The whole picture";
    await this.embed(resized(this.picture, height, width), note);
  }

  async crop() {
    await this.embed(alignPoints(pixelsOf(this.picture), this.points, cropSize()), "Aligned by points");
  }

  async embed(pixels, note) {
    const { height, width } = state.embedder;
    [this.pixels, this.embedding, this.unplaced] = [pixels, null, false];
    show(this.canvas, pixels, height, width);
    this.canvas.setAttribute("aria-label", `The ${this.name}, ${width} by ${height} pixels. ${note}.`);
    [this.canvas.hidden, this.hint.hidden, this.note.textContent] = [false, true, note];
    await compare(this);
  }

  /** There is a picture, but nothing was made of it yet. */
  wait(why) {
    this.unplaced = state.embedder !== null;
    this.note.textContent = why;
    this.align.disabled = state.embedder === null;
    refresh();
  }

  /** What was made of the picture for a model goes; the picture and its points stay. */
  forget() {
    this.pixels = this.embedding = null;
    this.unplaced = false;
    [this.canvas.hidden, this.hint.hidden, this.note.textContent] = [true, false, ""];
  }
}

/** What `alignPoints` needs to know of the crop that the model takes. */
function cropSize() {
  const { height, width } = state.embedder;
  return { height, width, template: state.metadata.template };
}

/** Embeds a face's crop, then compares; of two hasty calls the later counts. */
async function compare(face) {
  // No number of other pictures may stand next to this one meanwhile.
  clearResult("Computing …", "");
  say("Computing …");
  // Let the crop be painted first: the network runs on this thread.
  await new Promise((resolve) => requestAnimationFrame(() => setTimeout(resolve)));
  const { embedder } = state;
  const pixels = face.pixels;
  const embedding = await embedder.embed(pixels).catch((error) => {
    // Another model may have taken this one's place meanwhile, and embeds the face itself.
    if (state.embedder !== embedder) return null;
    clearResult("No result", `The ${face.name} could not be embedded.`);
    throw error;
  });
  if (face.pixels !== pixels || state.embedder !== embedder) return;
  face.embedding = embedding;
  refresh();
}

function refresh() {
  const { first, second } = state.faces;
  const missing = [first, second].filter((face) => face.embedding === null);
  if (missing.length > 0) {
    clearResult(missing.length === 2 ? "Add two faces" : "Add another face", nextStep(missing));
    say(first.picture === null && second.picture === null ? "" : nextStep(missing));
    return;
  }
  const similarity = cosine(first.embedding, second.embedding);
  const { threshold } = state.metadata;
  const { same, title, sentence } = verdict(similarity, threshold);
  drawAgreement(find("#ring"), unit(first.embedding), unit(second.embedding));
  find("#similarity").value = similarity.toFixed(3).replace("-", "−");
  find("#similarity").dataset.exact = similarity;
  delete find(".answer").dataset.same;
  if (same !== null) find(".answer").dataset.same = same;
  find("#verdict").textContent = title;
  find("#sentence").textContent = sentence;
  drawScale(similarity, threshold);
  say(`${title}. ${sentence}`);
}

/** Takes ring, number and scale away, and says why in their place. */
function clearResult(title, sentence) {
  drawEmpty(find("#ring"));
  find("#similarity").value = "–";
  delete find("#similarity").dataset.exact;
  find("#scale").hidden = true;
  delete find(".answer").dataset.same;
  [find("#verdict").textContent, find("#sentence").textContent] = [title, sentence];
}

/** What to do next while there is nothing to compare. */
function nextStep(missing) {
  const unplaced = missing.find((face) => face.unplaced);
  if (unplaced !== undefined) return `The ${unplaced.name} has no points yet: press Align.`;
  if (missing.length === 2) return "Choose, drop or paste a picture into each frame.";
  return `Still to come: the ${missing[0].name}.`;
}

function drawScale(similarity, threshold) {
  const scale = find("#scale");
  scale.hidden = false;
  const place = (selector, value) => {
    scale.querySelector(selector).style.left = `${Math.min(Math.max(value, 0), 1) * 100}%`;
  };
  place(".value", similarity);
  const tick = scale.querySelector(".threshold");
  tick.hidden = threshold === null;
  if (threshold !== null) {
    tick.dataset.label = `threshold ${threshold.toFixed(2)}`;
    place(".threshold", threshold);
  }
}

/** Loads a model, or says why not and keeps the one there was. */
async function useModel(bytes, name, beside) {
  find("#model-state").textContent = `Loading ${name} …`;
  try {
    const embedder = await Embedder.load(bytes);
    const metadata = metadataFor(embedder, beside);
    state.embedder?.delete();
    Object.assign(state, { embedder, metadata, modelName: name });
  } finally {
    describeModel();
  }
  complain(null);
  for (const face of Object.values(state.faces)) face.forget();
  for (const face of Object.values(state.faces)) {
    if (face.picture !== null) await (face.ready ? face.fit() : face.wait("Not aligned yet"));
  }
}

/** What is inside the file counts; a JSON next to it may be another file's. */
function metadataFor(embedder, beside) {
  try {
    return readMetadata(embedder.metadata ?? beside);
  } catch (error) {
    embedder.delete();
    throw error;
  }
}

function describeModel() {
  const { embedder, metadata, modelName } = state;
  if (embedder === null) {
    find("#model-state").textContent = "No model yet: choose a .tflite file.";
    return;
  }
  const threshold = metadata.threshold === null ? "no threshold" : `threshold ${metadata.threshold.toFixed(3)}`;
  find("#model-state").textContent =
    `${modelName} · faces of ${embedder.width} × ${embedder.height} · ${embedder.size} numbers · ${threshold}`;
  document.documentElement.style.setProperty("--face-ratio", embedder.width / embedder.height);
  find("#facts").textContent = metadata.facts.join(" ");
}

/** The model next to the page, where there is one. */
async function loadServedModel() {
  const name = decodeURIComponent(MODEL.pathname.split("/").pop());
  find("#model-state").textContent = `Loading ${name} …`;
  try {
    const answer = await fetch(MODEL).catch(() => null);
    if (answer === null || !answer.ok) return;
    const beside = await fetch(new URL(`${MODEL.pathname}.json`, MODEL)).catch(() => null);
    const metadata = beside?.ok ? parsed(await beside.text(), name) : null;
    await useModel(new Uint8Array(await answer.arrayBuffer()), name, metadata);
  } finally {
    describeModel();
  }
}

async function chooseModel(files) {
  const file = files.find(({ name }) => !name.endsWith(".json"));
  const beside = files.find(({ name }) => name.endsWith(".json"));
  if (file === undefined) throw new Error("A JSON alone is not a model: choose the .tflite file together with it.");
  const metadata = beside === undefined ? null : parsed(await beside.text(), beside.name);
  await useModel(new Uint8Array(await file.arrayBuffer()), file.name, metadata);
}

function parsed(text, name) {
  try {
    return JSON.parse(text);
  } catch {
    throw new Error(`The JSON next to ${name} cannot be read: it is not JSON.`);
  }
}

/** Files that were dropped or pasted: a model, or pictures for this face and then the other. */
async function take(files, face) {
  if (find("#editor").open) return;
  const model = files.filter(({ name }) => /\.(tflite|json|keras|h5)$/.test(name ?? ""));
  if (model.length > 0) return guarded(() => chooseModel(model));
  const frames = [face, ...Object.values(state.faces).filter((other) => other !== face)];
  await guarded(async () => {
    const problems = files.length > frames.length ? [new Error("Two pictures are compared: the others were left out.")] : [];
    for (const [index, file] of files.slice(0, frames.length).entries()) {
      await frames[index].use(file).catch((error) => problems.push(error));
    }
    if (problems.length > 0) throw problems[0];
  });
}

function acceptDrops(element, use) {
  const files = (event) => [...(event.dataTransfer?.files ?? [])];
  element.addEventListener("dragover", (event) => {
    event.preventDefault();
    event.stopPropagation();
    element.classList.add("over");
  });
  element.addEventListener("dragleave", (event) => {
    if (!element.contains(event.relatedTarget)) element.classList.remove("over");
  });
  element.addEventListener("drop", (event) => {
    event.preventDefault();
    event.stopPropagation();
    element.classList.remove("over");
    use(files(event));
  });
}

/** The frame that a paste goes to: the one in focus, else the first that is empty. */
function frameInTurn() {
  const { first, second } = state.faces;
  const focused = document.activeElement?.closest?.(".face")?.dataset.face;
  return state.faces[focused] ?? (first.picture === null ? first : second);
}

/** Runs an action whose errors are told to the person in front of the page. */
async function guarded(action) {
  try {
    complain(null);
    await action();
  } catch (error) {
    complain(error);
  }
  document.documentElement.dataset.ready = "";
}

function complain(error) {
  find("#error").hidden = error === null;
  find("#error").textContent = error === null ? "" : error.message;
  if (error !== null) say("");
}

function say(words) {
  find("#status").textContent = words;
}

for (const section of document.querySelectorAll(".face")) {
  state.faces[section.dataset.face] = new Face(section, `${section.dataset.face} face`);
}
find("#model-file").addEventListener("change", async (event) => {
  const files = [...event.target.files];
  event.target.value = "";
  if (files.length > 0) await guarded(() => chooseModel(files));
});
acceptDrops(document.body, (files) => take(files, frameInTurn()));
document.addEventListener("paste", (event) => {
  const files = [...event.clipboardData.files];
  if (files.length > 0) take(files, frameInTurn());
});
refresh();
await guarded(loadServedModel);
