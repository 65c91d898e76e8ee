"""Aligns one image file after the other, here or in processes of their own."""

import concurrent.futures
import dataclasses
import itertools
import multiprocessing
import os
import types
from collections.abc import Callable

from keras_margin.alignment import _journal
from keras_margin.alignment._policies import POLICIES
from keras_margin.alignment.detector import MTCNNDetector, bounded, default_detector
from keras_margin.alignment.images import ImageError, read_image, save_image
from keras_margin.alignment.transform import align_points
from keras_margin.detection.detector import FaceDetector, is_available

_CHUNK = 8


@dataclasses.dataclass(frozen=True)
class Job:
    """What is the same for all images.

    Attributes:
        source, out: Folders.
        size: (height, width) of the crops.
        policy: Key of POLICIES.
        detector: As `alignment.align` takes it.
    """

    source: str
    out: str
    size: tuple[int, int]
    policy: str
    detector: Callable | None


def description(detector):
    """What the journal notes of a detector, to tell it from another."""
    if detector is None:
        settings = FaceDetector.DEFAULTS if is_available() else MTCNNDetector.DEFAULTS
        return _described(*settings)
    if type(detector) is FaceDetector:
        return _described(detector.canvas, detector.min_face_size, detector.min_score)
    if type(detector) is MTCNNDetector:
        return _described(detector.min_face_size, detector.min_score)
    if isinstance(detector, types.MethodType):
        # Of an object, such as Embedder.detect of a file: which object counts.
        return f"{detector.__func__.__module__}.{detector.__func__.__qualname__} of {detector.__self__!r}"
    kind = detector if hasattr(detector, "__qualname__") else type(detector)
    return f"{kind.__module__}.{kind.__qualname__}"


def _described(*settings):
    *canvas, size, score = settings
    where = f" on LiteRT, {canvas[0][0]} x {canvas[0][1]} pixels" if canvas else ""
    return f"MTCNN{where}, faces from {size:g} pixels, scores from {score:g}"


def run(job, targets, workers):
    """Aligns images; yields an entry of the journal for each, as they are done.

    Args:
        job: Job.
        targets: {name of an image: (name of its crop without the extension, the extension)}.
        workers: Processes; 1 is this one.
    """
    if not targets:
        return
    if workers == 1:
        detector = job.detector or default_detector()
        for name, target in targets.items():
            yield align_file(job, detector, name, target)
        return
    if job.detector is None:
        default_detector()  # Converted once if it must be, and not by each process.
    threads = max(1, (os.cpu_count() or 1) // workers)
    # Spawned: TensorFlow does not survive a fork.
    context = multiprocessing.get_context("spawn")
    items = iter(targets.items())
    pool = concurrent.futures.ProcessPoolExecutor(workers, context, _begin, (job, threads))
    try:
        waiting = set()
        while True:
            # A few chunks ahead: a future for each of ten million images would fill the memory.
            while len(waiting) < 3 * workers and (chunk := list(itertools.islice(items, _CHUNK))):
                waiting.add(pool.submit(_align_some, chunk))
            if not waiting:
                break
            finished, waiting = concurrent.futures.wait(waiting, return_when=concurrent.futures.FIRST_COMPLETED)
            for future in finished:
                yield from future.result()
    except concurrent.futures.process.BrokenProcessPool:
        raise OSError(
            "A process of the alignment ended by itself, perhaps for want of memory. What is done is kept: repeat the "
            f"call with fewer than {workers} workers."
        ) from None
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _begin(job, threads):
    """Readies a process: its detector is built once."""
    global _job, _detector
    for name in ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
        os.environ[name] = str(threads)
    _job, _detector = job, job.detector or default_detector()


def _align_some(chunk):
    return [align_file(_job, _detector, name, target) for name, target in chunk]


def align_file(job, detector, name, target):
    """Aligns one image file and writes its crops.

    Returns:
        Dict: `image`, `stamp`, `faces`, `crops` (names below `out`), `refused` (a reason or None).
    """
    path = os.path.join(job.source, name)
    entry = {"image": name, "stamp": _journal.stamp(path), "faces": 0, "crops": [], "refused": None}
    try:
        image = read_image(path)
    except ImageError as error:
        return entry | {"refused": str(error)}
    try:
        boxes, points, _ = bounded(detector)(image)
    except ImportError:
        raise
    except Exception as error:  # Of any detector, on any image; `align_folder` counts them.
        return entry | {"refused": f"the detector failed: {error!r}", "detector_failed": True}
    chosen = POLICIES[job.policy](boxes, image.shape) if len(boxes) else []
    crops = []
    try:
        for place, face in enumerate(chosen):
            stem, extension = target
            crop = f"{stem}.face{place}{extension}" if job.policy == "all" else stem + extension
            _write(job.out, crop, align_points(image, points[face], job.size))
            crops.append(crop)
    except ValueError as error:
        return entry | {"faces": len(boxes), "crops": crops, "refused": str(error)}
    return entry | {"faces": len(boxes), "crops": crops}


def _write(out, crop, image):
    path = os.path.join(out, crop)
    folder, name = os.path.split(path)
    os.makedirs(folder, exist_ok=True)
    # A link in `out` must not lead back to the photographs, or anywhere else.
    if os.path.commonpath([os.path.realpath(folder), out]) != out:
        raise OSError(f"{folder} leads out of {out}. Remove that link.")
    temporary = os.path.join(folder, f".{os.getpid()}.{name}")
    try:
        save_image(temporary, image)
        os.replace(temporary, path)
    except BaseException:
        if os.path.exists(temporary):
            os.unlink(temporary)
        raise
