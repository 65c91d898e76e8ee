import CoreGraphics
import FaceArithmetic
import Foundation
import LiteRT

/// A face of a picture: its box in pixels of the picture, from the top left, and its embedding.
public struct Face {
  public let box: CGRect
  public let score: Float
  public let embedding: [Float]
}

/// A file of `keras-margin export --photo`: finds, aligns and embeds faces by its signatures `detect` and `embed`.
///
/// Its buffers are shared between calls: use it from one queue at a time, and not from the main one.
public final class FaceModel {
  public let metadata: Metadata
  private let detect: Signature
  private let embed: Signature

  public init(path: String) throws {
    let environment = try Environment()
    let model = try Model(filePath: path, environment: environment)
    metadata = try Metadata(json: model.metadata(key: Metadata.key))
    let options = try Options()
    try options.setHardwareAccelerators([.cpu])
    let compiled = try CompiledModel(environment: environment, model: model, options: options)
    detect = try Signature(compiled, name: metadata.canvas.detect)
    embed = try Signature(compiled, name: metadata.canvas.embed)
  }

  /// The faces of an upright image, the largest first.
  public func faces(_ image: CGImage) throws -> [Face] {
    let picture = try Picture(image)
    let placed = Placed(
      rgba: picture.rgba, height: picture.height, width: picture.width,
      canvasHeight: metadata.canvas.height, canvasWidth: metadata.canvas.width)
    let size = [Int32(placed.height), Int32(placed.width)]
    for signature in [detect, embed] {
      try signature.input("photo").write(placed.rgb)
      try signature.input("size").write(size)
    }
    try detect.run()
    let count: [Int32] = try detect.output("count").read()
    let boxes: [Float] = try detect.output("boxes").read()
    let points: [Float] = try detect.output("points").read()
    let scores: [Float] = try detect.output("scores").read()
    return try (0..<Int(count[0])).map { face in
      try embed.input("points").write(Array(points[(10 * face)..<(10 * face + 10)]))
      try embed.run()
      let box = boxes[(4 * face)..<(4 * face + 4)].map { $0 }
      let (left, top) = (placed.x(box[0]), placed.y(box[1]))
      return Face(
        box: CGRect(x: left, y: top, width: placed.x(box[2]) - left, height: placed.y(box[3]) - top),
        score: scores[face],
        embedding: try embed.output("embedding").read())
    }
  }
}

/// One signature of a compiled model, its buffers addressed by name.
private final class Signature {
  private let model: CompiledModel
  private let index: Int
  private let inputs: [TensorBuffer]
  private let outputs: [TensorBuffer]
  private let inputNames: [String]
  private let outputNames: [String]

  init(_ model: CompiledModel, name: String) throws {
    guard let index = try model.model.signatureKeys().firstIndex(of: name) else {
      throw FaceError("The file has no signature \(name).")
    }
    self.model = model
    self.index = index
    inputs = try model.createInputBuffers(signatureIndex: index)
    outputs = try model.createOutputBuffers(signatureIndex: index)
    inputNames = try inputs.indices.map { try model.inputName(inputIndex: $0, signatureIndex: index) }
    outputNames = try outputs.indices.map { try model.outputName(outputIndex: $0, signatureIndex: index) }
  }

  func input(_ name: String) throws -> TensorBuffer { try Signature.buffer(name, inputNames, inputs) }

  func output(_ name: String) throws -> TensorBuffer { try Signature.buffer(name, outputNames, outputs) }

  func run() throws {
    try model.run(inputs: inputs, outputs: outputs, signatureIndex: index)
  }

  private static func buffer(_ name: String, _ names: [String], _ buffers: [TensorBuffer]) throws -> TensorBuffer {
    guard let at = names.firstIndex(of: name) else { throw FaceError("The file's signature has no \(name).") }
    return buffers[at]
  }
}
