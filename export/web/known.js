// The list of known people, with what erases them.

import { find } from "./dom.js";
import { show } from "./pictures.js";

export class KnownPeople {
  /**
   * @param {HTMLElement} section
   * @param {(name: string|null) => void} erase Called with a name, or null for everybody, once it was confirmed.
   */
  constructor(section, erase) {
    [this.section, this.erase] = [section, erase];
    this.dialog = find("#confirm");
    section.querySelector("#erase-all").addEventListener("click", () => this.ask(null));
    this.dialog.addEventListener("close", () => this.answered());
  }

  /**
   * @param {import("./gallery.js").Gallery|null} gallery null before there is a model.
   * @param {object[]} others Faces of other models.
   * @param {string} basis What names rest on, a sentence.
   * @param {boolean} forgetful Whether the browser keeps nothing.
   */
  draw(gallery, others, basis, forgetful) {
    const part = (selector) => this.section.querySelector(selector);
    const names = gallery?.names ?? [];
    part("#known-list").replaceChildren(...names.map((name) => this.card(name, gallery.faces.filter((face) => face.name === name))));
    find("#known-names").replaceChildren(...names.map((name) => new Option(name, name)));
    part("#known-empty").hidden = names.length > 0;
    part("#known-forgetful").hidden = !forgetful;
    part("#known-basis").textContent = basis;
    part("#known-others").hidden = others.length === 0;
    part("#known-others").textContent = describeOthers(others);
    part("#erase-all").hidden = names.length === 0 && others.length === 0;
  }

  card(name, faces) {
    const item = find("#person-template").content.cloneNode(true).firstElementChild;
    const { pixels, height, width } = faces[0].crop;
    show(item.querySelector("canvas"), pixels, height, width);
    item.querySelector(".name").textContent = name;
    item.querySelector(".count").textContent = faces.length === 1 ? "one face" : `${faces.length} faces`;
    item.querySelector("button .unseen").textContent = ` ${name}`;
    item.querySelector("button").addEventListener("click", () => this.ask(name));
    return item;
  }

  ask(name) {
    this.asked = name;
    find("#confirm-title").textContent = name === null ? "Erase everybody?" : `Erase ${name}?`;
    find("#confirm-text").textContent =
      name === null
        ? "All names, faces and embeddings that this page keeps in this browser go, those of other models too."
        : "Name, faces and embeddings go from this browser.";
    this.dialog.returnValue = "";
    this.dialog.showModal();
  }

  answered() {
    if (this.dialog.returnValue === "erase") this.erase(this.asked);
    // What was pressed may be gone.
    this.section.querySelector("#known-title").focus({ preventScroll: true });
  }
}

function describeOthers(others) {
  if (others.length === 0) return "";
  const people = new Set(others.map(({ model, name }) => `${model} ${name}`)).size;
  const models = [...new Set(others.map(({ model }) => model.slice(0, 12)))].join(", ");
  const [faces, whose] = [others.length === 1 ? "1 face" : `${others.length} faces`, people === 1 ? "1 person" : `${people} people`];
  return (
    `${faces} of ${whose} were made by another model (${models}) and are refused: similarity across models means nothing. ` +
    "Choose that model again, add the people again with this one, or erase them."
  );
}
