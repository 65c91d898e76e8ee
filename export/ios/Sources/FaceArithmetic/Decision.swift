import Foundation

/// Raised for what a caller can correct.
public struct FaceError: Error, CustomStringConvertible {
  public let description: String

  public init(_ description: String) {
    self.description = description
  }
}

/// Cosine of two embeddings of one model, in [-1, 1]; 0 where either has no length.
public func cosine(_ one: [Float], _ other: [Float]) -> Double {
  precondition(one.count == other.count, "embeddings of two models")
  var (product, first, second) = (0.0, 0.0, 0.0)
  for (a, b) in zip(one, other) {
    product += Double(a) * Double(b)
    first += Double(a) * Double(a)
    second += Double(b) * Double(b)
  }
  guard first > 0, second > 0 else { return 0 }
  return min(max(product / (first * second).squareRoot(), -1), 1)
}

public enum Verdict: String {
  case same, different, ask
}

/// Two thresholds; between them a person should look.
public struct Zone: Codable {
  public let differentBelow: Double
  public let sameFrom: Double

  enum CodingKeys: String, CodingKey {
    case differentBelow = "different_below"
    case sameFrom = "same_from"
  }

  public func verdict(_ cosine: Double) -> Verdict {
    cosine >= sameFrom ? .same : cosine < differentBelow ? .different : .ask
  }
}

/// What a cosine is worth: the log-likelihood ratio by straight lines between knots, level beyond the last.
public struct Calibration: Codable {
  public let cosine: [Double]
  public let llr: [Double]
  public let prior: Double
  public let zone: Zone?

  /// Probability that two faces are one person's.
  public func probability(_ score: Double, prior: Double? = nil) -> Double {
    let before = prior ?? self.prior
    let odds = logLikelihoodRatio(score) + log(before) - log(1 - before)
    return odds >= 0 ? 1 / (1 + exp(-odds)) : exp(odds) / (1 + exp(odds))
  }

  func check() throws {
    let rising = zip(cosine, cosine.dropFirst()).allSatisfy { $0 < $1 }
    guard !cosine.isEmpty, cosine.count == llr.count, rising, prior > 0, prior < 1 else {
      throw FaceError("The file's calibration is damaged. Calibrate it again.")
    }
  }

  private func logLikelihoodRatio(_ score: Double) -> Double {
    guard let right = cosine.firstIndex(where: { $0 >= score }) else { return llr[llr.count - 1] }
    if right == 0 { return llr[0] }
    let part = (score - cosine[right - 1]) / (cosine[right] - cosine[right - 1])
    return llr[right - 1] + part * (llr[right] - llr[right - 1])
  }
}

/// The threshold of a search among many: the more are searched, the more often a stranger is like one of them.
public struct SearchThresholds: Decodable {
  public let far: [Double]
  public let cosine: [Double]

  /// The cosine from which the best of so many embeddings gets a name, where at most this share of strangers is to get
  /// one; the strictest of the table where it does not reach that share.
  public func threshold(_ embeddings: Int, rate: Double) -> Double {
    let heights = far.map { -log($0 == 1 ? 1 : -expm1(Double(embeddings) * log1p(-$0))) }
    let wanted = -log(rate)
    guard let above = heights.firstIndex(where: { $0 > wanted }) else { return cosine[cosine.count - 1] }
    if above == 0 { return cosine[0] }
    let part = (wanted - heights[above - 1]) / (heights[above] - heights[above - 1])
    return cosine[above - 1] + part * (cosine[above] - cosine[above - 1])
  }

  func check() throws {
    let falling = zip(far, far.dropFirst()).allSatisfy { $0 > $1 }
    let rising = zip(cosine, cosine.dropFirst()).allSatisfy { $0 <= $1 }
    guard let first = far.first, let last = far.last, far.count == cosine.count, falling, rising, first <= 1, last > 0 else {
      throw FaceError("The file's search thresholds are damaged. Calibrate it again.")
    }
  }
}
