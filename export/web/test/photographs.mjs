// Photographs, known people and the camera in a real Chromium, against what keras_margin makes of the same photographs
// by the same file. tests/scripts/test_web_photographs.py makes the folder, serves the page and runs this.

import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { after, before, test } from "node:test";

import { WAIT, checkLayout, checkRequests, chooseModel, expected, near, path, start, visit } from "./chromium.mjs";

const CAMERA = ["--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream"];
let page, requests, close;

before(async () => {
  ({ page, requests, close } = await start(30_000, [...CAMERA, `--use-file-for-fake-video-capture=${path("camera.y4m")}`]));
  await visit(page);
});
after(() => close?.());

const words = (selector) => page.locator(selector).textContent();
const similarity = async () => Number(await page.locator("#similarity").getAttribute("data-exact"));
const boxesOf = (frame) => page.locator(`[data-face="${frame}"] .box`);
const tags = () => page.locator('[data-face="scene"] .tag').allTextContents();

/** Gives a frame a photograph, and waits until its faces were looked for. */
async function give(frame, name, status = "ready") {
  await page.evaluate((which) => (document.querySelector(`[data-face="${which}"]`).dataset.status = "waiting"), frame);
  await page.setInputFiles(`#${frame}-file`, path(name));
  await page.waitForSelector(`[data-face="${frame}"][data-status="${status}"]`);
}

async function show(panel) {
  await page.locator(`#${panel}-tab`).click();
  await page.locator(`#${panel}`).waitFor();
}

/** What the page's own modules make of a picture's pixels. */
function facesOf(source) {
  return page.evaluate(async (bytes) => {
    const [{ session }, { decode, pixelsOf }] = [await import("./session.js"), await import("./pictures.js")];
    const { photographs } = session.embedder;
    const shown = () => document.querySelector('[data-face="scene"] .photo canvas');
    const canvas = bytes === null ? shown() : await decode(new Blob([Uint8Array.from(bytes)]));
    const photo = pixelsOf(canvas);
    const { faces, placed } = await photographs.detect(photo);
    const found = [];
    for (const face of faces) {
      const { embedding } = await photographs.embed(photo, face.points, placed);
      found.push({ box: face.box, points: face.points.flat(), score: face.score, embedding: [...embedding] });
    }
    const { data, width, height } = photo;
    return { faces: found, width, height, rgb: bytes === null ? [...data].filter((_, index) => index % 4 < 3) : null };
  }, source);
}

for (const name of Object.keys(expected.photographs)) {
  test(`${name}: boxes, points, scores and embeddings are the runtime's to 1e-3`, async () => {
    const { faces } = await facesOf([...readFileSync(path(name))]);
    const wanted = expected.photographs[name];
    assert.equal(faces.length, wanted.length);
    faces.forEach((face, index) => {
      for (const part of ["box", "points", "embedding"]) {
        assert.equal(face[part].length, wanted[index][part].length);
        face[part].forEach((value, at) => near(value, wanted[index][part][at], 1e-3, `${part} ${at} of face ${index}`));
      }
      near(face.score, wanted[index].score, 1e-3, `score of face ${index}`);
    });
  });
}

test("the model is called what the runtime calls it", async () => {
  assert.match(await words("#model-state"), /finds faces in photographs$/);
  const found = await page.evaluate(async () => (await import("./session.js")).session.embedder.modelId);
  assert.equal(found, expected.modelId);
});

test("two photographs: the largest faces are framed and compared, and the time is told", async () => {
  await give("first", "small.png");
  await give("second", "two.png");
  near(await similarity(), expected.pairs["0"].cosine, 1e-3, "cosine");
  assert.match(await words('[data-face="first"] .note'), /^One face, found in [\d.]+ m?s, embedded in (under )?[\d.]+ m?s$/);
  assert.match(await words('[data-face="second"] .note'), /^Face 1 of 2, found in/);
  const shown = await boxesOf("second").evaluateAll((boxes) =>
    boxes.map(({ style }) => [style.left, style.top, style.width, style.height].map(Number.parseFloat)),
  );
  const { width, height } = expected.sizes["two.png"];
  expected.photographs["two.png"].forEach(({ box: [left, top, right, bottom] }, index) => {
    const wanted = [left / width, top / height, (right - left + 1) / width, (bottom - top + 1) / height];
    wanted.forEach((value, at) => near(shown[index][at], 100 * value, 1e-2, `place ${at} of box ${index}, in per cent`));
  });
});

test("the probability is what verify prints, and the verdict one of three", async () => {
  const verdicts = { same: "Taken for the same person", different: "Taken for two people", ask: "Ask a person" };
  for (const [index, box] of [[0, 0], [1, 1]]) {
    await boxesOf("second").nth(box).click();
    await page.waitForSelector('[data-face="second"][data-status="ready"]');
    const wanted = expected.pairs[index];
    near(await similarity(), wanted.cosine, 1e-3, "cosine");
    assert.equal(await words("#verdict"), verdicts[wanted.verdict]);
    assert.equal(await words("#probability"), wanted.words);
    assert.ok((await words("#status")).endsWith(`One person: ${wanted.words}.`), "told to a screen reader");
  }
  await page.locator("#prior").selectOption("0.01");
  assert.equal(await words("#probability"), expected.pairs[1].rarely);
  await page.locator("#prior").selectOption("0.5");
});

