// Five points of a face carried onto the landmark template: keras_margin.alignment, number for number.
//
// Points are [x, y], x to the right and y downwards, the centre of the top left pixel at [0, 0]. The five points of a
// face are, in order: the eye at smaller x, the eye at larger x, the nose tip, the mouth corner at smaller x, the mouth
// corner at larger x. Left and right are the picture's, as the viewer sees them, not the person's.

/** The five points of an upright face in a 112x112 crop, as ArcFace's released data sets are aligned. */
export const LANDMARKS_112 = [
  [38.2946, 51.6963],
  [73.5318, 51.5014],
  [56.0252, 71.7366],
  [41.5493, 92.3655],
  [70.7299, 92.2041],
];

/**
 * Where the five points of a face lie in a crop of `height` x `width` pixels. The height sets the face's scale; a
 * narrower crop loses the same strip on both sides, so 112x96 subtracts 8 from x.
 */
export function landmarkTemplate(height, width) {
  const ratio = height / 112;
  return LANDMARKS_112.map(([x, y]) => [x * ratio - (height - width) / 2, y * ratio]);
}

/**
 * Least-squares rotation, uniform scale and shift that carries `source` onto `target`, never a reflection.
 *
 * In the plane Umeyama's answer (IEEE TPAMI 13(4), 1991, eq. 38-43) needs no singular values. With the points' offsets
 * (a, b) from the source's mean and (u, v) from the target's, c R = [p -q; q p] where
 *
 *     p = sum(a u + b v) / sum(a^2 + b^2),   q = sum(a v - b u) / sum(a^2 + b^2)
 *
 * @returns {number[][]} 2 x 3, [c R | t]: target ~= c R source + t.
 * @throws {Error} The points fix no transform: all in one place, not finite, or mirrored so that the best scale is 0.
 */
export function similarityTransform(source, target) {
  if (source.length !== target.length || source.length < 2) {
    throw new Error(`Alignment needs as many source as target points, two or more: got ${source.length} and ${target.length}.`);
  }
  if (![...source, ...target].flat().every(Number.isFinite)) throw new Error("Alignment needs finite points.");
  const [from, onto] = [mean(source), mean(target)];
  let [along, across, sourceSpread, targetSpread] = [0, 0, 0, 0];
  source.forEach(([x, y], index) => {
    const [a, b, u, v] = [x - from[0], y - from[1], target[index][0] - onto[0], target[index][1] - onto[1]];
    along += a * u + b * v;
    across += a * v - b * u;
    sourceSpread += a * a + b * b;
    targetSpread += u * u + v * v;
  });
  // At most 1 by Cauchy and Schwarz; 1e-9 of that is rounding (a mirrored square), not a scale.
  if (!(Math.hypot(along, across) > 1e-9 * Math.sqrt(sourceSpread * targetSpread))) {
    throw new Error("These points fix no position of the face: are some of them in one place, or mirrored?");
  }
  const [p, q] = [along / sourceSpread, across / sourceSpread];
  return [
    [p, -q, onto[0] - (p * from[0] - q * from[1])],
    [q, p, onto[1] - (q * from[0] + p * from[1])],
  ];
}

/**
 * How the area of an output pixel is covered that is `shrink` pixels of the image a side, by the rule of
 * keras_margin.alignment: one bilinear sample up to 1.25; beyond, `count` x `count` samples, `step` output pixels apart,
 * of the image or of the means of its squares of 2^halvings pixels a side.
 *
 * @returns {{halvings: number, count: number, step: number}}
 */
export function sampling(shrink) {
  // Languages differ in the last bits of a scale: a shrink of exactly 2 must not give 2 samples here and 3 there.
  const rounding = 1e-6;
  if (shrink <= 1.25 + rounding) return { halvings: 0, count: 1, step: 0 };
  let [halvings, ratio] = [0, shrink];
  while (ratio > 4 + rounding) [halvings, ratio] = [halvings + 1, ratio / 2];
  const count = Math.ceil(ratio - rounding);
  const step = Math.sqrt((ratio ** 2 - 3 + 2 / 4 ** halvings) / (count ** 2 - 1)) / ratio;
  return { halvings, count, step };
}

/**
 * Carries an image through an affine map, bilinear, black outside the image. Where an output pixel covers more than
 * 1.25 x 1.25 pixels of the image, it is the mean of several samples: see `sampling`.
 *
 * @param {{data: Uint8Array|Uint8ClampedArray, width: number, height: number}} image RGBA, as of ImageData.
 * @param {number[][]} matrix 2 x 3, from the image's coordinates to the output's.
 * @returns {Uint8Array} RGB, height x width x 3, rounded to nearest, ties to even.
 */
