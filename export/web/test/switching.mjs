// Models that change while the page computes, and networks that fail, in a real Chromium; what each follower does is
// asked of `session.followers`. tests/scripts/test_web_photographs.py makes the folder, serves the page and runs this.

import assert from "node:assert/strict";
import { after, before, beforeEach, test } from "node:test";

import { WAIT, chooseModel, path, start, visit } from "./chromium.mjs";

const CAMERA = ["--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream"];
let page, close;

before(async () => ({ page, close } = await start(30_000, [...CAMERA, `--use-file-for-fake-video-capture=${path("camera.y4m")}`])));
after(() => close?.());
beforeEach(async () => {
  await page.unrouteAll({ behavior: "ignoreErrors" });
  await visit(page);
});

const words = (selector) => page.locator(selector).textContent();

async function give(frame, name, status = "ready") {
  await page.evaluate((which) => (document.querySelector(`[data-face="${which}"]`).dataset.status = "waiting"), frame);
  await page.setInputFiles(`#${frame}-file`, path(name));
  await page.waitForSelector(`[data-face="${frame}"][data-status="${status}"]`);
}

/** Holds back the model next to the page, until the end of the test or until the function that it returns is called. */
async function holdModel() {
  let release;
  const held = new Promise((resolve) => (release = resolve));
  await page.route("**/model/face.tflite", async (route) => {
    await held;
    await route.continue();
  });
  return release;
}

/** Enrolls the face of small.png as Grace; the page is on the tab of people then. */
async function enroll() {
  await page.locator("#people-tab").click();
  await give("scene", "small.png");
  await page.fill("#who-name", "Grace");
  await page.keyboard.press("Enter");
  await page.locator("#known-list .name", { hasText: "Grace" }).first().waitFor();
}

async function eraseAll() {
  await page.locator("#erase-all").click();
  await page.locator('#confirm button[value="erase"]').click();
  await page.locator("#known-empty").waitFor();
}

test("a detector that fails leaves the frame failed, not busy, and says why", async () => {
  await page.evaluate(async () => {
    const { session } = await import("./session.js");
    session.embedder.photographs.detect = () => Promise.reject(new Error("The detector answered NaN or infinity."));
  });
  await give("first", "small.png", "failed");
  assert.equal(await words("#error"), "The detector answered NaN or infinity.");
  assert.equal(await words("#verdict"), "No result");
});

test("a choice of faces that is overtaken by another picture ends without an error", async () => {
  await give("second", "two.png");
  const problem = await page.evaluate(async () => {
    const { session } = await import("./session.js");
    const portrait = session.followers[0].faces[1];
    const choosing = portrait.choose(0);
    portrait.forget();
    return choosing.then(() => null, String);
  });
  assert.equal(problem, null);
});

test("while models are swapped nothing of the old one is left in either tab", async () => {
  await enroll();
  await page.evaluate(async () => {
    const { session } = await import("./session.js");
    const [comparison, people] = session.followers;
    const follow = comparison.follow.bind(comparison);
    comparison.follow = async () => {
      window.seen = { gallery: people.gallery, faces: people.scene.faces.length, form: document.querySelector("#enroll").hidden };
      await follow();
    };
  });
  await chooseModel(page, "other.tflite");
  assert.deepEqual(await page.evaluate(() => window.seen), { gallery: null, faces: 0, form: true });
  await chooseModel(page, "face.tflite");
  await eraseAll();
});

test("two readings of the stored people that overlap read each face once", async () => {
  await enroll();
  const size = await page.evaluate(async () => {
    const { session } = await import("./session.js");
    const people = session.followers[1];
    await Promise.all([people.load(), people.load()]);
    return people.gallery.size;
  });
  assert.equal(size, 1);
  await eraseAll();
});

test("of two models the one asked for last is in use, whichever is there first", async () => {
  const release = await holdModel();
  await page.reload();
  await page.setInputFiles("#model-file", path("other.tflite"));
  await page.getByText(/^other.tflite · faces of/).waitFor({ timeout: WAIT });
  await page.evaluate(() => delete document.documentElement.dataset.ready);
  release();
  await page.waitForSelector("html[data-ready]", { state: "attached", timeout: WAIT });
  assert.match(await words("#model-state"), /^other.tflite · faces of/);
});

