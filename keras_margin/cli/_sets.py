"""Images for the export gate, from what a command line names: the flags of `export` and `convert`."""

import argparse
import contextlib
import pathlib

from keras_margin.cli import _words

_IMAGES = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of every command whose files pass the gate."""
    parser.add_argument(
        "--samples",
        metavar="FOLDER|FILE",
        help="images to compare on: identities, a folder of image files, a .rec, a .bin or one image file; default: "
        "those of the pairs, or noise",
    )
    parser.add_argument("--pairs", metavar="SET", help="a .bin, or identities: gives accuracy and the threshold")
    parser.add_argument("--far", type=float, default=1e-3, help="target FAR of the threshold; default: 1e-3")
    parser.add_argument("--most", type=count, default=300, help="images read of each set, but for a .bin; default: 300")


def count(text):
    """An int >= 1, for argparse."""
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"needs an int >= 1, received {text}")
    return value


def faces(path, network, most):
    """Returns export.Faces of the images at a path, at the network's size; None for the path None.

    Args:
        path: Set that keras_margin.data.open reads; .bin; folder of image files; or one image file.
        network: Keras model whose input size the images get.
        most: Images read, at most.

    Raises:
        OSError, ValueError, ImportError: As the readers; on a file that cannot be read.
    """
    from keras_margin import export
    from keras_margin.export._faces import Faces

    if path is None:
        return None
    found = pathlib.Path(path)
    if found.suffix.lower() == ".bin":
        images, names = _bin(path, network)[0][0][:most], _names(path, most)
        return Faces(images, None, names[: len(images)])
    files = [found] if found.is_file() and found.suffix.lower() in _IMAGES else _image_files(found)
    return _read(files[:most], network) if files else export.faces_from(path, network, most)


def pairs(path, network, most):
    """Returns ((images, is_same or labels) or None, names of the images) of the path of a set of pairs, or None.

    Raises:
        OSError, ValueError, ImportError: As the readers.
    """
    from keras_margin import export

    if path is None:
        return None, ()
    if pathlib.Path(path).suffix.lower() == ".bin":
        return _bin(path, network)
    found = export.faces_from(path, network, most, whole_identities=True)
    return (found.images, found.labels), found.names


def photograph_pairs(path, most):
    """Returns (photographs, labels) of a folder of identities, PERSON/image.jpg; None for the path None.

    Raises:
        OSError, ValueError: No such folder, one without such images, or an image that cannot be read.
    """
    from keras_margin.alignment import images

    if path is None:
        return None
    files = [file for person in _folders(path) for file in _image_files(person)][:most]
    if not files:
        raise ValueError(f"--photograph_pairs needs a folder of identities, PERSON/image.jpg. Received: {path}.")
    people = {person: number for number, person in enumerate(dict.fromkeys(file.parent for file in files))}
    read = []
    for file in files:
        try:
            read.append(images.read_image(file))
        except images.ImageError as error:
            raise ValueError(f"{file} cannot be read: {error}.") from error
    return read, [people[file.parent] for file in files]


@contextlib.contextmanager
def naming(names):
    """Context that gives a ParityError the names of its worst images.

    Args:
        names: Names of the images compared, in their order; empty where they have none.

    Raises:
        ValueError: Where the block raised a ParityError.
    """
    from keras_margin import export

    try:
        yield
    except export.ParityError as error:
        worst = "; ".join(_words.printable(names[image]) for image in error.report.worst_images if names)
        raise ValueError(f"{error} Worst: {worst}." if worst else str(error)) from error


def _bin(path, network):
    from keras_margin import data

    images, is_same = data.load_bin(path, image_size=network.input_shape[1:3])
    return (images, is_same), _names(path, len(images))


def _names(path, number):
    return tuple(f"image {image} of {path}" for image in range(number))


def _folders(folder):
    return sorted(path for path in pathlib.Path(folder).iterdir() if path.is_dir() and not path.name.startswith("."))


def _image_files(folder):
    """The image files right inside a folder that has no folders: a folder of identities has."""
    if not folder.is_dir():
        return []
    inside = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    if any(path.is_dir() for path in inside):
        return []
    return [path for path in inside if path.suffix.lower() in _IMAGES]


def _read(files, network):
    import numpy as np

    from keras_margin.alignment import images
    from keras_margin.data import _decoding
    from keras_margin.export._faces import Faces

    size = network.input_shape[1:3]
    rows = []
    for file in files:
        try:
            image = images.read_image(file)
        except images.ImageError as error:
            raise ValueError(f"{file} cannot be read: {error}.") from error
        rows.append(np.asarray(_decoding.resize_image(image, size)))
    return Faces(np.stack(rows), None, tuple(map(str, files)))
