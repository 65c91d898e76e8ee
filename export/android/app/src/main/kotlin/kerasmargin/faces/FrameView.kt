package kerasmargin.faces

import android.content.Context
import android.graphics.Bitmap
import android.graphics.Canvas
import android.graphics.Color
import android.graphics.Paint
import android.graphics.RectF
import android.view.View
import kotlin.math.min

/** A picture with its faces framed and named. */
class FrameView(context: Context) : View(context) {
  private val frame = Paint()
  private val text = Paint()
  private var picture: Bitmap? = null
  private var labelled: List<Pair<RectF, String>> = emptyList()

  init {
    frame.color = Color.YELLOW
    frame.style = Paint.Style.STROKE
    frame.strokeWidth = 6f
    text.color = Color.YELLOW
    text.textSize = 48f
  }

  fun show(picture: Bitmap, labelled: List<Pair<RectF, String>>) {
    this.picture = picture
    this.labelled = labelled
    invalidate()
  }

  override fun onDraw(canvas: Canvas) {
    super.onDraw(canvas)
    val shown = picture ?: return
    val scale = min(width.toFloat() / shown.width, height.toFloat() / shown.height)
    val left = (width - shown.width * scale) / 2
    val top = (height - shown.height * scale) / 2
    canvas.drawBitmap(shown, null, RectF(left, top, left + shown.width * scale, top + shown.height * scale), null)
    for ((box, label) in labelled) {
      // A box counts from the centre of the first pixel.
      val x = left + (box.left + 0.5f) * scale
      val y = top + (box.top + 0.5f) * scale
      canvas.drawRect(x, y, left + (box.right + 0.5f) * scale, top + (box.bottom + 0.5f) * scale, frame)
      canvas.drawText(label, x, y - 10, text)
    }
  }
}
