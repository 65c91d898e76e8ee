import Foundation

public struct Match {
  public let name: String
  public let cosine: Double
}

/// The people one looks for: names and embeddings, in one file that is the app's alone. Not for several threads.
public final class Gallery {
  private struct Person: Codable {
    let name: String
    let embedding: [Float]
  }

  private let file: URL
  private let embeddingSize: Int
  private var people: [Person] = []

  /// - Parameter file: Of one model: embeddings of another mean nothing to it.
  public init(file: URL, embeddingSize: Int) throws {
    self.file = file
    self.embeddingSize = embeddingSize
    if FileManager.default.fileExists(atPath: file.path) {
      people = try JSONDecoder().decode([Person].self, from: Data(contentsOf: file))
    }
  }

  public var names: [String] { Array(Set(people.map(\.name))).sorted() }

  /// How many embeddings are searched: several of a person are possible.
  public var count: Int { people.count }

  public func enroll(_ name: String, _ embedding: [Float]) throws {
    let name = name.trimmingCharacters(in: .whitespacesAndNewlines)
    guard !name.isEmpty else { throw FaceError("A person needs a name.") }
    guard embedding.count == embeddingSize else {
      throw FaceError("An embedding has \(embeddingSize) numbers, received \(embedding.count).")
    }
    people.append(Person(name: name, embedding: embedding))
    try JSONEncoder().encode(people).write(to: file, options: .atomic)
  }

  /// The person most alike, or nil where nobody reaches the threshold.
  public func search(_ embedding: [Float], threshold: Double) -> Match? {
    people.map { Match(name: $0.name, cosine: cosine($0.embedding, embedding)) }
      .max { $0.cosine < $1.cosine }
      .flatMap { $0.cosine >= threshold ? $0 : nil }
  }

  public func erase() throws {
    people = []
    if FileManager.default.fileExists(atPath: file.path) { try FileManager.default.removeItem(at: file) }
  }
}
