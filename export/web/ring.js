// The picture of a comparison: one spoke a number of the embedding, all around a ring.

const SVG = "http://www.w3.org/2000/svg";
const [INNER, REACH] = [66, 30];

/**
 * Draws products a_i b_i of two unit embeddings as spokes: outwards where they agree in sign, inwards where they do
 * not. The spokes' signed lengths, before they are scaled for the eye, sum to the cosine.
 *
 * @param {SVGElement} svg Its viewBox is -100 -100 200 200.
 * @param {Float64Array} first Of unit length.
 * @param {Float64Array} second Of unit length.
 */
export function drawAgreement(svg, first, second) {
  const products = first.map((value, index) => value * second[index]);
  const largest = products.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  const paths = { agree: "", differ: "" };
  products.forEach((value, index) => {
    const angle = (2 * Math.PI * index) / products.length - Math.PI / 2;
    // The square root lets small products be seen: most of them are a tenth of the largest.
    const length = largest > 0 ? Math.sqrt(Math.abs(value) / largest) * REACH : 0;
    const end = value >= 0 ? INNER + length : INNER - length * 0.6;
    paths[value >= 0 ? "agree" : "differ"] += `M${at(INNER, angle)}L${at(end, angle)}`;
  });
  const width = Math.min(2.4, (2 * Math.PI * INNER * 0.62) / products.length).toFixed(2);
  svg.replaceChildren(
    circle(),
    ...Object.entries(paths).map(([name, d]) => element("path", { class: name, d, "stroke-width": width })),
  );
}

/** Only the ring itself, while there is nothing to draw. */
export function drawEmpty(svg) {
  svg.replaceChildren(circle());
}

function circle() {
  return element("circle", { class: "base", r: INNER, fill: "none" });
}

function at(radius, angle) {
  return `${(radius * Math.cos(angle)).toFixed(2)} ${(radius * Math.sin(angle)).toFixed(2)}`;
}

function element(name, attributes) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}
