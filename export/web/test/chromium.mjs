// A real Chromium with the page in it, for the tests of tests/scripts, which say where everything is by PAGE_URL,
// PAGE_FOLDER and CHROMIUM.

import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { chromium } from "playwright-core";

export const { PAGE_URL, PAGE_FOLDER, CHROMIUM } = process.env;
export const [STEP, WAIT] = [10_000, 120_000];
export const path = (name) => join(PAGE_FOLDER, name);
export const expected = JSON.parse(readFileSync(path("expected.json")));

const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const FLAGS = [
  ...["--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"],
  ...["--disable-component-update", "--disable-sync"],
  // Chromium refuses its sandbox to root, and CI runs as root.
  ...(process.getuid?.() === 0 ? ["--no-sandbox"] : []),
];

/**
 * Starts Chromium with a profile of its own.
 *
 * @returns {Promise<{page: object, requests: object[], close: () => Promise<void>}>} `requests`: {url, method, body}
 *   of each.
 */
export async function start(step = STEP, flags = []) {
  const profile = mkdtempSync(join(tmpdir(), "page-"));
  const context = await chromium.launchPersistentContext(profile, {
    executablePath: CHROMIUM,
    args: [...FLAGS, ...flags],
    viewport: { width: 1100, height: 900 },
    timeout: WAIT,
  });
  context.setDefaultTimeout(step);
  const page = await context.newPage();
  const requests = [];
  page.on("request", (request) => requests.push({ url: request.url(), method: request.method(), body: request.postData() }));
  page.on("pageerror", (error) => assert.fail(`an error nobody caught: ${error.stack}`));
  const close = async () => {
    await context.close();
    rmSync(profile, { recursive: true, force: true });
  };
  return { page, requests, close };
}

/** Every request was a GET without a body, to the page's own server; blob: are the page's own. */
export function checkRequests(requests) {
  const local = ({ url }) => url.startsWith("blob:") || new URL(url).origin === new URL(PAGE_URL).origin;
  assert.ok(requests.length > 0);
  assert.deepEqual(requests.filter((each) => !local(each) || each.method !== "GET" || each.body !== null), []);
}

/** Opens the page, and waits for its model. */
export async function visit(page) {
  await page.setViewportSize({ width: 1100, height: 900 });
  await page.emulateMedia({ colorScheme: "light" });
  await page.goto(PAGE_URL);
  await page.waitForSelector("html[data-ready]", { state: "attached", timeout: WAIT });
}

/** Chooses models; answers when one is in use or an error is shown. */
export async function chooseModel(page, ...names) {
  await page.evaluate(() => delete document.documentElement.dataset.ready);
  await page.setInputFiles("#model-file", names.map(path));
  await page.waitForSelector("html[data-ready]", { state: "attached", timeout: WAIT });
}

export function near(found, wanted, bound, what) {
  assert.ok(Math.abs(found - wanted) <= bound, `${what}: ${found} in the page, ${wanted} in Python`);
}

/** Nothing sticks out or is cut, targets are large, and axe finds nothing. */
export async function checkLayout(page, where) {
  if (!(await page.evaluate(() => "axe" in window))) await page.evaluate(AXE);
  const wide = await page.evaluate(() => {
    const dialog = document.querySelector("dialog[open]") ?? document.querySelector("#editor");
    return [document.documentElement.scrollWidth - window.innerWidth, dialog.scrollWidth - dialog.clientWidth];
  });
  assert.ok(Math.max(...wide) <= 0, `${where}: ${wide} pixels stick out`);
  // A picture that is not square is shown whole.
  const cut = await page.evaluate(() => {
    const inside = (outer, inner) => inner.bottom <= outer.bottom + 1 && inner.right <= outer.right + 1;
    const frames = [...document.querySelectorAll(".frame")];
    return frames.filter((each) => {
      const pictures = [...each.querySelectorAll("canvas, video")].map((picture) => picture.getBoundingClientRect());
      return pictures.some((picture) => picture.width > 0 && !inside(each.getBoundingClientRect(), picture));
    }).length;
  });
  assert.equal(cut, 0, `${where}: a picture is cut by its frame`);
  const small = await page.evaluate(() =>
    [...document.querySelectorAll("button:not(.point, .box), .button, summary, select, #who-name")]
      .map((each) => [each.textContent.trim(), each.getBoundingClientRect()])
      .filter(([, box]) => box.width > 0 && (box.height < 40 || box.width < 44))
      .map(([name, box]) => `${name}: ${box.width} x ${box.height}`),
  );
  assert.deepEqual(small, [], where);
  const found = await page.evaluate(() => axe.run(document, { runOnly: ["wcag2a", "wcag2aa", "wcag21aa", "wcag22aa", "best-practice"] }));
  assert.deepEqual(found.violations.map(({ id, nodes }) => [id, nodes.map(({ html }) => html)]), [], where);
}