export function warp(image, matrix, height, width) {
  const [[a, b, shiftX], [c, d, shiftY]] = matrix;
  const determinant = a * d - b * c;
  // A similarity has determinant / squared norm = 1/2; at 1e-12 the inverse would keep four digits of a coordinate.
  if (!(Math.abs(determinant) > 1e-12 * (a * a + b * b + c * c + d * d))) {
    throw new Error("This position of the face cannot be turned back: the points are too close together.");
  }
  const back = (u, v) => [(d * u - b * v) / determinant, (a * v - c * u) / determinant];
  const { halvings, count, step } = sampling(1 / Math.sqrt(Math.abs(determinant)));
  const offsets = Array.from({ length: count }, (_, index) => (index - (count - 1) / 2) * step);
  const shifts = offsets.flatMap((down) => offsets.map((across) => back(across, down)));
  const side = 2 ** halvings;
  // Where samples lie among squares; two squares out is black whatever lies beyond.
  const columnOf = (x) => clamp(placeOf(x, side), -2, Math.ceil(image.width / side) + 1);
  const rowOf = (y) => clamp(placeOf(y, side), -2, Math.ceil(image.height / side) + 1);
  const corners = [[0, 0], [width - 1, 0], [0, height - 1], [width - 1, height - 1]].flatMap(([column, row]) => {
    const [x, y] = back(column - shiftX, row - shiftY);
    return shifts.map(([across, down]) => [columnOf(x + across), rowOf(y + down)]);
  });
  const squares = squaresOf(image, side, corners);
  const pixels = new Uint8Array(height * width * 3);
  const totals = [0, 0, 0];
  for (let row = 0; row < height; row += 1) {
    for (let column = 0; column < width; column += 1) {
      const [x, y] = back(column - shiftX, row - shiftY);
      totals.fill(0);
      for (const [across, down] of shifts) addSample(squares, columnOf(x + across), rowOf(y + down), totals);
      const at = (row * width + column) * 3;
      for (let channel = 0; channel < 3; channel += 1) pixels[at + channel] = roundToEven(totals[channel] / shifts.length);
    }
  }
  return pixels;
}

/**
 * Crops one face whose five points are known.
 *
 * @param {{data: Uint8ClampedArray, width: number, height: number}} image RGBA.
 * @param {number[][]} points
 * @param {{height: number, width: number, template?: number[][]|null}} size Of the crop; `template` where the points
 *   go, if not to the usual places.
 * @returns {Uint8Array} RGB, height x width x 3.
 */
export function alignPoints(image, points, { height, width, template }) {
  if (points.length !== 5) throw new Error(`A face has five points: got ${points.length}.`);
  return warp(image, similarityTransform(points, template ?? landmarkTemplate(height, width)), height, width);
}

/**
 * Where the five points would lie if the face filled the middle of a picture: a start for placing them by hand. The
 * crop's square, scaled to fit, so its template lands centred.
 */
export function firstGuess(imageWidth, imageHeight) {
  const scale = Math.min(imageWidth, imageHeight) / 112;
  const [left, top] = [(imageWidth - 112 * scale) / 2, (imageHeight - 112 * scale) / 2];
  return LANDMARKS_112.map(([x, y]) => [left + x * scale, top + y * scale]);
}

/**
 * The means of an image's squares of `side` pixels a side, RGB, those that samples at `places` and between read; black
 * beyond the image.
 */
function squaresOf(image, side, places) {
  const range = (axis) => {
    const along = places.map((place) => place[axis]);
    return [Math.floor(Math.min(...along)) - 1, Math.floor(Math.max(...along)) + 3];
  };
  const [[left, right], [top, bottom]] = [range(0), range(1)];
  const width = right - left;
  const data = new Float64Array(width * (bottom - top) * 3);
  const [firstColumn, endColumn] = [Math.max(0, left), Math.min(right, Math.ceil(image.width / side))];
  for (let row = Math.max(0, top * side); row < Math.min(bottom * side, image.height); row += 1) {
    const from = row * image.width;
    let at = ((Math.floor(row / side) - top) * width + firstColumn - left) * 3;
    for (let square = firstColumn; square < endColumn; square += 1, at += 3) {
      const end = Math.min((square + 1) * side, image.width);
      for (let column = square * side; column < end; column += 1) {
        const pixel = (from + column) * 4;
        data[at] += image.data[pixel];
        data[at + 1] += image.data[pixel + 1];
        data[at + 2] += image.data[pixel + 2];
      }
    }
  }
  // Sums of whole numbers and a power of two: exact, in any order.
  const share = 1 / side / side;
  for (let index = 0; index < data.length; index += 1) data[index] *= share;
  return { data, width, left, top };
}

/** Adds the bilinear sample at a place among squares to the totals of red, green and blue. */
function addSample({ data, width, left, top }, column, row, totals) {
  const [firstColumn, firstRow] = [Math.floor(column), Math.floor(row)];
  const [right, below] = [column - firstColumn, row - firstRow];
  const at = ((firstRow - top) * width + firstColumn - left) * 3;
  for (let channel = 0; channel < 3; channel += 1) {
    const upper = at + channel;
    const lower = upper + width * 3;
    totals[channel] += mix(mix(data[upper], data[upper + 3], right), mix(data[lower], data[lower + 3], right), below);
  }
}

/** Where a place of the image lies among squares of `side` pixels: the centre of the first is at 0. */
function placeOf(value, side) {
  return side === 1 ? value : (value + 0.5) / side - 0.5;
}

function roundToEven(value) {
  const floor = Math.floor(value);
  return value - floor === 0.5 ? floor + (floor % 2) : Math.round(value);
}

function mix(first, second, weight) {
  return first + (second - first) * weight;
}

function clamp(value, least, most) {
  return Math.min(Math.max(value, least), most);
}

function mean(points) {
  return [0, 1].map((axis) => points.reduce((sum, point) => sum + point[axis], 0) / points.length);
}
