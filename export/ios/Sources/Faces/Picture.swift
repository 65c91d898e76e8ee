import CoreGraphics
import FaceArithmetic
import Foundation

/// Pixels of a picture, RGBA, row by row from the top left.
struct Picture {
  let width: Int
  let height: Int
  let rgba: [UInt8]

  /// Draws an image, already upright, into sRGB bytes. A UIImage from the camera has to be turned by its orientation first.
  init(_ image: CGImage) throws {
    width = image.width
    height = image.height
    var bytes = [UInt8](repeating: 0, count: image.width * image.height * 4)
    let drawn = bytes.withUnsafeMutableBytes { memory -> Bool in
      guard
        let space = CGColorSpace(name: CGColorSpace.sRGB),
        let context = CGContext(
          data: memory.baseAddress, width: image.width, height: image.height, bitsPerComponent: 8,
          bytesPerRow: image.width * 4, space: space, bitmapInfo: CGImageAlphaInfo.noneSkipLast.rawValue)
      else { return false }
      context.draw(image, in: CGRect(x: 0, y: 0, width: image.width, height: image.height))
      return true
    }
    guard drawn else { throw FaceError("This image cannot be drawn as RGB.") }
    rgba = bytes
  }
}
