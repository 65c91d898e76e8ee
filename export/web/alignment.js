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
 * Carries an image through an affine map, bilinear, black outside the image. Nothing is averaged beyond the four pixels
 * around a point, as in the code that aligned the training pictures.
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
  const pixels = new Uint8Array(height * width * 3);
  for (let row = 0; row < height; row += 1) {
    for (let column = 0; column < width; column += 1) {
      const [u, v] = [column - shiftX, row - shiftY];
      const x = clamp((d * u - b * v) / determinant, -2, image.width + 1);
      const y = clamp((a * v - c * u) / determinant, -2, image.height + 1);
      sample(image, x, y, pixels, (row * width + column) * 3);
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

function sample(image, x, y, pixels, at) {
  const [left, top] = [Math.floor(x), Math.floor(y)];
  const [right, below] = [x - left, y - top];
  for (let channel = 0; channel < 3; channel += 1) {
    const upper = mix(pixel(image, top, left, channel), pixel(image, top, left + 1, channel), right);
    const lower = mix(pixel(image, top + 1, left, channel), pixel(image, top + 1, left + 1, channel), right);
    pixels[at + channel] = roundToEven(mix(upper, lower, below));
  }
}

function pixel(image, row, column, channel) {
  const inside = row >= 0 && row < image.height && column >= 0 && column < image.width;
  return inside ? image.data[(row * image.width + column) * 4 + channel] : 0;
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
