import Foundation

/// What a file of `keras-margin export --photo` says of itself.
public struct Metadata: Decodable {
  /// Under which name the metadata lie in the .tflite file.
  public static let key = "keras_margin.contract"

  public struct Canvas: Decodable {
    public let height: Int
    public let width: Int
    public let detect: String
    public let embed: String
  }

  struct Photo: Decodable {
    let canvases: [Canvas]
    let faces: Int
  }

  struct Embedding: Decodable {
    let size: Int
  }

  struct Threshold: Decodable {
    let cosine: Double
  }

  let photo: Photo?
  let embedding: Embedding
  let threshold: Threshold?
  public let calibration: Calibration?
  public let modelID: String?

  enum CodingKeys: String, CodingKey {
    case photo, embedding, threshold, calibration
    case modelID = "model_id"
  }

  public init(json: Data) throws {
    self = try JSONDecoder().decode(Metadata.self, from: json)
    guard let photo, !photo.canvases.isEmpty else {
      throw FaceError("The file takes aligned faces alone: export it with --photo.")
    }
    try calibration?.check()
  }

  /// The first canvas of the file.
  public var canvas: Canvas { photo!.canvases[0] }

  public var embeddingSize: Int { embedding.size }

  /// At the calibration's two thresholds, or at the file's only one; nil where it has none.
  public func verdict(_ cosine: Double) -> Verdict? {
    if let zone = calibration?.zone { return zone.verdict(cosine) }
    return threshold.map { cosine >= $0.cosine ? .same : .different }
  }
}
