// One picture and its faces: found by the model where it can, else placed by hand; then aligned and embedded.

import { alignPoints } from "./alignment.js";
import { acceptDrops, duration, find, guarded, painted } from "./dom.js";
import { FaceBoxes } from "./faceboxes.js";
import { decode, pixelsOf, resized, show } from "./pictures.js";
import { cropSize, session } from "./session.js";

/**
 * A frame of the page.
 *
 * `status` is "empty", "busy", "unplaced" (there is a picture, but no face of it yet), "ready" or "failed". A face has
 * `points` (null for a picture taken whole), `box` (null where nothing found it), and once embedded `pixels` and
 * `embedding`.
 */
export class Portrait {
  /**
   * @param {HTMLElement} section Gets the content of #face-template.
   * @param {string} name Such as "first face".
   * @param {object} tools
   * @param {import("./editor.js").Editor} tools.editor
   * @param {import("./camera.js").Camera} tools.camera
   * @param {(files: File[]) => void} tools.take Takes files that were dropped on the frame.
   * @param {() => void} tools.changed Called after each change.
   * @param {boolean} [tools.everyFace] Whether all faces are embedded, not the chosen one alone.
   * @param {Function} [tools.live] What the camera shows at each face, as for `Camera.open`.
   * @param {string} [tools.purpose] What a picture is for, such as "for the first face".
   */
  constructor(section, name, tools) {
    Object.assign(this, { section, name, tools, picture: null, turn: 0 });
    section.append(find("#face-template").content.cloneNode(true));
    const part = (selector) => section.querySelector(selector);
    [this.canvas, this.hint, this.note, this.photo] = [part(".crop"), part(".hint"), part(".note"), part(".photo")];
    [this.input, this.align, this.camera] = [part("input"), part(".align"), part(".open-camera")];
    this.boxes = new FaceBoxes(part(".boxes"), (index) => guarded(() => this.choose(index)));
    const title = part("h2");
    title.id = `${section.dataset.face}-title`;
    title.textContent = `${name[0].toUpperCase()}${name.slice(1)}`;
    this.input.id = `${section.dataset.face}-file`;
    const purpose = tools.purpose ?? `for the ${name}`;
    part(".button .unseen:not(input)").textContent = ` a picture ${purpose}`;
    part(".open-camera .unseen").textContent = ` ${purpose}`;
    this.input.addEventListener("change", () => this.received(this.input.files[0]));
    this.align.addEventListener("click", () => guarded(() => this.place()));
    this.camera.addEventListener("click", () => guarded(() => this.photograph()));
    acceptDrops(section, (files) => tools.take(files, this));
    this.forget();
  }

  /** The face that counts, or null. */
  get face() {
    return this.faces[this.chosen] ?? null;
  }

  get embedding() {
    return this.face?.embedding ?? null;
  }

  async received(blob) {
    this.input.value = "";
    if (blob) await guarded(() => this.use(blob));
  }

  async photograph() {
    const picture = await this.tools.camera.open(this.tools.live ?? null);
    if (picture !== null) await this.usePicture(picture);
    this.camera.focus({ preventScroll: true });
  }

  /** Takes a picture file. */
  async use(blob) {
    await this.usePicture(await decode(blob));
  }

  async usePicture(picture) {
    [this.picture, this.placed] = [null, null];
    this.forget();
    this.picture = picture;
    if (session.embedder === null) return this.wait("Waiting for a model");
    await this.fit();
  }

  /** Fits the picture to the model there is now; asks for points where the model needs them and finds none itself. */
  async fit(ask = true) {
    const { photographs, height, width } = session.embedder;
    const { aligned } = session.metadata;
    this.describeAlign();
    this.align.disabled = !aligned;
    const fits = this.picture.height === height && this.picture.width === width;
    if (this.placed !== null && aligned) return this.crop(this.placed);
    if (fits || !aligned) return this.whole();
    if (photographs !== null) return this.detect();
    this.align.disabled = false;
    return ask ? this.place() : this.wait("Not aligned yet");
  }

  /** Has the model find the faces; the largest counts first. */
  async detect() {
    const turn = this.begin("Looking for faces …");
    const { embedder } = session;
    const { photographs } = embedder;
    this.showPhoto();
    await painted();
    if (turn !== this.turn) return;
    const photo = pixelsOf(this.picture);
    const start = performance.now();
    let found;
    try {
      found = await photographs.detect(photo);
    } catch (error) {
      return this.fail(error, embedder, turn);
    }
    if (turn !== this.turn) return;
    [this.detectTime, this.dropped] = [performance.now() - start, found.dropped];
    this.faces = found.faces.map((face) => ({ ...face, cut: () => photographs.embed(photo, face.points, found.placed) }));
    this.boxes.draw(this.faces, photo);
    if (this.faces.length === 0) return this.wait(`No face found in ${duration(this.detectTime)}`);
    await this.choose(0);
  }

  /** Makes one of the faces the one that counts. */
  async choose(index) {
    this.chosen = index;
    this.boxes.choose(index);
    await this.embed();
  }

  /** The bench: five points by hand, for a face that was not found or not well. */
  async place() {
    const points = this.face?.points ?? this.placed;
    const answer = await this.tools.editor.open(this.picture, cropSize(), points, this.name);
    if (answer === null) {
      if (this.face === null) this.wait("Not aligned yet");
      return;
    }
    this.placed = answer.kind === "whole" ? null : answer.points;
    await (this.placed === null ? this.whole() : this.crop(answer.points));
    this.align.focus({ preventScroll: true });
  }

