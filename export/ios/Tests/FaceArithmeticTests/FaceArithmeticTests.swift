import XCTest

@testable import FaceArithmetic

final class FaceArithmeticTests: XCTestCase {
  private let json = """
    {"image": {"height": 112, "width": 96}, "embedding": {"size": 24}, "threshold": {"cosine": 0.35},
     "photo": {"canvases": [{"height": 24, "width": 32, "detect": "detect", "embed": "embed"}], "faces": 8},
     "search": {"far": [1.0, 1e-2, 1e-4, 1e-6], "cosine": [-1.0, 0.2, 0.4, 0.6], "measured_to": 1e-4},
     "calibration": {"cosine": [0.0, 0.2, 0.5], "llr": [-6.5, -0.001, 7.25], "prior": 0.5,
       "zone": {"different_below": 0.1, "same_from": 0.3, "far": 0.001, "frr": 0.01}}}
    """

  // Cosine, probability at even odds, at a prior of 0.01. The tests of keras-margin hold these rows to its own numbers.
  private let probabilities: [[Double]] = [
    [-1, 0.0015011822567369915, 1.5186023855698194e-05],
    [0.0, 0.0015011822567369915, 1.5186023855698194e-05],
    [0.1, 0.037308924704506204, 0.0003913097013591207],
    [0.25, 0.769856303965535, 0.03268462328766361],
    [0.3, 0.9180392747125928, 0.1016412664898662],
    [0.5, 0.9992903296008995, 0.934311139587978],
    [0.61, 0.9992903296008995, 0.934311139587978],
  ]

  func testProbabilitiesAreTheLibrarys() throws {
    let calibration = try XCTUnwrap(Metadata(json: Data(json.utf8)).calibration)
    for row in probabilities {
      XCTAssertEqual(calibration.probability(row[0]), row[1], accuracy: 1e-12)
      XCTAssertEqual(calibration.probability(row[0], prior: 0.01), row[2], accuracy: 1e-12)
    }
  }

  func testVerdictsFallAtTheTwoThresholds() throws {
    let metadata = try Metadata(json: Data(json.utf8))
    XCTAssertEqual([0.09, 0.1, 0.29, 0.3].map { metadata.verdict($0) }, [.different, .ask, .ask, .same])
  }

  // Embeddings, threshold at a rate of 0.01. The tests of keras-margin hold these rows to its own numbers.
  private let searches: [[Double]] = [
    [1, 0.2],
    [50, 0.36817863201488166],
    [1000, 0.4989018039191023],
  ]

  func testASearchsThresholdIsTheLibrarys() throws {
    let metadata = try Metadata(json: Data(json.utf8))
    for row in searches {
      XCTAssertEqual(try XCTUnwrap(metadata.searchThreshold(embeddings: Int(row[0]))), row[1], accuracy: 1e-12)
    }
    // Beyond the table its strictest; without a table the threshold for two faces.
    XCTAssertEqual(metadata.searchThreshold(embeddings: 100_000), 0.6)
    let plain = try Metadata(json: Data(json.replacingOccurrences(of: "search", with: "none").utf8))
    XCTAssertEqual(plain.searchThreshold(embeddings: 50), 0.3)
  }

  func testAFileWithoutPhotographsIsRefused() {
    XCTAssertThrowsError(try Metadata(json: Data(#"{"embedding": {"size": 24}}"#.utf8)))
  }

  func testCosines() {
    XCTAssertEqual(cosine([3, 4], [4, 3]), 0.96, accuracy: 1e-12)
    XCTAssertEqual(cosine([3, 4], [0, 0]), 0)
  }

  func testALargePictureIsShrunkByAreaMeans() {
    // 2 x 4 onto 1 x 2: means of 2 x 2 pixels; 2.5 becomes 2 and 5.5 becomes 6, as NumPy rounds.
    let rgba: [UInt8] = [1, 2, 4, 5, 3, 4, 6, 7].flatMap { [$0, 10, 20, 255] }
    let placed = Placed(rgba: rgba, height: 2, width: 4, canvasHeight: 2, canvasWidth: 2)
    XCTAssertEqual(placed.rgb, [2, 10, 20, 6, 10, 20, 0, 0, 0, 0, 0, 0])
    XCTAssertEqual([placed.height, placed.width], [1, 2])
    XCTAssertEqual([placed.x(1), placed.y(0)], [2.5, 0.5])
  }

  func testTheGalleryComesBackAndIsErased() throws {
    let file = FileManager.default.temporaryDirectory.appendingPathComponent(UUID().uuidString)
    try Gallery(file: file, embeddingSize: 2).enroll(" Ada ", [3, 4])
    let gallery = try Gallery(file: file, embeddingSize: 2)
    XCTAssertEqual(gallery.count, 1)
    XCTAssertEqual(gallery.search([4, 3], threshold: 0.9)?.name, "Ada")
    XCTAssertNil(gallery.search([4, 3], threshold: 0.97))
    try gallery.erase()
    XCTAssertEqual(try Gallery(file: file, embeddingSize: 2).names, [])
  }
}
