"""A Gallery straight from photographs: their faces found, aligned and embedded by the file."""

import numpy as np


def enroll(gallery, name, photographs, embedder):
    """`Gallery.enroll_photographs`."""
    _check(gallery, embedder)
    # All of them before any is added.
    gallery.enroll(name, embedder.embed(np.stack([embedder.aligned(photo) for photo in photographs])))


def identify(gallery, photo, embedder, threshold):
    """`Gallery.identify`."""
    _check(gallery, embedder)
    threshold = embedder.decided(threshold)
    faces = embedder.faces(photo)
    if not faces:
        return []
    matches = gallery.search(np.stack([face.embedding for face in faces]), threshold=threshold)
    return [(face, found[0] if found else None) for face, found in zip(faces, matches, strict=True)]


def _check(gallery, embedder):
    if gallery.model is not None and gallery.model != embedder.model_id:
        raise ValueError(
            f"The gallery holds embeddings of another model ({gallery.model[:12]}...) than {embedder.path} "
            f"({embedder.model_id[:12]}...): their cosines mean nothing. Enroll its people again with this one."
        )
