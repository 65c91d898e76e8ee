package kerasmargin.faces

import java.io.DataInputStream
import java.io.DataOutputStream
import java.io.File

class Match(val name: String, val cosine: Double)

/**
 * The people one looks for: names and embeddings, in one file that is the app's alone. Not for several threads.
 *
 * @param file Of one model: embeddings of another mean nothing to it.
 */
class Gallery(private val file: File, private val embeddingSize: Int) {
  private val temporary = File(file.path + ".new")
  private val people = mutableListOf<Pair<String, FloatArray>>()

  val names: List<String> get() = people.map { it.first }.distinct()

  /** How many embeddings are searched: several of a person are possible. */
  val size: Int get() = people.size

  init {
    if (file.exists()) {
      DataInputStream(file.inputStream().buffered()).use { stream ->
        repeat(stream.readInt()) { people.add(stream.readUTF() to FloatArray(embeddingSize) { stream.readFloat() }) }
      }
    }
  }

  fun enroll(name: String, embedding: FloatArray) {
    require(name.isNotBlank()) { "A person needs a name" }
    require(embedding.size == embeddingSize) { "An embedding has $embeddingSize numbers, received ${embedding.size}" }
    people.add(name.trim() to embedding.copyOf())
    save()
  }

  /** The person most alike, or null where nobody reaches the threshold. */
  fun search(embedding: FloatArray, threshold: Double): Match? =
    people.map { Match(it.first, cosine(it.second, embedding)) }
      .sortedByDescending { it.cosine }
      .firstOrNull { it.cosine >= threshold }

  /** Raises IllegalStateException where a file cannot be deleted. */
  fun erase() {
    people.clear()
    for (each in listOf(file, temporary)) {
      check(each.delete() || !each.exists()) { "The gallery's file cannot be deleted: ${each.path}" }
    }
  }

  private fun save() {
    DataOutputStream(temporary.outputStream().buffered()).use { stream ->
      stream.writeInt(people.size)
      for ((name, embedding) in people) {
        stream.writeUTF(name)
        embedding.forEach { stream.writeFloat(it) }
      }
    }
    check(temporary.renameTo(file)) { "The gallery cannot be written to ${file.path}" }
  }
}
