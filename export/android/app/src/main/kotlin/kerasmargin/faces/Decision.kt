package kerasmargin.faces

import kotlin.math.exp
import kotlin.math.ln
import kotlin.math.sqrt

/** Cosine of two embeddings, in [-1, 1]; 0 where either has no length. */
fun cosine(one: FloatArray, other: FloatArray): Double {
  require(one.size == other.size) { "Embeddings of ${one.size} and ${other.size} numbers are of two models" }
  var product = 0.0
  var first = 0.0
  var second = 0.0
  for (at in one.indices) {
    product += one[at].toDouble() * other[at]
    first += one[at].toDouble() * one[at]
    second += other[at].toDouble() * other[at]
  }
  return if (first > 0 && second > 0) (product / sqrt(first * second)).coerceIn(-1.0, 1.0) else 0.0
}

enum class Verdict { SAME, DIFFERENT, ASK }

/** Two thresholds; between them a person should look. */
class Zone(val differentBelow: Double, val sameFrom: Double) {
  fun verdict(cosine: Double) =
    if (cosine >= sameFrom) Verdict.SAME else if (cosine < differentBelow) Verdict.DIFFERENT else Verdict.ASK
}

/** What a cosine is worth: the log-likelihood ratio by straight lines between knots, level beyond the last. */
class Calibration(val cosine: DoubleArray, val llr: DoubleArray, val prior: Double, val zone: Zone?) {
  init {
    require(cosine.isNotEmpty() && cosine.size == llr.size) { "A calibration needs as many cosines as ratios" }
    require((1 until cosine.size).all { cosine[it] > cosine[it - 1] }) { "A calibration's cosines must rise" }
    require(prior > 0 && prior < 1) { "A prior must be in (0, 1), is $prior" }
  }

  /** Probability that two faces are one person's. */
  fun probability(score: Double, prior: Double = this.prior): Double {
    val odds = logLikelihoodRatio(score) + ln(prior) - ln(1 - prior)
    return if (odds >= 0) 1 / (1 + exp(-odds)) else exp(odds) / (1 + exp(odds))
  }

  private fun logLikelihoodRatio(score: Double): Double {
    val right = cosine.indexOfFirst { it >= score }
    if (right == -1) return llr.last()
    if (right == 0) return llr.first()
    val part = (score - cosine[right - 1]) / (cosine[right] - cosine[right - 1])
    return llr[right - 1] + part * (llr[right] - llr[right - 1])
  }
}
