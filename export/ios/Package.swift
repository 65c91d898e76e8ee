// swift-tools-version: 5.9

import PackageDescription

let package = Package(
  name: "Faces",
  platforms: [.iOS(.v15), .macOS(.v12)],
  products: [.library(name: "Faces", targets: ["Faces"])],
  dependencies: [
    // A branch: its linker flags keep SwiftPM from taking a version. Pin a revision in an app.
    .package(url: "https://github.com/google-ai-edge/LiteRT.git", branch: "main")
  ],
  targets: [
    // Foundation alone.
    .target(name: "FaceArithmetic"),
    .target(
      name: "Faces",
      dependencies: ["FaceArithmetic", .product(name: "LiteRT", package: "LiteRT")]),
    .testTarget(name: "FaceArithmeticTests", dependencies: ["FaceArithmetic"]),
  ]
)
