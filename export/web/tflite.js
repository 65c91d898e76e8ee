// What a .tflite file says of itself, read from its bytes before anything runs: a file of another kind, a free batch
// and metadata inside the file are found here, and each gets its own words.
//
// A FlatBuffer: every table begins with the (signed) distance back to its list of field positions. Field numbers are
// those of TensorFlow Lite's schema, version 3.

const TYPES = { 0: "float32", 1: "float16", 2: "int32", 3: "uint8", 4: "int64", 9: "int8" };

const MODEL = { subgraphs: 2, buffers: 4, metadata: 6, signatures: 7 };
const SUBGRAPH = { tensors: 0, inputs: 1, outputs: 2 };
const TENSOR = { shape: 0, type: 1, name: 3, quantization: 4, signature: 7 };
const SIGNATURE = { inputs: 0, outputs: 1, key: 2, subgraph: 4 };
const NAMED = { name: 0, value: 1 };
const SCALE = 2;

export class NotAModel extends Error {}

/**
 * Reads what the first subgraph of a .tflite file takes and gives.
 *
 * @param {Uint8Array} bytes The whole file.
 * @returns {{inputs: object[], outputs: object[], metadata: Map<string, Uint8Array>}} Each input and output as
 *   {name, shape, type, quantized}; `shape` has -1 where a size is free; `name` is the signature's, where there is one.
 * @throws {NotAModel} The bytes are not a TFLite model, or end too early.
 */
export function describe(bytes) {
  if (bytes.length < 8 || text(bytes, 4, 8) !== "TFL3") {
    throw new NotAModel(`This is not a TFLite model: a .tflite file has TFL3 at its bytes 4 to 7. ${whatItIs(bytes)}`);
  }
  try {
    return read(new Reader(bytes));
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    throw new NotAModel(`This TFLite model is damaged or cut short (${bytes.length} bytes). Copy the file again.`);
  }
}

/**
 * The same model for one image at a time: every free batch size becomes 1. LiteRT.js refuses free sizes.
 *
 * @param {Uint8Array} bytes The whole file; left as it is.
 * @returns {Uint8Array} A copy, of the same length.
 */
export function withBatchOfOne(bytes) {
  const copy = bytes.slice();
  const reader = new Reader(copy);
  for (const subgraph of reader.tables(reader.root(), MODEL.subgraphs)) {
    for (const tensor of reader.tables(subgraph, SUBGRAPH.tensors)) {
      const signature = reader.vector(tensor, TENSOR.signature);
      if (signature && signature.length > 0 && reader.int32(signature.start) === -1) reader.write(signature.start, 1);
    }
  }
  return copy;
}

function read(reader) {
  const root = reader.root();
  const [subgraph] = reader.tables(root, MODEL.subgraphs);
  if (subgraph === undefined) throw new RangeError("no subgraph");
  const tensors = reader.tables(subgraph, SUBGRAPH.tensors);
  // Of a file with several graphs, the signature of this one.
  const signature = reader.tables(root, MODEL.signatures).find((each) => reader.uint(each, SIGNATURE.subgraph) === 0);
  const details = (indices, field) => {
    const names = signature === undefined ? new Map() : namesOf(reader, signature, field);
    return reader.ints(subgraph, indices).map((index) => {
      if (tensors[index] === undefined) throw new RangeError("no such tensor");
      return tensor(reader, tensors[index], names.get(index));
    });
  };
  return {
    inputs: details(SUBGRAPH.inputs, SIGNATURE.inputs),
    outputs: details(SUBGRAPH.outputs, SIGNATURE.outputs),
    metadata: metadataOf(reader, root),
  };
}

function tensor(reader, table, name) {
  const shape = reader.ints(table, TENSOR.shape);
  const signature = reader.ints(table, TENSOR.signature);
  const code = reader.byte(table, TENSOR.type);
  const quantization = reader.table(table, TENSOR.quantization);
  return {
    name: name ?? reader.string(table, TENSOR.name),
    shape: signature.length === shape.length ? signature : shape,
    type: TYPES[code] ?? `type ${code}`,
    quantized: quantization !== undefined && (reader.vector(quantization, SCALE)?.length ?? 0) > 0,
  };
}