test("a camera that was started before the model came finds faces once it is there", async () => {
  const release = await holdModel();
  await page.reload();
  await page.locator('[data-face="first"] .open-camera').click();
  await page.locator("#camera-start").click();
  await page.locator("#camera-note").getByText("Waiting for a model: no faces are looked for yet.").waitFor();
  release();
  await page.locator("#camera .box").waitFor({ timeout: WAIT });
  assert.equal(await words("#camera-note"), "One face");
  assert.match(await words("#camera-time"), /^· found in [\d.]+ m?s$/);
  await page.keyboard.press("Escape");
});

test("a camera goes on with the new model where the old one went while it looked", async () => {
  await page.locator('[data-face="first"] .open-camera').click();
  await page.locator("#camera-start").click();
  await page.locator("#camera .box").waitFor();
  await page.evaluate(async () => {
    const { session } = await import("./session.js");
    const old = session.embedder;
    const next = Object.create(old, { photographs: { value: old.photographs } });
    old.photographs = Object.create(old.photographs);
    old.photographs.detect = async () => {
      document.querySelector("#camera .boxes").replaceChildren();
      [session.embedder, window.swapped] = [next, true];
      throw new Error("This model was deleted.");
    };
  });
  await page.waitForFunction(() => window.swapped && document.querySelector("#camera .box"));
  assert.equal(await page.locator("#camera-error").isVisible(), false);
  await page.keyboard.press("Escape");
});

test("where nobody is known the camera does not claim a search", async () => {
  await page.locator("#people-tab").click();
  await page.locator('[data-face="scene"] .open-camera').click();
  await page.locator("#camera-start").click();
  await page.locator("#camera .box").waitFor();
  assert.match(await words("#camera-time"), /^· found in [\d.]+ m?s$/);
  await page.keyboard.press("Escape");
});

test("points placed by hand are not used by a network that takes no aligned faces", async () => {
  await give("first", "nobody.png", "unplaced");
  await page.locator('[data-face="first"] .align').click();
  await page.locator("#use").click();
  await page.waitForSelector('[data-face="first"][data-status="ready"]');
  const note = await page.evaluate(async () => {
    const { session } = await import("./session.js");
    session.metadata = { ...session.metadata, aligned: false };
    session.embedder.photographs = null;
    const [comparison] = session.followers;
    comparison.forget();
    await comparison.follow();
    return comparison.faces[0].note.textContent;
  });
  assert.match(note, /^The whole picture, embedded in/);
});

test("one face that fails under a new model does not stop the other, and what fails is said", async () => {
  await give("first", "small.png");
  await give("second", "two.png");
  const found = await page.evaluate(async () => {
    const { session } = await import("./session.js");
    const [comparison] = session.followers;
    const [first, second] = comparison.faces;
    first.fit = () => Promise.reject(new Error("this face fails"));
    comparison.forget();
    const problem = await comparison.follow().then(() => null, ({ message }) => message);
    return [problem, second.status];
  });
  assert.deepEqual(found, ["this face fails", "ready"]);
});

test("a screen reader hears of the tab that is shown alone", async () => {
  await give("first", "small.png");
  await page.locator("#people-tab").click();
  await give("scene", "small.png");
  assert.match(await words("#status"), /^Nobody is known yet/);
  await page.evaluate(async () => (await import("./session.js")).session.followers[0].refresh());
  assert.match(await words("#status"), /^Nobody is known yet/);
  await page.locator("#compare-tab").click();
  assert.match(await words("#status"), /^Still to come: the second face/);
  await page.evaluate(async () => (await import("./session.js")).session.followers[1].refresh());
  assert.match(await words("#status"), /^Still to come: the second face/);
});

test("a canvas of 2^24 pixels or more is refused, as the library refuses it", async () => {
  const refused = await page.evaluate(async () => {
    const { Photographs } = await import("./photographs.js");
    const of = (height, width) => ({ faces: 1, canvases: [{ height, width, detect: "d", embed: "e" }] });
    return [[4096, 4095], [4096, 4096], [8192, 12], [11, 12]].map(([height, width]) => {
      try {
        new Photographs(of(height, width), { d: {}, e: {} }, null, null);
        return false;
      } catch {
        return true;
      }
    });
  });
  assert.deepEqual(refused, [false, true, false, true]);
});
