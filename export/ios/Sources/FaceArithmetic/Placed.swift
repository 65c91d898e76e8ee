import Foundation

/// A photograph at the top left of a canvas, shrunk by area means where it is larger.
public struct Placed {
  /// Bytes of the canvas, height x width x 3, black beyond the photograph.
  public let rgb: [UInt8]
  /// Of the photograph on the canvas.
  public let height: Int
  public let width: Int
  private let factorX: Double
  private let factorY: Double

  /// - Parameter rgba: Bytes of an upright photograph, height x width x 4, row by row from the top left.
  public init(rgba: [UInt8], height: Int, width: Int, canvasHeight: Int, canvasWidth: Int) {
    precondition(height > 0 && width > 0 && rgba.count == height * width * 4, "height x width pixels are needed")
    let scale = min(1, min(Double(canvasHeight) / Double(height), Double(canvasWidth) / Double(width)))
    let rows = min(canvasHeight, max(1, Int((Double(height) * scale).rounded(.toNearestOrEven))))
    let columns = min(canvasWidth, max(1, Int((Double(width) * scale).rounded(.toNearestOrEven))))
    var bytes = [UInt8](repeating: 0, count: canvasHeight * canvasWidth * 3)
    for channel in 0..<3 {
      let plane = (0..<(height * width)).map { Float(rgba[$0 * 4 + channel]) }
      let turned = Placed.transposedMeans(plane, rows: height, columns: width, count: rows)
      let small = Placed.transposedMeans(turned, rows: width, columns: rows, count: columns)
      for row in 0..<rows {
        for column in 0..<columns {
          let value = small[row * columns + column].rounded(.toNearestOrEven)
          bytes[(row * canvasWidth + column) * 3 + channel] = UInt8(value)
        }
      }
    }
    rgb = bytes
    self.height = rows
    self.width = columns
    factorX = Double(width) / Double(columns)
    factorY = Double(height) / Double(rows)
  }

  /// From the canvas to the photograph; (0, 0) is the centre of the first pixel of either.
  public func x(_ onCanvas: Float) -> Double { (Double(onCanvas) + 0.5) * factorX - 0.5 }

  public func y(_ onCanvas: Float) -> Double { (Double(onCanvas) + 0.5) * factorY - 0.5 }

  /// Means over `count` equal stretches of the rows of a plane, rows x columns; a row that two stretches share is divided.
  /// The result is columns x count, so that twice is both axes.
  private static func transposedMeans(_ plane: [Float], rows: Int, columns: Int, count: Int) -> [Float] {
    var means = [Float](repeating: 0, count: columns * count)
    let stretch = Double(rows) / Double(count)
    for place in 0..<count {
      let start = Double(place) * stretch
      let end = start + stretch
      for column in 0..<columns {
        var sum = 0.0
        var row = Int(start)
        while row < rows && Double(row) < end - 1e-9 {
          let weight = min(Double(row + 1), end) - max(Double(row), start)
          sum += weight * Double(plane[row * columns + column])
          row += 1
        }
        means[column * count + place] = Float(sum / stretch)
      }
    }
    return means
  }
}
