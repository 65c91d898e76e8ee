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
  public let search: SearchThresholds?
  public let modelID: String?

  enum CodingKeys: String, CodingKey {
    case photo, embedding, threshold, calibration, search
    case modelID = "model_id"
  }

  public init(json: Data) throws {
    self = try JSONDecoder().decode(Metadata.self, from: json)
    guard let photo, !photo.canvases.isEmpty else {
      throw FaceError("The file takes aligned faces alone: export it with --photo.")
    }
    try calibration?.check()
    try search?.check()
  }

  /// The first canvas of the file.
  public var canvas: Canvas { photo!.canvases[0] }

  public var embeddingSize: Int { embedding.size }

  /// At the calibration's two thresholds, or at the file's only one; nil where it has none.
  public func verdict(_ cosine: Double) -> Verdict? {
    if let zone = calibration?.zone { return zone.verdict(cosine) }
    return threshold.map { cosine >= $0.cosine ? .same : .different }
  }

  /// From which cosine the best of so many enrolled embeddings gets a name, at most `rate` of strangers.
  ///
  /// By the file's table of searches, or where it has none as for two faces, which does not know how many are searched:
  /// `search` is nil then. nil where the file has no threshold.
  public func searchThreshold(embeddings: Int, rate: Double = 0.01) -> Double? {
    if let search { return search.threshold(max(1, embeddings), rate: rate) }
    return calibration?.zone?.sameFrom ?? threshold?.cosine
  }
}
