// Known people: enrolled from a photograph, recognised in others and by the camera, kept in this browser until erased.

import { find, guarded, say } from "./dom.js";
import { Gallery, searchThreshold } from "./gallery.js";
import { KnownPeople } from "./known.js";
import { show } from "./pictures.js";
import { Portrait } from "./portrait.js";
import { session } from "./session.js";
import { Forgetful, Store } from "./store.js";

// A name is given to at most this share of strangers.
const RATE = 0.01;

export class People {
  /** @param {{editor: object, camera: object, take: Function}} tools As for `Portrait`. */
  constructor(tools) {
    const live = (face, photo, placed) => this.recognizeLive(face, photo, placed);
    const changed = () => this.refresh();
    const purpose = "to recognise people in";
    this.scene = new Portrait(find("#people .face"), "photograph", { ...tools, changed, live, purpose, everyFace: true });
    [this.gallery, this.others] = [null, []];
    this.known = new KnownPeople(find("#known"), (chosen) => guarded(() => this.erase(chosen)));
    find("#enroll").addEventListener("submit", (event) => {
      event.preventDefault();
      guarded(() => this.enroll(find("#who-name").value.trim()));
    });
    this.refresh();
  }

  /** Takes one photograph. */
  async take(files) {
    await guarded(async () => {
      await this.scene.use(files[0]);
      if (files.length > 1) throw new Error("One photograph at a time: the others were left out.");
    });
  }

  /** Drops what was made by the model there was. */
  forget() {
    this.scene.forget();
    [this.gallery, this.others] = [null, []];
    this.refresh();
  }

  /** Another model: its own people, and the photograph again. */
  async follow() {
    await this.load();
    if (this.scene.picture !== null) await this.scene.fit(false);
    this.refresh();
  }

  /** Reads the people of the model there is from the browser's storage. */
  async load() {
    const { modelId } = session.embedder;
    if (modelId === null) return;
    this.opening ??= Store.open().catch(() => new Forgetful());
    this.store = await this.opening;
    const [gallery, others] = [new Gallery(modelId), []];
    for (const face of await this.store.all()) {
      if (face.model === modelId) gallery.enroll(face);
      else others.push(face);
    }
    // Of two readings that overlap each is whole; another model's is not for this one.
    if (session.embedder.modelId === modelId) [this.gallery, this.others] = [gallery, others];
  }

  /** Adds the chosen face of the photograph under a name. */
  async enroll(name) {
    const { face } = this.scene;
    const { height, width } = session.embedder;
    const record = { name, model: this.gallery.model, embedding: face.embedding, crop: { pixels: face.pixels, height, width } };
    this.gallery.enroll(record);
    // Without it a browser that is short of room clears what a page keeps, unasked.
    if (this.gallery.size === 1) navigator.storage?.persist?.().catch(() => {});
    await this.store.add(record).catch(async (error) => {
      await this.load();
      throw new Error(`The browser did not store ${name}: ${error.message}`);
    });
    find("#who-name").value = "";
    this.refresh();
    say(`${name} was added.`);
  }

  /** Erases one person of this model, or with null everybody, of every model. */
  async erase(name) {
    const { gallery } = this;
    await this.store.erase((face) => name === null || (face.model === gallery.model && face.name === name));
    await this.load();
    this.refresh();
    say(name === null ? "Everybody was erased." : `${name} was erased.`);
  }

  /** The threshold of a search among the people there are, or null. */
  get threshold() {
    const { searches, threshold } = session.metadata;
    return searchThreshold(searches, threshold, this.gallery.size, RATE);
  }

  /** Who a face is. `known`: whether the threshold is reached; null where nobody is known. */
  recognize(embedding) {
    const match = this.gallery?.search(embedding, session.embedder.modelId) ?? null;
    if (match === null) return null;
    const { threshold } = this;
    const known = threshold !== null && match.score >= threshold.cosine;
    const name = known ? match.name : threshold === null ? `${match.name}?` : "not known";
    return { ...match, known, label: name };
  }

  async recognizeLive(face, photo, placed) {
    if (this.gallery === null || this.gallery.size === 0) return null;
    const { embedding } = await session.embedder.photographs.embed(photo, face.points, placed);
    const found = this.recognize(embedding);
    return { name: found.label, known: found.known };
  }

  refresh() {
    if (this.known === undefined) return;
    const { scene, gallery } = this;
    scene.faces.forEach(({ embedding }, index) => {
      const found = embedding ? this.recognize(embedding) : null;
      scene.boxes.label(index, found?.label ?? null, found?.known);
    });
    const { face, status } = scene;
    const ready = status === "ready" && gallery !== null;
    find("#enroll").hidden = !ready;
    find("#who-face").hidden = !ready;
    if (ready) show(find("#who-face"), face.pixels, session.embedder.height, session.embedder.width);
    const [title, sentence] = ready ? this.describe(face.embedding) : [waiting(scene), ""];
    [find("#who-verdict").textContent, find("#who-sentence").textContent] = [title, sentence];
    if (scene.picture !== null && !find("#people").hidden) say(`${title}. ${sentence}`);
    this.known.draw(gallery, this.others, this.basis(), this.store instanceof Forgetful);
  }

  /** The chosen face in words. */
  describe(embedding) {
    const found = this.recognize(embedding);
    if (found === null) return ["Nobody is known yet", "Give this face a name, and it will be recognised in other photographs."];
    const nearest = `This face is most like ${found.name}, similarity ${found.score.toFixed(3)}.`;
    const { threshold } = this;
    if (threshold === null) return [`${found.name}?`, `${nearest} This model ships no threshold to tell by.`];
    const from = `A name is given from ${threshold.cosine.toFixed(3)}.`;
    return found.known
      ? [found.name, `Similarity ${found.score.toFixed(3)}. ${from}`]
      : ["Not known", `${nearest} ${from}`];
  }

  /** What the threshold rests on. */
  basis() {
    if (this.gallery === null || this.gallery.size === 0) return "";
    const { threshold } = this;
    if (threshold === null) return "This model ships no threshold: the nearest person is shown with a question mark.";
    const from = `A face gets a name from a similarity of ${threshold.cosine.toFixed(3)}`;
    if (threshold.rate === null) {
      return `${from}, the model's threshold for two faces. It does not know how many people are searched: the more, the more often a stranger is named.`;
    }
    const share = `${Number((100 * threshold.rate).toPrecision(2))} %`;
    return `${from}: among ${this.gallery.size} known face${this.gallery.size === 1 ? "" : "s"}, at most ${share} of strangers are named.`;
  }
}

/** What is to be done while no face can be searched for. */
function waiting(scene) {
  if (session.embedder !== null && session.embedder.modelId === null) return "Known people need https or localhost";
  const words = { busy: scene.note.textContent, failed: "No result", unplaced: `No face yet: press ${scene.alignWord}` };
  return words[scene.status] ?? "Add a photograph";
}
