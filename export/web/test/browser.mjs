// The page in a real Chromium, against what keras_margin made of the same pictures. tests/scripts/test_web.py makes the folder,
// serves the page and runs this; PAGE_URL, PAGE_FOLDER and CHROMIUM come from there.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, before, beforeEach, test } from "node:test";

import { PAGE_URL, WAIT, checkLayout, checkRequests, chooseModel as chooseModelOf, expected, near, path, start, visit } from "./chromium.mjs";

let page, requests, close;

before(async () => ({ page, requests, close } = await start()));
after(() => close?.());
beforeEach(() => visit(page));

const words = (selector) => page.locator(selector).textContent();
const similarity = async () => Number(await page.locator("#similarity").getAttribute("data-exact"));
const compared = () => page.waitForFunction(() => document.querySelector("#similarity").value !== "–");
const choose = (which, name) => page.setInputFiles(`#${which}-file`, path(name));
const chooseModel = (...names) => chooseModelOf(page, ...names);
const model = expected.models["square.tflite"];

/** Moves the five points from where the bench put them, by keys alone, and takes the face. */
async function placeByKeys() {
  await page.waitForSelector("#editor[open]");
  for (const [index, move] of expected.moves.entries()) {
    assert.equal(await page.evaluate(() => [...document.querySelectorAll(".point")].indexOf(document.activeElement)), index);
    for (const [axis, keys] of [["ArrowLeft", "ArrowRight"], ["ArrowUp", "ArrowDown"]].entries()) {
      const key = keys[move[axis] > 0 ? 1 : 0];
      for (let left = Math.abs(move[axis]); left > 0; left -= left >= 10 ? 10 : 1) {
        await page.keyboard.press(left >= 10 ? `Shift+${key}` : key);
      }
    }
    await page.keyboard.press("Tab");
  }
  await page.locator("#use").press("Enter");
  await page.waitForSelector("#editor", { state: "hidden" });
}

test("two crops of the model's size: the runtime's cosine, and the verdict in words", async () => {
  assert.match(await words("#model-state"), new RegExp(`square.tflite · faces of 112 × 112 · ${model.numbers} numbers`));
  await choose("first", "a.png");
  await page.getByText("Still to come: the second face.", { exact: true }).first().waitFor();
  await choose("second", "b.png");
  await compared();
  near(await similarity(), model["a with b"], 1e-4, "cosine");
  assert.equal(await words("#similarity"), model["a with b"].toFixed(3).replace("-", "−"));
  assert.match(await words("#status"), /Similarity -?\d\.\d{3}/);
});

test("the verdict falls at the threshold that the model's JSON ships, and nowhere without one", async () => {
  await choose("first", "a.png");
  await choose("second", "b.png");
  await compared();
  assert.equal(await words("#verdict"), "No verdict");
  for (const [json, verdict] of [["below.json", "Taken for the same person"], ["above.json", "Taken for two people"]]) {
    await chooseModel("bare.tflite", json);
    await page.locator("#verdict").getByText(verdict).waitFor();
    assert.ok((await words("#status")).startsWith(`${verdict}. Similarity`), "told to a screen reader");
    assert.match(await words("#facts"), /0\.1 % of the measured impostor pairs/);
  }
  await chooseModel("bare.tflite", "absurd.json");
  assert.match(await words("#error"), /cosine from -1 to 1/);
});

test("the embedding itself is the runtime's", async () => {
  const found = await page.evaluate(async (name) => {
    const { Embedder } = await import("./embedder.js");
    const { decode, resized } = await import("./pictures.js");
    const bytes = async (address) => new Uint8Array(await (await fetch(address)).arrayBuffer());
    const embedder = await Embedder.load(await bytes("model/square.tflite"));
    const picture = new Blob([Uint8Array.from(name)], { type: "image/png" });
    const embedding = await embedder.embed(resized(await decode(picture), 112, 112));
    return [...embedding];
  }, [...readFileSync(path("a.png"))]);
  const length = Math.hypot(...found);
  near(length, 1, 1e-5, "length");
  found.forEach((value, index) => near(value, model.embedding[index], 1e-4, `number ${index}`));
});

test("a larger picture is aligned by keys alone, pixel for pixel and cosine as in Python", async () => {
  await choose("first", "a.png");
  await choose("second", "photo.png");
  await placeByKeys();
  await compared();
  const crop = await page.evaluate(() => {
    const canvas = document.querySelector('[data-face="second"] canvas');
    const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    return [...data].filter((_, index) => index % 4 < 3);
  });
  assert.equal(crop.length, model.crop.length);
  const differing = crop.filter((value, index) => Math.abs(value - model.crop[index]) > 0).length;
  assert.ok(differing <= crop.length / 1000, `${differing} of ${crop.length} values differ`);
  near(await similarity(), model["a with crop"], 1e-4, "cosine");
  assert.match(await page.evaluate(() => document.activeElement.textContent), /Align the second face/);
});

