// Picture files to pixels and back, without colour management or scaling where the numbers must be the file's own.

// Phones take 50 megapixels; Safari's canvases end at these 16.
const MOST_PIXELS = 2 ** 24;

/** An error whose message is meant for the person in front of the page. */
export class PictureError extends Error {}

/**
 * Decodes a picture, upright as its EXIF says, onto a canvas. What is transparent becomes white.
 *
 * @param {Blob} blob
 * @returns {Promise<HTMLCanvasElement>} Scaled down where it has more than MOST_PIXELS.
 * @throws {PictureError} It is not a picture that this browser can read.
 */
export async function decode(blob) {
  const options = { imageOrientation: "from-image", colorSpaceConversion: "none" };
  let bitmap;
  try {
    bitmap = await createImageBitmap(blob, options);
  } catch {
    const kind = blob.type ? ` (${blob.type})` : "";
    throw new PictureError(
      `${blob.name ?? "What was pasted"}${kind} is not a picture that this browser can read. Choose a JPEG, PNG or WebP file.`,
    );
  }
  const scale = Math.min(1, Math.sqrt(MOST_PIXELS / (bitmap.width * bitmap.height)));
  const canvas = blank(Math.max(1, Math.floor(bitmap.width * scale)), Math.max(1, Math.floor(bitmap.height * scale)));
  const context = contextOf(canvas);
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  bitmap.close();
  return canvas;
}

/** A white canvas of that many pixels. */
export function blank(width, height) {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [width, height];
  const context = contextOf(canvas);
  context.fillStyle = "#fff";
  context.fillRect(0, 0, width, height);
  return canvas;
}

/** The canvas's pixels, {data: RGBA, width, height}. */
export function pixelsOf(canvas) {
  return contextOf(canvas).getImageData(0, 0, canvas.width, canvas.height);
}

/** The whole picture at the model's size, for a crop that is aligned already; untouched where the size is right. */
export function resized(canvas, height, width) {
  if (canvas.width === width && canvas.height === height) return rgb(pixelsOf(canvas));
  const target = blank(width, height);
  const context = contextOf(target);
  context.imageSmoothingQuality = "high";
  context.drawImage(canvas, 0, 0, width, height);
  return rgb(pixelsOf(target));
}

/** RGB of RGBA. */
export function rgb({ data, width, height }) {
  const pixels = new Uint8Array(width * height * 3);
  for (let to = 0, from = 0; to < pixels.length; to += 3, from += 4) {
    pixels[to] = data[from];
    pixels[to + 1] = data[from + 1];
    pixels[to + 2] = data[from + 2];
  }
  return pixels;
}

/** Shows RGB pixels on a canvas, which takes their size. */
export function show(canvas, pixels, height, width) {
  [canvas.width, canvas.height] = [width, height];
  const image = contextOf(canvas).createImageData(width, height);
  for (let index = 0; index < width * height; index += 1) {
    image.data.set(pixels.subarray(3 * index, 3 * index + 3), 4 * index);
    image.data[4 * index + 3] = 255;
  }
  contextOf(canvas).putImageData(image, 0, 0);
}

function contextOf(canvas) {
  return canvas.getContext("2d", { willReadFrequently: true });
}
