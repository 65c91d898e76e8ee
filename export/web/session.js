// The one model of the page, and what its metadata say.

import { complain, find } from "./dom.js";
import { Embedder } from "./embedder.js";
import { readMetadata } from "./similarity.js";

const MODEL = new URL(new URLSearchParams(location.search).get("model") ?? "model/face.tflite", location.href);
const MODEL_FILE = /\.(tflite|json|keras|h5)$/;

/**
 * What is in use. `embedder` is null until there is a model. At each new one every follower's `forget` is called first,
 * without a wait between, so that nothing of the old model is left beside the new one; then their `follow`.
 */
export const session = { embedder: null, modelName: "", metadata: readMetadata(null), followers: [] };

// Loads are numbered as they are asked for: one that was asked for before the model in use comes too late.
const loads = { asked: 0, used: 0 };

/** What `alignPoints` needs to know of the crop that the model takes. */
export function cropSize() {
  const { height, width } = session.embedder;
  return { height, width, template: session.metadata.template };
}

/** Whether a file is meant as a model, by its name. */
export function isModel({ name }) {
  return MODEL_FILE.test(name ?? "");
}

/** Loads a model, or says why not and keeps the one there was; so it does where a later one is in use already. */
async function useModel(bytes, name, beside, load) {
  let embedder = null;
  try {
    embedder = await Embedder.load(bytes);
    const metadata = metadataFor(embedder, beside);
    if (load < loads.used) return embedder.delete();
    loads.used = load;
    session.embedder?.delete();
    Object.assign(session, { embedder, metadata, modelName: name });
    for (const follower of session.followers) follower.forget();
  } finally {
    describeModel();
  }
  complain(null);
  const problems = [];
  for (const follower of session.followers) {
    if (session.embedder !== embedder) return;
    await follower.follow().catch((error) => problems.push(error));
  }
  if (problems.length > 0) throw problems[0];
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
  const { embedder, metadata, modelName } = session;
  if (embedder === null) {
    find("#model-state").textContent = "No model yet: choose a .tflite file.";
    return;
  }
  const threshold = metadata.threshold === null ? "no threshold" : `threshold ${metadata.threshold.toFixed(3)}`;
  const photographs = embedder.photographs === null ? "" : " · finds faces in photographs";
  find("#model-state").textContent =
    `${modelName} · faces of ${embedder.width} × ${embedder.height} · ${embedder.size} numbers · ${threshold}${photographs}`;
  document.documentElement.style.setProperty("--face-ratio", embedder.width / embedder.height);
  find("#facts").textContent = metadata.facts.join(" ");
}

/** Loads the model next to the page, where there is one. */
export async function loadServedModel() {
  const name = decodeURIComponent(MODEL.pathname.split("/").pop());
  const load = begin(name);
  try {
    const answer = await fetch(MODEL).catch(() => null);
    if (answer === null || !answer.ok) return;
    const beside = await fetch(new URL(`${MODEL.pathname}.json`, MODEL)).catch(() => null);
    const metadata = beside?.ok ? parsed(await beside.text(), name) : null;
    await useModel(new Uint8Array(await answer.arrayBuffer()), name, metadata, load);
  } finally {
    if (load === loads.asked) describeModel();
  }
}

/** Loads a model that was chosen or dropped, with the JSON chosen together with it. */
export async function chooseModel(files) {
  const file = files.find(({ name }) => !name.endsWith(".json"));
  const beside = files.find(({ name }) => name.endsWith(".json"));
  if (file === undefined) throw new Error("A JSON alone is not a model: choose the .tflite file together with it.");
  const metadata = beside === undefined ? null : parsed(await beside.text(), beside.name);
  await useModel(new Uint8Array(await file.arrayBuffer()), file.name, metadata, begin(file.name));
}

/** Says what is loaded; returns the number of the load. */
function begin(name) {
  find("#model-state").textContent = `Loading ${name} …`;
  loads.asked += 1;
  return loads.asked;
}

function parsed(text, name) {
  try {
    return JSON.parse(text);
  } catch {
    throw new Error(`The JSON next to ${name} cannot be read: it is not JSON.`);
  }
}
