package kerasmargin.faces

import kotlin.math.exp
import kotlin.math.expm1
import kotlin.math.ln
import kotlin.math.ln1p
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

/** The threshold of a search among many: the more are searched, the more often a stranger is like one of them. */
class SearchThresholds(val far: DoubleArray, val cosine: DoubleArray) {
  init {
    require(far.isNotEmpty() && far.size == cosine.size) { "Search thresholds need as many rates as cosines" }
    val steps = 1 until far.size
    require(steps.all { far[it] < far[it - 1] && cosine[it] >= cosine[it - 1] } && far.first() <= 1 && far.last() > 0) {
      "The rates of search thresholds must fall in (0, 1], and their cosines must not"
    }
  }

  /**
   * The cosine from which the best of so many embeddings gets a name, where at most this share of strangers is to get
   * one; the strictest of the table where it does not reach that share.
   */
  fun threshold(embeddings: Int, rate: Double): Double {
    val heights = far.map { -ln(if (it == 1.0) 1.0 else -expm1(embeddings * ln1p(-it))) }
    val wanted = -ln(rate)
    val above = heights.indexOfFirst { it > wanted }
    if (above == -1) return cosine.last()
    if (above == 0) return cosine.first()
    val part = (wanted - heights[above - 1]) / (heights[above] - heights[above - 1])
    return cosine[above - 1] + part * (cosine[above] - cosine[above - 1])
  }
}