test("a face is chosen by keys", async () => {
  await boxesOf("second").first().focus();
  assert.equal(await boxesOf("second").first().getAttribute("aria-label"), "Face 1 of 2, the largest");
  await page.keyboard.press("Enter");
  await page.waitForSelector('[data-face="second"][data-status="ready"]');
  assert.equal(await boxesOf("second").first().getAttribute("aria-pressed"), "true");
  near(await similarity(), expected.pairs["0"].cosine, 1e-3, "cosine");
});

test("clicks correct the points that were found", async () => {
  await page.locator('[data-face="second"] .align').click();
  await page.waitForSelector("#editor[open]");
  for (const move of ["ArrowRight", "ArrowDown"]) for (let turn = 0; turn < 3; turn += 1) await page.keyboard.press(move);
  await page.locator("#use").click();
  await page.waitForSelector('[data-face="second"][data-status="ready"]');
  near(await similarity(), expected.corrected, 1e-3, "cosine");
  assert.match(await words('[data-face="second"] .note'), /^Aligned by points, embedded in/);
});

test("without a face the page says so, and takes points placed by hand", async () => {
  await give("second", "nobody.png", "unplaced");
  assert.match(await words('[data-face="second"] .note'), /^No face found in/);
  assert.equal(await words("#sentence"), "The second face has no face yet: press Correct.");
  await page.locator('[data-face="second"] .align').click();
  await page.locator("#use").click();
  await page.waitForSelector('[data-face="second"][data-status="ready"]');
  near(await similarity(), expected.byHand, 1e-3, "cosine");
});

test("a person is enrolled, and recognised in another photograph by the search's threshold", async () => {
  await show("people");
  await give("scene", "small.png");
  assert.equal(await words("#who-verdict"), "Nobody is known yet");
  await page.fill("#who-name", "Grace");
  await page.keyboard.press("Enter");
  await page.locator("#known-list .name", { hasText: "Grace" }).waitFor();
  await give("scene", "two.png");
  assert.deepEqual(await tags(), ["Grace", "not known"]);
  assert.match(await words("#known-basis"), new RegExp(`from a similarity of ${expected.searches[1]}: among 1 known face, at most 1 % of`));
  assert.match(await words("#who-sentence"), new RegExp(`^Similarity ${expected.pairs[0].cosine.toFixed(3)}\\. A name is given from`));
});

test("of several faces the chosen one is enrolled, and the threshold rises with the gallery", async () => {
  await boxesOf("scene").nth(1).click();
  await page.waitForSelector('[data-face="scene"][data-status="ready"]');
  assert.equal(await words("#who-verdict"), "Not known");
  await page.fill("#who-name", "Hopper in the mirror");
  await page.locator("#enroll button").click();
  await page.locator("#known-list .name", { hasText: "mirror" }).waitFor();
  assert.deepEqual(await tags(), ["Grace", "Hopper in the mirror"]);
  assert.match(await words("#known-basis"), new RegExp(`${expected.searches[2]}: among 2 known faces`));
});

test("the people are there after the page was left", async () => {
  await visit(page);
  await show("people");
  await page.locator("#known-list .name", { hasText: "mirror" }).waitFor();
  assert.deepEqual(await page.locator("#known-list .name").allTextContents(), ["Grace", "Hopper in the mirror"]);
});

test("the camera starts by a button, and its faces get names", async () => {
  await page.locator('[data-face="scene"] .open-camera').click();
  await page.locator("#camera").getByText("The frames never leave this page").waitFor();
  assert.equal(await page.evaluate(() => document.querySelector("#camera video").srcObject), null, "before the button");
  await page.locator("#camera-start").click();
  await page.locator("#camera .tag", { hasText: "Grace" }).waitFor();
  assert.equal(await words("#camera-note"), "One face: Grace");
  assert.match(await words("#camera-time"), /^· found in [\d.]+ m?s, embedded and searched in [\d.]+ m?s$/);
});

test("a picture is taken, and its numbers are the runtime's", async () => {
  await page.evaluate(() => (document.querySelector('[data-face="scene"]').dataset.status = "waiting"));
  await page.locator("#camera-take").click();
  await page.waitForSelector('[data-face="scene"][data-status="ready"]');
  assert.equal(await page.evaluate(() => document.querySelector("#camera video").srcObject), null, "the camera is off");
  assert.deepEqual(await tags(), ["Grace"]);
  // Python compares these pixels' numbers with its own.
  writeFileSync(path("taken.json"), JSON.stringify(await facesOf(null)));
});

