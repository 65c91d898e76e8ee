// The camera, asked for by a button: its pictures stay on this page, and end when the dialog does.

import { duration } from "./dom.js";
import { FaceBoxes } from "./faceboxes.js";
import { blank, pixelsOf } from "./pictures.js";
import { session } from "./session.js";

const WANTED = { video: { facingMode: "user", width: { ideal: 640 }, height: { ideal: 480 } }, audio: false };
const REASONS = {
  NotAllowedError: "The browser was told not to give this page the camera. Allow it in the address bar, and start again.",
  NotFoundError: "There is no camera here. Choose a picture instead.",
  NotReadableError: "The camera is in use by another program.",
};

export class Camera {
  /** @param {HTMLDialogElement} dialog The page's one camera dialog. */
  constructor(dialog) {
    [this.dialog, this.stream, this.run] = [dialog, null, 0];
    this.find = (selector) => dialog.querySelector(selector);
    this.video = this.find("video");
    this.boxes = new FaceBoxes(this.find(".boxes"), null);
    this.find("#camera-start").addEventListener("click", () => this.start());
    this.find("#camera-stop").addEventListener("click", () => this.stop());
    dialog.addEventListener("close", () => this.finish());
    document.addEventListener("visibilitychange", () => document.hidden && this.stop());
  }

  /**
   * Opens the dialog; the camera starts with a button in it.
   *
   * @param {((face: object, photo: object, placed: object) => Promise<{name: string, known: boolean}|null>)|null} live
   *   What to write at each face of the running picture.
   * @returns {Promise<HTMLCanvasElement|null>} The picture that was taken, or null.
   */
  open(live) {
    this.live = live;
    this.showError(null);
    this.show(false);
    this.dialog.returnValue = "";
    this.dialog.showModal();
    return new Promise((resolve) => {
      this.resolve = resolve;
    });
  }

  async start() {
    this.showError(null);
    const run = (this.run += 1);
    try {
      if (!navigator.mediaDevices) throw new Error("A browser gives its camera to pages that come by https or from localhost.");
      const stream = await navigator.mediaDevices.getUserMedia(WANTED);
      // Stopped or closed while the browser asked.
      if (run !== this.run || !this.dialog.open) return endStream(stream);
      this.stream = this.video.srcObject = stream;
      stream.getVideoTracks()[0].addEventListener("ended", () => this.stop());
      await this.video.play();
      this.show(true);
      this.find("#camera-take").focus({ preventScroll: true });
    } catch (error) {
      if (run !== this.run) return;
      this.stop();
      this.showError(REASONS[error.name] ?? `The camera did not start: ${error.message}`);
      return;
    }
    await this.follow(run);
  }

  /** Frames the faces of the running picture until it ends. */
  async follow(run) {
    const running = () => run === this.run && this.stream !== null;
    while (running()) {
      const { embedder } = session;
      if (!embedder?.photographs) {
        this.boxes.clear();
        this.note(outlook(), "");
        await pause(200);
        continue;
      }
      try {
        await this.look(() => running() && session.embedder === embedder);
      } catch (error) {
        // A model that was deleted under its own look; the next look is the new one's.
        if (session.embedder !== embedder) continue;
        if (running()) this.showError(error.message);
        return;
      }
      // The page must answer keys and pointers between two looks.
      await pause(30);
    }
  }

  async look(running) {
    const { photographs } = session.embedder;
    const photo = pixelsOf(this.frame());
    const start = performance.now();
    const { faces, placed } = await photographs.detect(photo);
    const found = performance.now() - start;
    const told = [];
    for (const face of this.live === null ? [] : faces) told.push(await this.live(face, photo, placed));
    if (!running()) return;
    this.boxes.draw(faces, photo);
    told.forEach((label, index) => label && this.boxes.label(index, label.name, label.known));
    const names = told.filter((label) => label?.known).map(({ name }) => name);
    const count = faces.length === 1 ? "One face" : faces.length === 0 ? "No face" : `${faces.length} faces`;
    const who = names.length > 0 ? `: ${names.join(", ")}` : "";
    const searched = told.some((label) => label !== null);
    const also = searched ? `, embedded and searched in ${duration(performance.now() - start - found)}` : "";
    this.note(`${count}${who}`, `· found in ${duration(found)}${also}`);
  }

  /** What the camera sees now, on a canvas. */
  frame() {
    const { videoWidth, videoHeight } = this.video;
    const canvas = blank(videoWidth, videoHeight);
    canvas.getContext("2d", { willReadFrequently: true }).drawImage(this.video, 0, 0);
    return canvas;
  }

  /** Ends the camera's stream; its light goes out. */
  stop() {
    this.run += 1;
    endStream(this.stream);
    this.stream = this.video.srcObject = null;
    if (this.dialog.open) this.show(false);
  }

  show(running) {
    this.find(".live").hidden = !running;
    if (running) this.find(".live").style.setProperty("--ratio", this.video.videoWidth / this.video.videoHeight);
    this.boxes.clear();
    this.find("#camera-start").hidden = running;
    [this.find("#camera-take").disabled, this.find("#camera-stop").disabled] = [!running, !running];
    this.note(running ? outlook() : "The camera is off.", "");
  }

  /** Says who is seen, aloud where it changed, and how long it took, which changes with each look. */
  note(seen, time) {
    const note = this.find("#camera-note");
    if (note.textContent !== seen) note.textContent = seen;
    this.find("#camera-time").textContent = time;
  }

  showError(words) {
    this.find("#camera-error").hidden = words === null;
    this.find("#camera-error").textContent = words ?? "";
  }

  finish() {
    const taken = this.dialog.returnValue === "take" && this.stream !== null ? this.frame() : null;
    this.stop();
    this.resolve?.(taken);
    this.resolve = null;
  }
}

/** What will be done with the running picture. */
function outlook() {
  if (session.embedder === null) return "Waiting for a model: no faces are looked for yet.";
  if (session.embedder.photographs !== null) return "Looking for faces …";
  const then = session.metadata.aligned ? "you will place the points" : "it takes whole pictures";
  return `This model finds no faces: ${then}.`;
}

function pause(milliseconds) {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}

function endStream(stream) {
  for (const track of stream?.getTracks() ?? []) track.stop();
}