test("clicks place the points one after the other, and a drag moves one", async () => {
  await choose("first", "photo.png");
  await page.waitForSelector("#editor[open]");
  const places = [[110, 100], [180, 104], [150, 140], [118, 180], [170, 184]];
  const at = async ([x, y]) => {
    const box = await page.locator("#photo").boundingBox();
    return [box.x + ((x + 0.5) / 300) * box.width, box.y + ((y + 0.5) / 260) * box.height];
  };
  for (const place of places) await page.mouse.click(...(await at(place)));
  const labels = () => page.locator(".point").evaluateAll((all) => all.map((each) => each.getAttribute("aria-label")));
  const check = async (wanted) => {
    for (const [index, label] of (await labels()).entries()) {
      const [x, y] = label.match(/(\d+) across, (\d+) down/).slice(1).map(Number);
      assert.ok(Math.hypot(x - wanted[index][0], y - wanted[index][1]) <= 1.5, `${label}, wanted ${wanted[index]}`);
    }
  };
  await check(places);
  await page.mouse.move(...(await at(places[2])));
  await page.mouse.down();
  await page.mouse.move(...(await at([160, 150])), { steps: 4 });
  await page.mouse.up();
  await check([...places.slice(0, 2), [160, 150], ...places.slice(3)]);
  await page.keyboard.press("Escape");
  await page.waitForSelector("#editor", { state: "hidden" });
  await page.locator('[data-face="first"] .note', { hasText: /^Not aligned yet$/ }).waitFor();
});

test("points in one place are refused in words, and cannot be used", async () => {
  await choose("first", "photo.png");
  await page.waitForSelector("#editor[open]");
  await page.evaluate(() => {
    for (const point of document.querySelectorAll(".point")) {
      for (const key of ["ArrowLeft", "ArrowUp"]) {
        for (let turn = 0; turn < 30; turn += 1) {
          point.dispatchEvent(new KeyboardEvent("keydown", { key, shiftKey: true, bubbles: true }));
        }
      }
    }
  });
  assert.match(await words("#editor-error"), /in one place/);
  assert.equal(await page.locator("#use").isDisabled(), true);
});

test("a picture turned by its EXIF tag is shown upright", async () => {
  await choose("first", "turned.jpg");
  await page.waitForSelector("#editor[open]");
  const size = await page.evaluate(() => [document.querySelector("#photo").width, document.querySelector("#photo").height]);
  assert.deepEqual(size, [260, 300]);
});

test("pictures can be dropped and pasted; a dropped model is loaded", async () => {
  const give = (type, target, names) =>
    page.evaluate(
      ([kind, selector, files]) => {
        const transfer = new DataTransfer();
        for (const [name, bytes] of files) {
          const mime = name.endsWith(".png") ? "image/png" : "";
          transfer.items.add(new File([Uint8Array.from(bytes)], name, { type: mime }));
        }
        const event =
          kind === "paste"
            ? new ClipboardEvent("paste", { clipboardData: transfer, bubbles: true })
            : new DragEvent("drop", { dataTransfer: transfer, bubbles: true, cancelable: true });
        document.querySelector(selector).dispatchEvent(event);
      },
      [type, target, names.map((name) => [name, [...readFileSync(path(name.replace(".txt", "")))]])],
    );
  await give("drop", "body", ["a.png", "b.png"]);
  await compared();
  near(await similarity(), model["a with b"], 1e-4, "dropped");
  await page.reload();
  await page.waitForSelector("html[data-ready]", { state: "attached", timeout: WAIT });
  await give("paste", "body", ["b.png"]);
  await page.getByText("Still to come: the second face.", { exact: true }).first().waitFor();
  await give("paste", "body", ["a.png"]);
  await compared();
  near(await similarity(), model["a with b"], 1e-4, "pasted");
  await give("drop", "body", ["expected.json.txt", "b.png"]);
  await page.getByText(/expected.json.txt.* is not a picture/).waitFor();
  await give("drop", "body", ["a.png", "b.png", "a.png"]);
  await page.getByText("Two pictures are compared: the others were left out.").waitFor();
  await give("drop", "body", ["narrow.tflite"]);
  await page.getByText(/narrow.tflite · faces of 96 × 112/).waitFor();
  await page.locator("#sentence").getByText("The first face has no points yet: press Align.").waitFor();
});