test("the camera stops by a button, by the dialog's end and with a page that is hidden", async () => {
  const running = () => page.evaluate(() => window.track?.readyState === "live");
  const begin = async () => {
    await page.locator("#camera-start").click();
    await page.waitForFunction(() => (window.track = document.querySelector("#camera video").srcObject?.getVideoTracks()[0]));
    await page.locator("#camera-stop:enabled").waitFor();
    assert.equal(await running(), true);
  };
  await page.locator('[data-face="scene"] .open-camera').click();
  await begin();
  await page.locator("#camera-stop").click();
  assert.equal(await running(), false, "by the button");
  await begin();
  await page.evaluate(() => {
    Object.defineProperty(document, "hidden", { value: true, configurable: true });
    document.dispatchEvent(new Event("visibilitychange"));
    delete document.hidden;
  });
  assert.equal(await running(), false, "hidden");
  await begin();
  await page.keyboard.press("Escape");
  // A dialog's close event comes after the key was handled.
  await page.waitForFunction(() => window.track.readyState === "ended");
});

test("a camera that is refused is said in words", async () => {
  await page.evaluate(() => {
    navigator.mediaDevices.getUserMedia = () => Promise.reject(new DOMException("no", "NotAllowedError"));
  });
  await page.locator('[data-face="scene"] .open-camera').click();
  await page.locator("#camera-start").click();
  await page.locator("#camera-error").getByText("told not to give this page the camera").waitFor();
  await page.keyboard.press("Escape");
});

test("another model's people are refused in words, and come back with their model", async () => {
  await chooseModel(page, "other.tflite");
  await page.locator("#known-others").waitFor();
  assert.match(await words("#known-others"), /^2 faces of 2 people were made by another model \([0-9a-f]{12}\) and are refused/);
  assert.equal(await page.locator("#known-list li").count(), 0);
  await give("scene", "two.png");
  assert.equal(await words("#who-verdict"), "Nobody is known yet");
  await chooseModel(page, "face.tflite");
  await page.locator("#known-list li").nth(1).waitFor();
  assert.equal(await page.locator("#known-list li").count(), 2);
  assert.equal(await page.locator("#known-others").isVisible(), false);
});

test("one person is erased after a question, then everybody, and nothing is left in the storage", async () => {
  const stored = () => page.evaluate(async () => (await (await import("./store.js")).Store.open()).all().then((all) => all.length));
  const names = () => page.locator("#known-list .name").allTextContents();
  const press = async (selector, answer) => {
    await page.locator(selector).click();
    await page.locator(`#confirm button[value="${answer}"]`).click();
    await page.waitForSelector("#confirm", { state: "hidden" });
  };
  await press("#known-list li:first-child button", "keep");
  assert.equal(await stored(), 2);
  await press("#known-list li:first-child button", "erase");
  await page.getByText("Grace was erased.").waitFor({ state: "attached" });
  assert.deepEqual([await names(), await stored()], [["Hopper in the mirror"], 1]);
  await press("#erase-all", "erase");
  await page.getByText("Everybody was erased.").waitFor({ state: "attached" });
  assert.deepEqual([await names(), await stored()], [[], 0]);
  assert.deepEqual(await tags(), []);
});

test("nothing was asked of another host, and nothing was sent", () => {
  checkRequests(requests);
});

test("arrows move between the tabs", async () => {
  await page.locator("#people-tab").focus();
  await page.keyboard.press("ArrowRight");
  assert.equal(await page.locator("#compare").isVisible(), true);
  assert.equal(await page.evaluate(() => document.activeElement.id), "compare-tab");
  await page.keyboard.press("ArrowLeft");
  assert.equal(await page.locator("#people").isVisible(), true);
});

for (const [width, scheme] of [[320, "light"], [1100, "dark"]]) {
  test(`at ${width} pixels, ${scheme}: nothing sticks out, targets are large, and axe finds nothing`, async () => {
    await visit(page);
    await page.setViewportSize({ width, height: 800 });
    await page.emulateMedia({ colorScheme: scheme });
    await give("first", "small.png");
    await give("second", "two.png");
    await checkLayout(page, "compared");
    await show("people");
    await checkLayout(page, "nobody");
    await give("scene", "two.png");
    await page.fill("#who-name", "Somebody with a name that is rather long");
    await page.keyboard.press("Enter");
    await page.locator("#known-list li").waitFor();
    await checkLayout(page, "known");
    await page.locator("#known-list button").click();
    await checkLayout(page, "question");
    await page.locator('#confirm button[value="erase"]').click();
    await page.locator("#known-empty").waitFor();
    await page.locator('[data-face="scene"] .open-camera').click();
    await checkLayout(page, "camera off");
    await page.locator("#camera-start").click();
    await page.locator("#camera .box").waitFor({ timeout: WAIT });
    await checkLayout(page, "camera on");
    await page.keyboard.press("Escape");
  });
}
