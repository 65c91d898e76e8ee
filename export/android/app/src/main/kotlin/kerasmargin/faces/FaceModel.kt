package kerasmargin.faces

import android.content.Context
import android.graphics.Bitmap
import android.graphics.RectF
import java.nio.ByteBuffer
import java.nio.ByteOrder
import java.security.MessageDigest
import org.tensorflow.lite.Interpreter

/** A face of a picture: its box in pixels of the picture, and its embedding. */
class Face(val box: RectF, val score: Float, val embedding: FloatArray)

/**
 * A file of `keras-margin export --photo`: finds, aligns and embeds faces by its signatures `detect` and `embed`.
 *
 * Its buffers are shared between calls: use it from one thread at a time, and off the main one.
 */
class FaceModel(context: Context, asset: String = "face.tflite") : AutoCloseable {
  val metadata = Metadata.parse(context.assets.open("$asset.json").use { it.readBytes() }.toString(Charsets.UTF_8))

  /** Whose embeddings these are: SHA-256 of the file as it was exported. */
  val id: String
  private val interpreter: Interpreter
  private val photo = bytes(metadata.canvas.height * metadata.canvas.width * 3)
  private val size = bytes(2 * 4)
  private val points = bytes(10 * 4)
  private val boxes = bytes(metadata.faces * 4 * 4)
  private val allPoints = bytes(metadata.faces * 10 * 4)
  private val scores = bytes(metadata.faces * 4)
  private val count = bytes(4)
  private val embedding = bytes(metadata.embeddingSize * 4)

  init {
    val file = context.assets.open(asset).use { it.readBytes() }
    id = metadata.modelId ?: MessageDigest.getInstance("SHA-256").digest(file).joinToString("") { "%02x".format(it) }
    val model = bytes(file.size)
    model.put(file)
    model.rewind()
    interpreter = Interpreter(model, Interpreter.Options().setNumThreads(2))
  }

  /** The faces of an upright picture, the largest first. */
  fun faces(picture: Bitmap): List<Face> {
    val argb = IntArray(picture.width * picture.height)
    picture.getPixels(argb, 0, picture.width, 0, 0, picture.width, picture.height)
    val canvas = metadata.canvas
    val placed = Placed.of(argb, picture.height, picture.width, canvas.height, canvas.width)
    photo.clear()
    photo.put(placed.rgb)
    size.asIntBuffer().put(intArrayOf(placed.height, placed.width))
    run(
      canvas.detect,
      mapOf("photo" to photo, "size" to size),
      mapOf("boxes" to boxes, "points" to allPoints, "scores" to scores, "count" to count)
    )
    return (0 until count.asIntBuffer().get(0)).map { face ->
      val four = floats(boxes, face * 4, 4)
      Face(
        RectF(
          placed.x(four[0]).toFloat(),
          placed.y(four[1]).toFloat(),
          placed.x(four[2]).toFloat(),
          placed.y(four[3]).toFloat()
        ),
        scores.asFloatBuffer().get(face),
        embed(floats(allPoints, face * 10, 10))
      )
    }
  }

  /** Embeds the face of the picture that `photo` and `size` hold. */
  private fun embed(five: FloatArray): FloatArray {
    points.asFloatBuffer().put(five)
    run(
      metadata.canvas.embed,
      mapOf("photo" to photo, "size" to size, "points" to points),
      mapOf("embedding" to embedding)
    )
    return floats(embedding, 0, metadata.embeddingSize)
  }

  private fun run(signature: String, inputs: Map<String, ByteBuffer>, outputs: Map<String, ByteBuffer>) {
    val all = inputs.values + outputs.values
    all.forEach { it.rewind() }
    interpreter.runSignature(inputs, outputs, signature)
    all.forEach { it.rewind() }
  }

  override fun close() = interpreter.close()

  private fun bytes(count: Int) = ByteBuffer.allocateDirect(count).order(ByteOrder.nativeOrder())

  private fun floats(buffer: ByteBuffer, from: Int, count: Int): FloatArray {
    val all = buffer.asFloatBuffer()
    return FloatArray(count) { all.get(from + it) }
  }
}