test("a model of another shape, with a batch of one and a threshold inside: pictures are fitted anew", async () => {
  const narrow = expected.models["narrow.tflite"];
  // The JSON chosen with it is another model's: what is inside the file counts.
  await chooseModel("narrow.tflite", "absurd.json");
  assert.match(await words("#model-state"), new RegExp(`threshold ${narrow.threshold.toFixed(3)}$`));
  for (const which of ["first", "second"]) {
    await choose(which, "photo.png");
    await placeByKeys();
  }
  await compared();
  const size = await page.evaluate(() => {
    const { width, height } = document.querySelector('[data-face="first"] canvas');
    return [height, width];
  });
  assert.deepEqual(size, narrow.size);
  near(await similarity(), 1, 1e-6, "a crop with itself");
  assert.equal(await words("#verdict"), "Taken for the same person");
  assert.match(await words("#facts"), /at most 10 % of the measured impostor pairs/);
});

test("what cannot be used is refused in words, and the model there was stays", async () => {
  await choose("first", "a.png");
  await choose("second", "b.png");
  await compared();
  const kept = await words("#model-state");
  const cases = {
    "picture.tflite": /not a TFLite model.*picture/s,
    "cut.tflite": /damaged|cut short|cannot run/,
    "float.tflite": /pixels, uint8.*float32.*keras_margin\.export/s,
    "free size.tflite": /fixed height and width.*-1/s,
    "no images.tflite": /RGB images.*1 x 7/s,
    "expected.json": /JSON alone is not a model/,
  };
  for (const [name, pattern] of Object.entries(cases)) {
    await chooseModel(name);
    assert.match(await words("#error"), pattern, name);
    assert.equal(await page.locator("#error").isVisible(), true);
    assert.equal(await words("#model-state"), kept, name);
  }
  await choose("first", "expected.json");
  await page.getByText(/expected.json.* is not a picture/).waitFor();
  near(await similarity(), model["a with b"], 1e-4, "what was there stays");
});

test("without a model the page says so, keeps the pictures, and takes them up when one comes", async () => {
  await page.goto(new URL("index.html?model=model/none.tflite", PAGE_URL).href);
  await page.getByText("No model yet: choose a .tflite file.").waitFor();
  await choose("first", "a.png");
  await choose("second", "b.png");
  await page.getByText("Waiting for a model").nth(1).waitFor();
  await chooseModel("square.tflite");
  await compared();
  near(await similarity(), model["a with b"], 1e-4, "cosine");
});

test("no picture can leave: every request goes to the page's own server, and the policy stops others", async () => {
  await choose("first", "a.png");
  await choose("second", "b.png");
  await compared();
  checkRequests(requests);
  const blocked = await page.evaluate(
    () =>
      new Promise((resolve) => {
        document.addEventListener("securitypolicyviolation", (event) => resolve(event.effectiveDirective));
        fetch("http://127.0.0.2:9/").catch(() => setTimeout(() => resolve("not blocked"), 500));
      }),
  );
  assert.equal(blocked, "connect-src");
});

test("by keyboard: the controls come in reading order and have names of their own", async () => {
  await choose("first", "a.png");
  await page.getByText("Still to come: the second face.", { exact: true }).first().waitFor();
  await page.evaluate(() => document.activeElement.blur());
  const seen = [];
  for (let turn = 0; turn < 9; turn += 1) {
    await page.keyboard.press("Tab");
    seen.push(await page.evaluate(() => {
      const { labels, textContent } = document.activeElement;
      return (labels?.length > 0 ? labels[0].textContent : textContent).replace(/\s+/g, " ").trim();
    }));
  }
  assert.match(seen[0], /^Choose a model file/);
  assert.deepEqual(seen.slice(1, 8), [
    "Compare faces",
    "Choose a picture for the first face",
    "Camera for the first face",
    "Align the first face by five points",
    "Choose a picture for the second face",
    "Camera for the second face",
    "How to read this",
  ]);
});

for (const [width, scheme] of [[320, "light"], [390, "dark"], [1100, "light"], [1100, "dark"]]) {
  test(`at ${width} pixels, ${scheme}: nothing sticks out, targets are large, and axe finds nothing`, async () => {
    await page.setViewportSize({ width, height: 800 });
    await page.emulateMedia({ colorScheme: scheme });
    const check = (where) => checkLayout(page, where);
    await check("empty");
    await choose("first", "a.png");
    await choose("second", "photo.png");
    await page.waitForSelector("#editor[open]");
    await check("bench");
    await page.locator("#whole").click();
    await compared();
    await page.locator("summary").click();
    await check("compared");
    await choose("first", "expected.json");
    await page.locator("#error").waitFor();
    await check("error");
  });
}
