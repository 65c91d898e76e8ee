package kerasmargin.faces

/**
 * Reads JSON into maps, lists, strings, doubles, booleans and null.
 *
 * Android's org.json would do, but this also runs where there is no Android: in the tests of keras-margin.
 */
class Json private constructor(private val text: String) {
  private var at = 0

  companion object {
    fun parse(text: String): Any? {
      val json = Json(text)
      val value = json.value()
      json.space()
      if (json.at != text.length) json.fail()
      return value
    }
  }

  private fun value(): Any? {
    space()
    return when (peek()) {
      '{' -> items('}') { key() to value() }.toMap()
      '[' -> items(']') { value() }
      '"' -> string()
      't' -> word("true", true)
      'f' -> word("false", false)
      'n' -> word("null", null)
      else -> number()
    }
  }

  private fun <T> items(end: Char, item: () -> T): List<T> {
    val found = mutableListOf<T>()
    at++
    space()
    while (peek() != end) {
      if (found.isNotEmpty()) expect(',')
      found.add(item())
      space()
    }
    at++
    return found
  }

  private fun key(): String {
    space()
    val name = string()
    space()
    expect(':')
    return name
  }

  private fun string(): String {
    expect('"')
    val found = StringBuilder()
    while (peek() != '"') {
      val letter = text[at++]
      if (letter != '\\') {
        found.append(letter)
        continue
      }
      val escaped = peek()
      at++
      when (escaped) {
        'b' -> found.append('\b')
        'f' -> found.append('\u000C')
        'n' -> found.append('\n')
        'r' -> found.append('\r')
        't' -> found.append('\t')
        'u' -> {
          if (at + 4 > text.length) fail()
          found.append((text.substring(at, at + 4).toIntOrNull(16) ?: fail()).toChar())
          at += 4
        }
        else -> found.append(escaped)
      }
    }
    at++
    return found.toString()
  }

  private fun number(): Double {
    val start = at
    while (at < text.length && (text[at].isDigit() || text[at] in "+-.eE")) at++
    return text.substring(start, at).toDoubleOrNull() ?: fail()
  }

  private fun <T> word(name: String, value: T): T {
    if (!text.startsWith(name, at)) fail()
    at += name.length
    return value
  }

  private fun space() {
    while (at < text.length && text[at].isWhitespace()) at++
  }

  private fun expect(letter: Char) {
    if (peek() != letter) fail()
    at++
  }

  private fun peek(): Char = if (at < text.length) text[at] else fail()

  private fun fail(): Nothing = throw IllegalArgumentException("This is not JSON, at character $at")
}
