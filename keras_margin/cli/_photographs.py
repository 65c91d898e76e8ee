"""Image files for an embedder, cropped to what it takes."""

import numpy as np

from keras_margin import alignment
from keras_margin.alignment import images


def add_arguments(parser):
    """Flags of every command that feeds photographs to an embedder."""
    parser.add_argument("--align", action="store_true", help="find the face and crop it; default: the file is a crop")
    parser.add_argument("--threads", type=int, default=None, help="for LiteRT")
    parser.add_argument(
        "--normalization", default=None, metavar="MEAN,STD", help="of a foreign network that takes floats"
    )
    parser.add_argument("--channels", choices=("RGB", "BGR"), default="RGB", help="what a foreign network takes")


def embedder_of(arguments):
    """The Embedder that the arguments ask for."""
    from keras_margin import runtime

    normalization = None
    if arguments.normalization is not None:
        try:
            mean, std = (float(part) for part in arguments.normalization.split(","))
        except ValueError:
            raise ValueError(f"--normalization must be MEAN,STD. Received: {arguments.normalization}.") from None
        normalization = (mean, std)
    return runtime.Embedder(arguments.model, normalization, arguments.threads, arguments.channels)


def read(path, size, align=False):
    """An image file as uint8 RGB (height, width, 3) of `size`.

    Raises:
        ValueError: Where it cannot be read, or shows no face to align; the message names the file.
    """
    try:
        image = images.read_image(path)
    except images.ImageError as error:
        raise ValueError(f"{path} cannot be read: {error}.") from error
    if align:
        face = alignment.align(image, size)
        if face is None:
            raise ValueError(f"No face was found in {path}.")
        return face
    if image.shape[:2] == tuple(size):
        return image
    from PIL import Image

    height, width = size
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR))
