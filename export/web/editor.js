// The bench where the five points of a face are placed, by pointer or by keys.

import { alignPoints, firstGuess } from "./alignment.js";
import { pixelsOf, show } from "./pictures.js";

const NAMES = [
  "the eye on the left",
  "the eye on the right",
  "the tip of the nose",
  "the mouth's corner on the left",
  "the mouth's corner on the right",
];
// Eye to eye, eyes to nose, nose to mouth, mouth to mouth: a face one can recognise while placing it.
const LINKS = [[0, 1], [0, 2], [1, 2], [2, 3], [2, 4], [3, 4]];
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

export class Editor {
  /** @param {HTMLDialogElement} dialog The page's one bench. */
  constructor(dialog) {
    this.dialog = dialog;
    this.find = (selector) => dialog.querySelector(selector);
    this.buttons = NAMES.map((name, index) => this.makePoint(name, index));
    this.find(".points").append(...this.buttons);
    this.find("#zoom").addEventListener("input", () => this.zoom());
    // Enter would press the form's first button.
    this.find("#zoom").addEventListener("keydown", (event) => event.key === "Enter" && event.preventDefault());
    this.find(".stage").addEventListener("pointerdown", (event) => this.placed(event));
    dialog.addEventListener("close", () => this.finish());
  }

  /**
   * Opens the bench.
   *
   * @param {HTMLCanvasElement} picture
   * @param {{height: number, width: number, template: number[][]|null}} size Of the crop, as for `alignPoints`.
   * @param {number[][]|null} points Where they were placed before.
   * @param {string} whose "first face" or "second face".
   * @returns {Promise<{kind: "points", points: number[][]}|{kind: "whole"}|null>} null where it was left alone.
   */
  open(picture, size, points, whose) {
    this.size = size;
    this.pixels = pixelsOf(picture);
    this.points = (points ?? firstGuess(picture.width, picture.height)).map((point) => [...point]);
    this.next = points === null ? 0 : null;
    const photo = this.find("#photo");
    [photo.width, photo.height] = [picture.width, picture.height];
    photo.getContext("2d").drawImage(picture, 0, 0);
    this.find("#editor-title").textContent = `Place five points: ${whose}`;
    this.find("#zoom").value = "1";
    this.dialog.returnValue = "cancel";
    this.dialog.showModal();
    this.zoom();
    this.redraw();
    this.buttons[0].focus({ preventScroll: true });
    return new Promise((resolve) => {
      this.resolve = resolve;
    });
  }

  makePoint(name, index) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "point";
    button.addEventListener("keydown", (event) => this.nudged(event, index));
    button.addEventListener("focus", () => this.describe(index));
    button.addEventListener("pointerdown", (event) => this.grabbed(event, index));
    button.dataset.name = name;
    return button;
  }

  /** A pointer on the picture places the point whose turn it is. */
  placed(event) {
    if (event.target.closest(".point") || event.button > 0) return;
    const index = this.next ?? this.nearest(this.positionOf(event));
    this.move(index, this.positionOf(event));
    this.next = this.next === null || this.next === NAMES.length - 1 ? null : this.next + 1;
    event.preventDefault();
    this.buttons[this.next ?? index].focus({ preventScroll: true });
    this.redraw();
  }

  /** A pointer on a point drags it, keeping the finger's distance from its middle. */
  grabbed(event, index) {
    const button = this.buttons[index];
    const [x, y] = this.positionOf(event);
    const offset = [this.points[index][0] - x, this.points[index][1] - y];
    const drag = (moved) => {
      const [toX, toY] = this.positionOf(moved);
      if (this.next === index) this.next = index === NAMES.length - 1 ? null : index + 1;
      this.move(index, [toX + offset[0], toY + offset[1]]);
    };
    button.setPointerCapture(event.pointerId);
    button.addEventListener("pointermove", drag);
    button.addEventListener("lostpointercapture", () => button.removeEventListener("pointermove", drag), { once: true });
  }

  nudged(event, index) {
    const direction = ARROWS[event.key];
    if (direction === undefined || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    // A four-hundredth of the picture a step, at least a pixel, so that keys get anywhere in a large one.
    const step = Math.max(1, Math.round(Math.max(this.pixels.width, this.pixels.height) / 400)) * (event.shiftKey ? 10 : 1);
    this.move(index, this.points[index].map((value, axis) => value + step * direction[axis]));
  }

  move(index, [x, y]) {
    const { width, height } = this.pixels;
    this.points[index] = [Math.min(Math.max(x, 0), width - 1), Math.min(Math.max(y, 0), height - 1)];
    this.redraw();
  }

  nearest([x, y]) {
    const distances = this.points.map(([px, py]) => Math.hypot(px - x, py - y));
    return distances.indexOf(Math.min(...distances));
  }

  /** Where an event is on the picture; the centre of its first pixel is at 0, 0. */
  positionOf(event) {
    const box = this.find("#photo").getBoundingClientRect();
    const { width, height } = this.pixels;
    return [((event.clientX - box.left) / box.width) * width - 0.5, ((event.clientY - box.top) / box.height) * height - 0.5];
  }

  zoom() {
    const stage = this.find(".stage");
    const pane = this.find(".window");
    const { width, height } = this.pixels;
    const fit = Math.min(pane.clientWidth / width, pane.clientHeight / height);
    const middle = [pane.scrollLeft + pane.clientWidth / 2, pane.scrollTop + pane.clientHeight / 2];
    const before = stage.clientWidth || 1;
    stage.style.width = `${width * fit * Number(this.find("#zoom").value)}px`;
    const ratio = stage.clientWidth / before;
    pane.scrollTo(middle[0] * ratio - pane.clientWidth / 2, middle[1] * ratio - pane.clientHeight / 2);
  }

  redraw() {
    const { width, height } = this.pixels;
    this.buttons.forEach((button, index) => {
      const [x, y] = this.points[index];
      button.style.left = `${((x + 0.5) / width) * 100}%`;
      button.style.top = `${((y + 0.5) / height) * 100}%`;
      button.classList.toggle("next", this.next === index);
      button.setAttribute("aria-label", `${button.dataset.name}, ${Math.round(x)} across, ${Math.round(y)} down`);
    });
    const links = this.find(".links");
    links.setAttribute("viewBox", `-0.5 -0.5 ${width} ${height}`);
    links.innerHTML = LINKS.map(([from, to]) => {
      const [[x1, y1], [x2, y2]] = [this.points[from], this.points[to]];
      return `<line x1="${x1}" y1="${y1}" x2="${x2}" y2="${y2}" />`;
    }).join("");
    this.describe(this.next);
    this.preview();
  }

  describe(index) {
    this.find("#editor-hint").textContent =
      index === null
        ? "Drag any point to where it belongs, or use the crop as it is."
        : `${index + 1} of ${NAMES.length}: put it on ${NAMES[index]}, as you see it.`;
  }

  preview() {
    const [error, use] = [this.find("#editor-error"), this.find("#use")];
    try {
      const { height, width } = this.size;
      show(this.find("#preview"), alignPoints(this.pixels, this.points, this.size), height, width);
      [error.hidden, use.disabled] = [true, false];
    } catch (problem) {
      error.textContent = problem.message;
      [error.hidden, use.disabled] = [false, true];
    }
  }

  finish() {
    const answers = { use: { kind: "points", points: this.points }, whole: { kind: "whole" } };
    this.resolve?.(answers[this.dialog.returnValue] ?? null);
    this.resolve = null;
  }
}
