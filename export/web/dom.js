// What every part of the page uses to find elements, to speak and to take files.

/** The first element that a selector finds. */
export const find = (selector) => document.querySelector(selector);

/** Tells a screen reader. */
export function say(words) {
  find("#status").textContent = words;
}

/** Shows an error's message, or with null takes it away. */
export function complain(error) {
  find("#error").hidden = error === null;
  find("#error").textContent = error === null ? "" : error.message;
  if (error !== null) say("");
}

/** Runs an action whose errors are told to the person in front of the page. */
export async function guarded(action) {
  try {
    complain(null);
    await action();
  } catch (error) {
    complain(error);
  }
  document.documentElement.dataset.ready = "";
}

/** Lets the page be painted first: the network runs on this thread. */
export function painted() {
  return new Promise((resolve) => requestAnimationFrame(() => setTimeout(resolve)));
}

/** Calls `use` with the files that are dropped on an element. */
export function acceptDrops(element, use) {
  const files = (event) => [...(event.dataTransfer?.files ?? [])];
  element.addEventListener("dragover", (event) => {
    event.preventDefault();
    event.stopPropagation();
    element.classList.add("over");
  });
  element.addEventListener("dragleave", (event) => {
    if (!element.contains(event.relatedTarget)) element.classList.remove("over");
  });
  element.addEventListener("drop", (event) => {
    event.preventDefault();
    event.stopPropagation();
    element.classList.remove("over");
    use(files(event));
  });
}

/** Milliseconds in words. */
export function duration(milliseconds) {
  if (milliseconds >= 1000) return `${(milliseconds / 1000).toFixed(1)} s`;
  return milliseconds < 1 ? "under 1 ms" : `${Math.round(milliseconds)} ms`;
}
