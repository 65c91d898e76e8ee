package kerasmargin.faces

import kotlin.math.max
import kotlin.math.min
import kotlin.math.round

/**
 * A photograph at the top left of a canvas, shrunk by area means where it is larger.
 *
 * @property rgb Bytes of the canvas, height x width x 3, black beyond the photograph.
 * @property height Of the photograph on the canvas, likewise width.
 * @property factorX Pixels of the photograph for each of the canvas along x, likewise factorY.
 */
class Placed private constructor(
  val rgb: ByteArray,
  val height: Int,
  val width: Int,
  private val factorX: Double,
  private val factorY: Double
) {
  /** From the canvas to the photograph; (0, 0) is the centre of the first pixel of either. */
  fun x(onCanvas: Float) = (onCanvas + 0.5) * factorX - 0.5

  fun y(onCanvas: Float) = (onCanvas + 0.5) * factorY - 0.5

  companion object {
    /** @param argb One integer a pixel, row by row, as Bitmap.getPixels gives them. */
    fun of(argb: IntArray, height: Int, width: Int, canvasHeight: Int, canvasWidth: Int): Placed {
      require(height > 0 && width > 0 && argb.size == height * width) { "A picture needs height x width pixels" }
      val scale = min(1.0, min(canvasHeight.toDouble() / height, canvasWidth.toDouble() / width))
      val rows = min(canvasHeight, max(1, round(height * scale).toInt()))
      val columns = min(canvasWidth, max(1, round(width * scale).toInt()))
      val rgb = ByteArray(canvasHeight * canvasWidth * 3)
      val plane = FloatArray(height * width)
      for (channel in 0 until 3) {
        for (at in argb.indices) plane[at] = (argb[at] shr (16 - 8 * channel) and 0xff).toFloat()
        val small = transposedMeans(transposedMeans(plane, height, width, rows), width, rows, columns)
        for (row in 0 until rows) {
          for (column in 0 until columns) {
            rgb[(row * canvasWidth + column) * 3 + channel] = round(small[row * columns + column].toDouble()).toInt().toByte()
          }
        }
      }
      return Placed(rgb, rows, columns, width.toDouble() / columns, height.toDouble() / rows)
    }

    /**
     * Means over `count` equal stretches of the rows of a plane, rows x columns; a row that two stretches share is divided.
     * The result is columns x count, so that twice is both axes.
     */
    private fun transposedMeans(plane: FloatArray, rows: Int, columns: Int, count: Int): FloatArray {
      val means = FloatArray(columns * count)
      val stretch = rows.toDouble() / count
      for (place in 0 until count) {
        val start = place * stretch
        val end = start + stretch
        for (column in 0 until columns) {
          var sum = 0.0
          var row = start.toInt()
          while (row < rows && row < end - 1e-9) {
            sum += (min(row + 1.0, end) - max(row.toDouble(), start)) * plane[row * columns + column]
            row++
          }
          means[column * count + place] = (sum / stretch).toFloat()
        }
      }
      return means
    }
  }
}
