package kerasmargin.faces

import android.Manifest
import android.graphics.Bitmap
import android.graphics.ImageDecoder
import android.graphics.Matrix
import android.net.Uri
import android.os.Bundle
import android.view.View
import android.widget.Button
import android.widget.EditText
import android.widget.LinearLayout
import android.widget.TextView
import androidx.activity.ComponentActivity
import androidx.activity.result.contract.ActivityResultContracts
import androidx.camera.core.CameraSelector
import androidx.camera.core.ImageAnalysis
import androidx.camera.lifecycle.ProcessCameraProvider
import java.io.File
import java.util.concurrent.Executors
import kotlin.math.max
import kotlin.math.min

// A photograph of more pixels a side is shrunk while it is decoded.
private const val MOST_SIDE = 2048

/** Camera or picked photograph -> faces framed and named -> compare two, or enroll somebody. Nothing leaves the device. */
class MainActivity : ComponentActivity() {
  // Model and gallery belong to this thread alone.
  private val worker = Executors.newSingleThreadExecutor()
  private lateinit var model: FaceModel
  private lateinit var gallery: Gallery
  private var cameras: ProcessCameraProvider? = null
  private var largest: FloatArray? = null
  private var first: FloatArray? = null

  private lateinit var frame: FrameView
  private lateinit var status: TextView
  private lateinit var name: EditText

  private val askForCamera =
    registerForActivityResult(ActivityResultContracts.RequestPermission()) { granted: Boolean ->
      if (granted) startCamera() else say("The camera was not allowed: pick a picture.")
    }
  private val pick = registerForActivityResult(ActivityResultContracts.GetContent()) { uri: Uri? ->
    if (uri != null) open(uri)
  }

  override fun onCreate(savedInstanceState: Bundle?) {
    super.onCreate(savedInstanceState)
    buildViews()
    worker.execute {
      guarded {
        model = FaceModel(this)
        gallery = Gallery(File(filesDir, "people-${model.id}"), model.metadata.embeddingSize)
        say(enrolled())
      }
    }
  }

  override fun onDestroy() {
    super.onDestroy()
    cameras?.unbindAll()
    worker.execute { if (::model.isInitialized) model.close() }
    worker.shutdown()
  }

  private fun buildViews() {
    frame = FrameView(this)
    status = TextView(this)
    name = EditText(this)
    name.hint = "Name"
    val buttons = LinearLayout(this)
    listOf<Pair<String, () -> Unit>>(
      "Camera" to { askForCamera.launch(Manifest.permission.CAMERA) },
      "Picture" to { pick.launch("image/*") },
      "Compare" to { inBackground { compare() } },
      "Enroll" to { val who = name.text.toString(); inBackground { enroll(who) } },
      "Erase" to { inBackground { erase() } }
    ).forEach { (label, action) ->
      val button = Button(this)
      button.text = label
      button.setOnClickListener { action() }
      buttons.addView(button, LinearLayout.LayoutParams(0, LinearLayout.LayoutParams.WRAP_CONTENT, 1f))
    }
    val all = LinearLayout(this)
    all.orientation = LinearLayout.VERTICAL
    all.addView(frame, LinearLayout.LayoutParams(LinearLayout.LayoutParams.MATCH_PARENT, 0, 1f))
    listOf<View>(status, name, buttons).forEach { all.addView(it) }
    setContentView(all)
  }

  private fun startCamera() {
    val future = ProcessCameraProvider.getInstance(this)
    future.addListener(
      Runnable {
        val frames = ImageAnalysis.Builder().setBackpressureStrategy(ImageAnalysis.STRATEGY_KEEP_ONLY_LATEST).build()
        frames.setAnalyzer(
          worker,
          ImageAnalysis.Analyzer { image ->
            guarded {
              // The sensor's pixels: the turn to upright comes with them.
              val picture = try { turned(image.toBitmap(), image.imageInfo.rotationDegrees) } finally { image.close() }
              whenLoaded { look(picture) }
            }
          }
        )
        cameras = future.get()
        cameras?.unbindAll()
        cameras?.bindToLifecycle(this, CameraSelector.DEFAULT_FRONT_CAMERA, frames)
      },
      mainExecutor
    )
  }

  private fun open(uri: Uri) {
    cameras?.unbindAll()
    inBackground {
      // Upright by EXIF, in memory that getPixels can read.
      val picture = ImageDecoder.decodeBitmap(
        ImageDecoder.createSource(contentResolver, uri),
        ImageDecoder.OnHeaderDecodedListener { decoder, info, _ ->
          decoder.setAllocator(ImageDecoder.ALLOCATOR_SOFTWARE)
          val scale = min(1.0, MOST_SIDE.toDouble() / max(info.size.width, info.size.height))
          decoder.setTargetSize(max(1, (info.size.width * scale).toInt()), max(1, (info.size.height * scale).toInt()))
        }
      )
      look(picture)
    }
  }

  private fun turned(picture: Bitmap, degrees: Int): Bitmap {
    if (degrees == 0) return picture
    val turn = Matrix()
    turn.postRotate(degrees.toFloat())
    return Bitmap.createBitmap(picture, 0, 0, picture.width, picture.height, turn, true)
  }

  /** Frames the faces of a picture, each with the name of who it is. */
  private fun look(picture: Bitmap) {
    val faces = model.faces(picture)
    largest = faces.firstOrNull()?.embedding
    val threshold = model.metadata.searchThreshold(max(1, gallery.size))
    val labelled = faces.map { face ->
      val match = threshold?.let { gallery.search(face.embedding, it) }
      face.box to (match?.let { "%s %.2f".format(it.name, it.cosine) } ?: "?")
    }
    runOnUiThread { frame.show(picture, labelled) }
  }

  /** The first press keeps the largest face, the second compares with it. */
  private fun compare() {
    val face = largest ?: return say("No face is shown.")
    val kept = first
    if (kept == null) {
      first = face
      return say("Kept. Show the other face and press Compare again.")
    }
    first = null
    val score = cosine(kept, face)
    val about = model.metadata
    val probability = about.calibration?.let { ", one person with %.1f %%".format(100 * it.probability(score)) } ?: ""
    val verdict = when (about.verdict(score)) {
      Verdict.SAME -> "the same person"
      Verdict.DIFFERENT -> "different people"
      Verdict.ASK -> "a person should look"
      null -> "no verdict: the file has no threshold"
    }
    say("Cosine %.3f%s: %s.".format(score, probability, verdict))
  }

  private fun enroll(who: String) {
    val face = largest ?: return say("No face is shown.")
    gallery.enroll(who, face)
    say(enrolled())
  }

  /** How many people there are, and what a name rests on. */
  private fun enrolled() =
    "${gallery.names.size} people are enrolled." + when {
      model.metadata.search != null -> ""
      model.metadata.searchThreshold(1) == null -> " The file has no threshold: nobody gets a name."
      else -> " Names rest on the threshold for two faces: the more are enrolled, the more often a stranger gets one."
    }

  private fun erase() {
    gallery.erase()
    say("Nobody is enrolled.")
  }

  private fun inBackground(action: () -> Unit) = worker.execute { whenLoaded(action) }

  /** Nothing where loading failed: what was said of that stays. */
  private fun whenLoaded(action: () -> Unit) {
    if (::model.isInitialized && ::gallery.isInitialized) guarded(action)
  }

  /** Says what went wrong instead of ending the app: a file without photographs, a name that is missing. */
  private fun guarded(action: () -> Unit) {
    try {
      action()
    } catch (error: Exception) {
      say(error.message ?: error.toString())
    }
  }

  private fun say(text: String) = runOnUiThread { status.text = text }
}
