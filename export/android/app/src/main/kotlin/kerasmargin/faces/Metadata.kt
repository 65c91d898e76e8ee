package kerasmargin.faces

/** A canvas of the file, and the names of its two signatures. */
class PhotoCanvas(val height: Int, val width: Int, val detect: String, val embed: String)

/** What face.tflite.json says of its file. */
class Metadata(
  val canvas: PhotoCanvas,
  val faces: Int,
  val embeddingSize: Int,
  val threshold: Double?,
  val calibration: Calibration?,
  val search: SearchThresholds?,
  val modelId: String?
) {
  /** At the calibration's two thresholds, or at the file's only one; null where it has none. */
  fun verdict(cosine: Double): Verdict? {
    calibration?.zone?.let { return it.verdict(cosine) }
    return threshold?.let { if (cosine >= it) Verdict.SAME else Verdict.DIFFERENT }
  }

  /**
   * From which cosine the best of so many enrolled embeddings gets a name: by the file's table of searches, or where it
   * has none as for two faces, which does not know how many are searched; null where the file has no threshold.
   */
  fun searchThreshold(embeddings: Int): Double? =
    search?.threshold(embeddings, MOST_STRANGERS) ?: calibration?.zone?.sameFrom ?: threshold

  companion object {
    // A name is given to at most this share of strangers.
    private const val MOST_STRANGERS = 0.01

    fun parse(text: String): Metadata {
      val all = asMap(Json.parse(text))
      val photo = all["photo"] as? Map<*, *>
        ?: throw IllegalArgumentException("The file takes aligned faces alone: export it with --photo")
      val first = asMap((photo["canvases"] as List<*>).first())
      return Metadata(
        PhotoCanvas(asInt(first["height"]), asInt(first["width"]), first["detect"] as String, first["embed"] as String),
        asInt(photo["faces"]),
        asInt(asMap(all["embedding"])["size"]),
        (all["threshold"] as? Map<*, *>)?.let { it["cosine"] as Double },
        (all["calibration"] as? Map<*, *>)?.let { calibration(it) },
        (all["search"] as? Map<*, *>)?.let { SearchThresholds(doubles(it["far"]), doubles(it["cosine"])) },
        all["model_id"] as String?
      )
    }

    private fun calibration(found: Map<*, *>): Calibration {
      val zone = found["zone"] as? Map<*, *>
      return Calibration(
        doubles(found["cosine"]),
        doubles(found["llr"]),
        found["prior"] as Double,
        zone?.let { Zone(it["different_below"] as Double, it["same_from"] as Double) }
      )
    }

    private fun asMap(value: Any?) = value as Map<*, *>

    private fun asInt(value: Any?) = (value as Double).toInt()

    private fun doubles(value: Any?) = (value as List<*>).map { it as Double }.toDoubleArray()
  }
}
