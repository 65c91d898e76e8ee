"""From the bytes of an image file to pixels of one size, in TensorFlow, and never more of them than fit into memory."""

from keras_margin._typing import Size, Tensor
from keras_margin._utils import exif

# No face is larger, and no file's word for it is taken: a batch of them must fit into memory.
LARGEST_SIDE = 8192

# What an image may decode to: a file of a few hundred bytes can announce gigabytes.
LARGEST_PIXELS = LARGEST_SIDE**2
# Files of fewer bytes cannot hold so many, whatever they announce.
LOOKED_AT = LARGEST_PIXELS // 1032


def decode_image(contents: Tensor) -> Tensor:
    """Decodes the bytes of a JPEG, PNG or BMP file, in a TensorFlow graph or eagerly.

    Grey, palette and CMYK images become RGB, 16-bit ones keep their high byte, alpha is dropped. The image is as it is
    stored: `turn_image` turns it upright.

    Args:
        contents: String tensor, (), the file.

    Returns:
        uint8 RGB tensor (height, width, 3).

    Raises:
        tf.errors.InvalidArgumentError: If the bytes cannot be decoded, or announce more than LARGEST_PIXELS, for which
            no memory is taken; when the tensor is computed.
    """
    import tensorflow as tf

    def bounded():
        fits = tf.less_equal(tf.reduce_prod(announced_size(contents)), LARGEST_PIXELS)
        return tf.cond(fits, lambda: contents, lambda: tf.constant(b"too many pixels"))  # Which is not an image.

    # A look at the header takes a tenth of a small image's decoding. What a file of fewer bytes announces beyond the
    # limit it does not hold: deflate makes a byte of 1,032 at most, and JPEG of 512; the decoders end where it does.
    contents = tf.cond(tf.greater(tf.strings.length(contents), LOOKED_AT), bounded, lambda: contents)
    # decode_image decodes JPEG by the fast inverse DCT, off by up to 3 grey levels from other libraries, and takes
    # no other; decode_jpeg also reads PNG, but not BMP.
    image = tf.cond(
        tf.equal(tf.strings.substr(contents, 0, 2), b"BM"),
        lambda: tf.io.decode_image(contents, channels=3, expand_animations=False),
        lambda: tf.io.decode_jpeg(contents, channels=3, dct_method="INTEGER_ACCURATE"),
    )
    return tf.ensure_shape(image, (None, None, 3))


def decode_small(contents: Tensor, image_size: Size) -> Tensor:
    """As `decode_image`, for a JPEG or PNG of this very size and at most LOOKED_AT bytes; anything else is an error.

    Without the questions that `decode_image` asks, each of which takes a twentieth of a small image's decoding.

    Args:
        contents: String tensor, (), the file.
        image_size: (height, width).

    Returns:
        uint8 RGB tensor (height, width, 3).

    Raises:
        tf.errors.InvalidArgumentError: If it is not such a file; when the tensor is computed.
    """
    import tensorflow as tf

    # Nothing is left of a longer file: a part of one would be unpacked as far as it goes.
    length = tf.where(tf.strings.length(contents) <= LOOKED_AT, LOOKED_AT, 0)
    contents = tf.strings.substr(contents, 0, length)
    image = tf.io.decode_jpeg(contents, channels=3, dct_method="INTEGER_ACCURATE")
    return tf.ensure_shape(image, (*image_size, 3))


def turn_image(image: Tensor, orientation: Tensor) -> Tensor:
    """Turns a decoded image upright, in a TensorFlow graph or eagerly.

    Args:
        image: uint8 tensor (height, width, 3), as it is stored.
        orientation: Integer tensor (), in [1, 8], from `exif.orientation`.

    Returns:
        uint8 tensor (height, width, 3) for an orientation up to 4, otherwise (width, height, 3).
    """
    import tensorflow as tf

    def turned():
        transposed, down, across = exif.parts(orientation)
        upright = tf.cond(transposed, lambda: tf.transpose(image, (1, 0, 2)), lambda: image)
        upright = tf.cond(down, lambda: tf.reverse(upright, [0]), lambda: upright)
        return tf.cond(across, lambda: tf.reverse(upright, [1]), lambda: upright)

    return tf.ensure_shape(tf.cond(orientation > exif.UPRIGHT, turned, lambda: image), (None, None, 3))


def announced_size(contents: Tensor) -> Tensor:
    """What an image file says of its size, in a TensorFlow graph or eagerly; nothing is decoded.

    Args:
        contents: String tensor, ().

    Returns:
        int64 tensor (2,), height and width; zeros for what is not a JPEG, PNG or BMP file.

    Raises:
        tf.errors.InvalidArgumentError: If a JPEG has no header; when the tensor is computed.
    """
    import tensorflow as tf

    def jpeg():
        return tf.cast(tf.io.extract_jpeg_shape(contents)[:2], tf.int64)

    def other():
        head = tf.strings.join([tf.strings.substr(contents, 0, 26), tf.constant(bytes(26))])
        png = tf.io.decode_raw(tf.strings.substr(head, 16, 8), tf.int32, little_endian=False)
        bmp = tf.io.decode_raw(tf.strings.substr(head, 18, 8), tf.int32)
        begins = tf.strings.substr(head, 0, 4)
        sides = tf.where(begins == b"\x89PNG", png, tf.where(tf.strings.substr(head, 0, 2) == b"BM", bmp, 0))
        # The height of a BMP is negative where its rows come from above.
        return tf.abs(tf.cast(sides, tf.int64))[::-1]

    return tf.cond(tf.equal(tf.strings.substr(contents, 0, 2), b"\xff\xd8"), jpeg, other)


def resize_image(image: Tensor, image_size: Size) -> Tensor:
    """Resizes an image by antialiased bilinear interpolation; one that has the size already is left as it is.

    The whole image is stretched to the size: the ratio of its sides is not kept.

    Args:
        image: uint8 tensor or array, (any height, any width, channels), or a batch of such.
        image_size: (height, width) of the result.

    Returns:
        uint8 tensor, (height, width, channels), or a batch of such.
    """
    import tensorflow as tf

    image = tf.convert_to_tensor(image)

    def resized():
        pixels = tf.image.resize(image, image_size, antialias=True)
        return tf.cast(tf.clip_by_value(tf.round(pixels), 0, 255), tf.uint8)

    same = tf.reduce_all(tf.equal(tf.shape(image)[-3:-1], image_size))
    shape = (*image.shape[:-3], *image_size, image.shape[-1])
    return tf.ensure_shape(tf.cond(same, lambda: image, resized), shape)