function namesOf(reader, signature, field) {
  const entries = reader.tables(signature, field);
  return new Map(entries.map((entry) => [reader.uint(entry, NAMED.value), reader.string(entry, NAMED.name)]));
}

function metadataOf(reader, root) {
  const buffers = reader.tables(root, MODEL.buffers);
  return new Map(
    reader.tables(root, MODEL.metadata).map((entry) => {
      const data = reader.vector(buffers[reader.uint(entry, NAMED.value)], 0);
      return [reader.string(entry, NAMED.name), data ? reader.bytes.slice(data.start, data.start + data.length) : null];
    }),
  );
}

/** Positions and values of a FlatBuffer; a DataView throws RangeError where a position lies outside the file. */
class Reader {
  constructor(bytes) {
    this.bytes = bytes;
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  root() {
    return this.view.getUint32(0, true);
  }

  int32(position) {
    return this.view.getInt32(position, true);
  }

  write(position, value) {
    this.view.setInt32(position, value, true);
  }

  /** Where a field of a table begins, or 0 where the table leaves it out. */
  field(table, number) {
    if (table === undefined) throw new RangeError("no such table");
    const list = table - this.int32(table);
    const at = 4 + 2 * number;
    if (at >= this.view.getUint16(list, true)) return 0;
    const offset = this.view.getUint16(list + at, true);
    return offset === 0 ? 0 : table + offset;
  }

  byte(table, number) {
    const at = this.field(table, number);
    return at === 0 ? 0 : this.view.getUint8(at);
  }

  uint(table, number) {
    const at = this.field(table, number);
    return at === 0 ? 0 : this.view.getUint32(at, true);
  }

  table(table, number) {
    const at = this.field(table, number);
    return at === 0 ? undefined : at + this.view.getUint32(at, true);
  }

  vector(table, number) {
    const at = this.table(table, number);
    if (at === undefined) return undefined;
    const length = this.view.getUint32(at, true);
    // No element is smaller than a byte: a length from damaged bytes must not make an endless list.
    if (at + 4 + length > this.bytes.length) throw new RangeError("a list past the end");
    return { start: at + 4, length };
  }

  ints(table, number) {
    const { start, length } = this.vector(table, number) ?? { start: 0, length: 0 };
    return Array.from({ length }, (_, index) => this.int32(start + 4 * index));
  }

  tables(table, number) {
    const { start, length } = this.vector(table, number) ?? { start: 0, length: 0 };
    return Array.from({ length }, (_, index) => {
      const at = start + 4 * index;
      return at + this.view.getUint32(at, true);
    });
  }

  string(table, number) {
    const found = this.vector(table, number);
    return found ? text(this.bytes, found.start, found.start + found.length) : "";
  }
}

function text(bytes, start, end) {
  return new TextDecoder().decode(bytes.subarray(start, end));
}

/** What a file of another kind probably is, told by its first bytes. */
function whatItIs(bytes) {
  const head = String.fromCharCode(...bytes.subarray(0, 8));
  const kinds = [
    [/^PK/, "It looks like a .keras file or another zip: export it with keras_margin.export.to_tflite."],
    [/^\x89HDF/, "It looks like an HDF5 file: export it with keras_margin.export.to_tflite."],
    [/^(\xff\xd8|\x89PNG|GIF8|RIFF)/, "It looks like a picture: pictures go into the two frames."],
    [/^\s*[{[]/, "It looks like JSON: choose the .tflite file, with its JSON next to it."],
    [/^version/, "It is a Git LFS pointer, not the file itself: fetch it with git lfs pull."],
  ];
  return kinds.find(([pattern]) => pattern.test(head))?.[1] ?? "Choose a file that ends in .tflite.";
}
