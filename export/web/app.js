// The page: one model, and two things to do with it.

import { Camera } from "./camera.js";
import { Comparison } from "./compare.js";
import { acceptDrops, complain, find, guarded } from "./dom.js";
import { Editor } from "./editor.js";
import { People } from "./people.js";
import { chooseModel, isModel, loadServedModel, session } from "./session.js";
import { tabs } from "./tabs.js";

const tools = { editor: new Editor(find("#editor")), camera: new Camera(find("#camera")), take };
const comparison = new Comparison(tools);
const people = new People(tools);
session.followers.push(comparison, people);
const shown = tabs(find("#tasks"), (panel) => {
  complain(null);
  (panel === "people" ? people : comparison).refresh();
});

/** Files that were dropped or pasted: a model, or pictures for what is shown. */
async function take(files, frame) {
  if (document.querySelector("dialog[open]")) return;
  const model = files.filter(isModel);
  if (model.length > 0) return guarded(() => chooseModel(model));
  if (files.length > 0) await (shown.chosen() === "people" ? people.take(files) : comparison.take(files, frame));
}

find("#model-file").addEventListener("change", async (event) => {
  const files = [...event.target.files];
  event.target.value = "";
  if (files.length > 0) await guarded(() => chooseModel(files));
});
acceptDrops(document.body, (files) => take(files));
document.addEventListener("paste", (event) => take([...event.clipboardData.files]));
await guarded(loadServedModel);
