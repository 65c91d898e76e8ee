"""Puts the people of a folder into a gallery, by a TFLite or ONNX embedder, without TensorFlow.

keras-margin enroll people/ people.npz --model=face.tflite
keras-margin enroll photographs/ people.npz --model=runs/latest --align --replace

FOLDER: a folder for each person, named as the person is, with images of any depth below. GALLERY: the file, made or
added to. Files that cannot be read and pictures without a face are left out, counted and named. Nobody is enrolled
twice: a name that is in the gallery already is refused, or with --replace gets the new images in place of the old.
"""

import argparse
import os
import pathlib

from rich.console import Console

from keras_margin._utils.progress import bars
from keras_margin.cli import _photographs, _words


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's flags."""
    parser.add_argument("folder", help="folder of people: FOLDER/NAME/*.jpg")
    parser.add_argument("gallery", help="the gallery's file, usually .npz")
    parser.add_argument(
        "--model", default="runs/latest", help="the .tflite or .onnx embedder, or a run's folder; default runs/latest"
    )
    parser.add_argument("--replace", action="store_true", help="replace people who are in the gallery already")
    parser.add_argument(
        "--least_quality", type=float, help="embedding length below which an image is left out; of files that tell it"
    )
    _photographs.add_arguments(parser)


def run(arguments: argparse.Namespace) -> None:
    """Embeds, enrolls and writes the gallery."""
    people = _people(arguments.folder)
    source, left_out = _photographs.Photographs(arguments), _photographs.LeftOut()
    gallery = opened(arguments.gallery, source.embedder)
    _check_names(people, gallery, arguments)
    paths = [path for files in people.values() for path in files]
    person_of = {path: name for name, files in people.items() for path in files}
    busy = Console(stderr=True)
    busy.print(f"Embedding {len(paths):,} images of {len(people):,} people.", highlight=False)
    used: set[str] = set()
    with bars(busy):
        for kept, embeddings in source.embedded(paths, left_out, arguments.least_quality):
            names = [person_of[path] for path in kept]
            for name in set(names) - used:
                if name in gallery:
                    gallery.remove(name)
            used |= set(names)
            gallery.enroll(names, embeddings)
    left_out.check(used)
    gallery.save(arguments.gallery)
    images = len(paths) - len(left_out.errors)
    _photographs.say(
        f"{arguments.gallery}: enrolled {len(used):,} people by {images:,} images{left_out.counts()}; the gallery has "
        f"{len(gallery.names):,} people now."
    )
    left_out.say()
    for name in people:
        if name not in used:
            _photographs.say(f"Not enrolled: {name}, of whom no image can be used.")


def opened(path, embedder):
    """The gallery at `path` if there is one, else an empty one, for this embedder.

    Raises:
        ValueError: A file that is not a gallery, or holds another model's embeddings.
    """
    from keras_margin import runtime

    if not os.path.exists(path):
        return runtime.Gallery(embedder.embedding_size, embedder.model_id)
    gallery = runtime.Gallery.load(path)
    if gallery.model != embedder.model_id:
        raise ValueError(
            f"{path} holds embeddings of another model than {embedder.path}: their cosines mean nothing. Enroll its "
            "people into a new gallery."
        )
    return gallery


def _people(folder):
    """{name: image files} of the folders below `folder`."""
    folder = pathlib.Path(folder)
    if not folder.is_dir():
        raise ValueError(f"enroll needs a folder of people, FOLDER/NAME/*.jpg. Received: {folder}, not a folder.")
    inside = sorted(each for each in folder.iterdir() if each.is_dir() and not each.name.startswith("."))
    if not inside:
        raise ValueError(f"enroll needs a folder for each person, FOLDER/NAME/*.jpg. Received: {folder}, without one.")
    return {_words.printable(person.name): _photographs.images_in(person) for person in inside}


def _check_names(people, gallery, arguments):
    there = [name for name in people if name in gallery]
    if there and not arguments.replace:
        more = f" and {len(there) - 1:,} more" if len(there) > 1 else ""
        raise ValueError(
            f"{there[0]}{more} of {arguments.folder} are in {arguments.gallery} already. Pass --replace to put these "
            "images in place of the old."
        )