  async whole() {
    const { height, width } = session.embedder;
    const what = session.metadata.aligned ? "An aligned crop" : "The whole picture";
    this.faces = [{ points: null, box: null, what, cut: () => this.embedAligned(resized(this.picture, height, width)) }];
    this.hidePhoto();
    await this.choose(0);
  }

  /** The chosen face with points placed by hand; of a picture without faces, its only one. */
  async crop(points) {
    const cut = () => this.embedAligned(alignPoints(pixelsOf(this.picture), points, cropSize()));
    const face = { ...this.face, points, box: this.face?.box ?? null, what: "Aligned by points", cut, embedding: null };
    if (session.embedder.photographs === null) this.hidePhoto();
    else this.showPhoto();
    this.faces = this.faces.length === 0 ? [face] : this.faces.with(this.chosen, face);
    await this.choose(Math.max(this.chosen, 0));
  }

  async embedAligned(pixels) {
    return { pixels, embedding: await session.embedder.embed(pixels) };
  }

  /** Embeds the chosen face, or all; of two hasty calls the later counts. */
  async embed() {
    const turn = this.begin("Computing …");
    const { embedder } = session;
    const wanted = (this.tools.everyFace ? this.faces : [this.face]).filter((face) => !face.embedding);
    await painted();
    if (turn !== this.turn) return;
    try {
      for (const face of wanted) {
        const start = performance.now();
        const { pixels, embedding } = await face.cut();
        if (turn !== this.turn) return;
        Object.assign(face, { pixels, embedding, time: performance.now() - start });
      }
    } catch (error) {
      return this.fail(error, embedder, turn);
    }
    const { height, width } = embedder;
    show(this.canvas, this.face.pixels, height, width);
    [this.canvas.hidden, this.hint.hidden] = [false, true];
    const note = this.describe(this.tools.everyFace ? this.faces : [this.face]);
    this.canvas.setAttribute("aria-label", `The ${this.name}, ${width} by ${height} pixels. ${note}.`);
    this.finish("ready", note);
  }

  /** What was done, and how long it took. */
  describe(embedded) {
    const time = duration(embedded.reduce((sum, face) => sum + face.time, 0));
    if (this.face.what !== undefined) return `${this.face.what}, embedded in ${time}`;
    const count = this.faces.length;
    const all = count === 1 ? "One face" : `${count} faces`;
    const which = this.tools.everyFace || count === 1 ? all : `Face ${this.chosen + 1} of ${count}`;
    const more = this.dropped ? `. There are more faces: the ${count} largest were kept` : "";
    return `${which}, found in ${duration(this.detectTime)}, embedded in ${time}${more}`;
  }

  /** Shows that there is no result. Nothing where another picture or model took the place of what failed. */
  fail(error, embedder, turn) {
    if (session.embedder !== embedder || turn !== this.turn) return;
    this.finish("failed", "");
    throw error;
  }

  begin(note) {
    this.turn += 1;
    this.finish("busy", note);
    return this.turn;
  }

  finish(status, note) {
    [this.status, this.note.textContent] = [status, note];
    this.section.dataset.status = status;
    this.tools.changed();
  }

  /** There is a picture, but nothing was made of it yet. */
  wait(why) {
    this.align.disabled = session.embedder === null;
    this.finish(session.embedder === null ? "empty" : "unplaced", why);
  }

  /** What was made of the picture for a model goes; the picture and points placed by hand stay. */
  forget() {
    this.turn += 1;
    [this.faces, this.chosen, this.dropped, this.detectTime] = [[], -1, false, 0];
    this.status = this.section.dataset.status = "empty";
    [this.canvas.hidden, this.hint.hidden, this.note.textContent] = [true, false, ""];
    this.hidePhoto();
    this.describeAlign();
  }

  /** Says what the button does with this model: place the points of a face, or correct those that were found. */
  describeAlign() {
    const finds = session.embedder !== null && session.embedder.photographs !== null;
    this.alignWord = finds ? "Correct" : "Align";
    this.align.firstChild.textContent = this.alignWord;
    this.align.querySelector(".unseen").textContent = finds
      ? ` the five points of the ${this.name}`
      : ` the ${this.name} by five points`;
  }

  /** The frame shows the picture with its faces framed, and the crop stands below. */
  showPhoto() {
    const canvas = this.photo.querySelector("canvas");
    [canvas.width, canvas.height] = [this.picture.width, this.picture.height];
    canvas.getContext("2d").drawImage(this.picture, 0, 0);
    canvas.setAttribute("aria-label", `The picture of the ${this.name}`);
    this.photo.style.setProperty("--ratio", this.picture.width / this.picture.height);
    [this.photo.hidden, this.hint.hidden] = [false, true];
    this.section.querySelector(".seen").prepend(this.canvas);
    this.section.dataset.view = "photo";
  }

  /** The frame shows the crop alone. */
  hidePhoto() {
    this.photo.hidden = true;
    this.boxes.clear();
    this.section.querySelector(".frame").prepend(this.canvas);
    this.section.dataset.view = "crop";
  }
}
