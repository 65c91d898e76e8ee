"""LFW's folds 1 and 2 from the photographs as they are, through one file: accuracy, and the time of each stage.

    keras-margin export MODEL face.tflite --photo
    python -m benchmarks.real_faces_photos face.tflite FACES [--policy=centre] [--threads=1,2] [--sample=100]

FACES is the folder of `benchmarks.real_faces`, of which lfw_photos/ and lfw_aligned/ are read. Every photograph goes
through the file's signatures `detect` and `embed`; of several faces `--policy` says which one is meant, and LFW's
person is in the centre. The crops of lfw_aligned/, which others made, go through `embed_aligned` of the same file. The
stages are timed on a sample, in turn: medians of processor time over the photographs. The warp is what `embed` takes
beyond `embed_aligned` of the same face.
"""

import statistics
import tempfile
import time

import numpy as np
from absl import app, flags

from benchmarks import real_faces_sets
from keras_margin import evaluation, runtime
from keras_margin._utils import canvas
from keras_margin.alignment import images
from keras_margin.alignment._policies import POLICIES
from keras_margin.evaluation import protocols

_POLICY = flags.DEFINE_enum("policy", "centre", ["centre", "largest"], "Which of several faces is meant.")
_THREADS = flags.DEFINE_list("threads", ["1", "2"], "Threads of LiteRT in the timed runs.")
_SAMPLE = flags.DEFINE_integer("sample", 100, "Photographs that are timed, evenly spread.")


def main(arguments):
    if len(arguments) != 3:
        raise app.UsageError("Name a .tflite that takes photographs, and the folder of faces.")
    path, faces = arguments[1:]
    photographs = real_faces_sets.part(faces, "lfw_photos", "LFW's photographs of folds 1 and 2 belong there.")
    field = real_faces_sets.part(faces, "lfw_aligned", "LFW aligned to 112 x 112 belongs there.")
    embedder = runtime.Embedder(path, num_threads=1)
    if not embedder.takes_photographs:
        raise app.UsageError(f"{path} takes aligned faces alone. Export it with --photo.")
    protocol = protocols.load_protocol(photographs, name="photographs")
    files = [photographs / name for name in protocol.image_names]
    rows, several = _of_photographs(embedder, files, POLICIES[_POLICY.value])
    print(f"{len(files)} photographs, {several} of several faces, {np.isnan(rows[:, 0]).sum()} without a face")
    _show("photographs, through the file", rows, protocol)
    with tempfile.TemporaryDirectory() as folder:
        folds = real_faces_sets.write_lfw_folds(photographs / "pairs.txt", field, folder)
        protocol = protocols.load_protocol(folds, image_size=embedder.image_size, name="crops")
        _show("the field's crops", protocols.embed(embedder, protocol), protocol)
    spread = np.linspace(0, len(files) - 1, min(_SAMPLE.value, len(files))).astype(int)
    photos = [images.read_image(files[at]) for at in spread]
    for each in embedder.metadata["photo"]["canvases"]:
        for threads in map(int, _THREADS.value):
            print(f"{each['height']}x{each['width']}, {threads} threads: {_stages(path, each, photos, threads)}")


def _of_photographs(embedder, files, policy):
    """(embeddings (n, d), NaN where no face is found; how many photographs show several faces)."""
    rows, several = np.full((len(files), embedder.embedding_size), np.nan, np.float32), 0
    for at, file in enumerate(files):
        photo = images.read_image(file)
        found = embedder.faces(photo)
        several += len(found) > 1
        if found:
            (meant,) = policy(np.stack([face.box for face in found]), photo.shape)
            rows[at] = found[meant].embedding
    return rows, several


def _show(title, rows, protocol):
    """Prints accuracy and EER of a protocol's pairs; a photograph without a face is never the same person."""
    listed = protocol.listed
    scores = np.einsum("nd,nd->n", *np.float64(rows[protocol.pairs.T]))
    scores[np.isnan(scores)] = -1.0
    accuracy, eer = (
        evaluation.k_fold_accuracy(scores, listed.is_same, listed.folds),
        evaluation.eer(scores, listed.is_same),
    )
    print(f"{title}: accuracy {accuracy.mean:.2%}, EER {eer:.2%}")


def _stages(path, about, photographs, threads):
    """Median processor time of each stage on a canvas, in milliseconds, as text."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=path, num_threads=threads)
    runners = {name: interpreter.get_signature_runner(about[name]) for name in ("detect", "embed")}
    runners["embed_aligned"] = interpreter.get_signature_runner("embed_aligned")
    times = {name: [] for name in ("place", *runners)}
    for photo in [photographs[0], *photographs]:  # The first run of all prepares and does not count.
        placed = _timed(times["place"], canvas.place, photo, (about["height"], about["width"]))
        photograph = {"photo": placed.pixels, "size": placed.size}
        found = _timed(times["detect"], runners["detect"], **photograph)
        if int(found["count"]):
            face = _timed(times["embed"], runners["embed"], **photograph, points=found["points"][0])["face"]
            _timed(times["embed_aligned"], runners["embed_aligned"], image=np.reshape(face, (1, *face.shape[-3:])))
    medians = {name: statistics.median(values[1:]) for name, values in times.items()}
    medians["warp"] = medians["embed"] - medians["embed_aligned"]
    return ", ".join(f"{name} {value:.1f} ms" for name, value in medians.items())


def _timed(into, function, *values, **named):
    start = time.process_time()
    answer = function(*values, **named)
    into.append((time.process_time() - start) * 1e3)
    return answer


if __name__ == "__main__":
    app.run(main)
