// Frames around the faces of a picture; one of them is chosen by pointer or keys.

export class FaceBoxes {
  /**
   * @param {HTMLElement} layer Lies on the picture and has its size.
   * @param {((index: number) => void)|null} chosen Called with the number of a face; null where none can be chosen.
   */
  constructor(layer, chosen) {
    [this.layer, this.chosen, this.boxes] = [layer, chosen, []];
  }

  /**
   * @param {{box: number[]|null}[]} faces The largest first.
   * @param {{width: number, height: number}} size Of the picture that boxes count in.
   */
  draw(faces, { width, height }) {
    this.boxes = faces.map(({ box }, index) => {
      const element = document.createElement(this.chosen === null ? "div" : "button");
      element.className = "box";
      if (this.chosen !== null) {
        element.type = "button";
        element.addEventListener("click", () => this.chosen(index));
      }
      const [left, top, right, bottom] = box;
      // Boxes name the centres of their first and last pixel.
      Object.assign(element.style, {
        left: `${(left / width) * 100}%`,
        top: `${(top / height) * 100}%`,
        width: `${((right - left + 1) / width) * 100}%`,
        height: `${((bottom - top + 1) / height) * 100}%`,
      });
      // A name must not be cut by the picture's edge.
      const middle = (left + right) / 2 / width;
      element.dataset.side = middle < 0.3 ? "left" : middle > 0.7 ? "right" : "middle";
      element.dataset.low = bottom / height > 0.85;
      return element;
    });
    this.layer.replaceChildren(...this.boxes);
    faces.forEach((_, index) => this.label(index, null));
  }

  /** Writes a name at a face, or with null none. */
  label(index, name, known = false) {
    const box = this.boxes[index];
    if (box === undefined) return;
    const size = index === 0 ? ", the largest" : "";
    const said = `Face ${index + 1} of ${this.boxes.length}${this.boxes.length > 1 ? size : ""}${name === null ? "" : `: ${name}`}`;
    if (this.chosen !== null) box.setAttribute("aria-label", said);
    box.dataset.known = known;
    const tag = document.createElement("span");
    tag.className = "tag";
    tag.textContent = name ?? "";
    box.replaceChildren(...(name === null ? [] : [tag]));
  }

  choose(index) {
    this.boxes.forEach((box, at) => {
      if (this.chosen !== null) box.setAttribute("aria-pressed", at === index);
    });
  }

  clear() {
    this.boxes = [];
    this.layer.replaceChildren();
  }
}
