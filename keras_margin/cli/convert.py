"""Weights of insightface's PyTorch and ONNX files to Keras and TFLite, and back to PyTorch.

keras-margin convert backbone.pth face.keras
keras-margin convert w600k_r50.onnx face.tflite --samples=faces --pairs=lfw.bin
keras-margin convert face.keras backbone.pth
"""

import pathlib

from rich.console import Console

from keras_margin._utils import progress
from keras_margin.cli import _sets, _stages

SOURCES = {".pth": "insightface", ".pt": "insightface", ".onnx": "insightface", ".keras": "keras"}
TARGETS = (".keras", ".tflite", ".pth", ".pt")


def add_arguments(parser):
    """The command's flags."""
    parser.add_argument("source", help="a state dict (*.pth, *.pt), *.onnx or *.keras; nothing in it is run")
    parser.add_argument("target", help="file to write: *.keras, *.tflite (float32) or *.pth, by its ending")
    parser.add_argument(
        "--architecture", default=None, help="what the file must be, such as ir_resnet50; default: what it is"
    )
    parser.add_argument(
        "--input_scale",
        type=float,
        default=None,
        help="pixels enter as (x - 127.5) / SCALE; default: insightface's 127.5",
    )
    _sets.add_arguments(parser)


def run(arguments):
    """Converts one file."""
    source, target = pathlib.Path(arguments.source), pathlib.Path(arguments.target)
    for path, known, what in ((source, SOURCES, "source"), (target, TARGETS, "target")):
        if path.suffix.lower() not in known:
            raise ValueError(f"The {what} must end in one of {', '.join(known)}. Received: {path}.")
    if source.suffix == ".keras" and (arguments.architecture or arguments.input_scale):
        raise ValueError(f"{source} says itself what it is: leave --architecture and --input_scale out.")
    if target.suffix.lower() != ".tflite" and (arguments.samples or arguments.pairs):
        raise ValueError(f"--samples and --pairs compare a .tflite file with its network. Received: {target}.")
    with _stages.reported():
        from keras_margin.models import backbones

        with progress.stage(f"Reading {source}"):
            model = _read(source, arguments)
        embedder = getattr(model, "embedder", model)
        found = f"{source}: {embedder.name}, {backbones.parameters(embedder)[1]:,} numbers"
        Console().print(found, markup=False, highlight=False, soft_wrap=True)
        written = _WRITERS[target.suffix.lower()](model, target, arguments)
    Console().print(written, markup=False, highlight=False, soft_wrap=True)


def _read(source, arguments):
    if not source.exists():
        raise FileNotFoundError(f"{source} does not exist.")
    if source.suffix == ".keras":
        import keras

        return keras.saving.load_model(source)
    from keras_margin.models import convert

    return convert.from_insightface(source, arguments.architecture, arguments.input_scale)


def _write_keras(model, target, _):
    from keras_margin._utils import files

    with files.atomic_write(target) as temporary:
        model.save(temporary)
    return f"{target}: {target.stat().st_size / 2**20:.1f} MiB"


def _write_tflite(model, target, arguments):
    from keras_margin import export

    network = export.extract_embedder(model)
    samples = _sets.faces(arguments.samples, network, arguments.most)
    pairs, names = _sets.pairs(arguments.pairs, network, arguments.most)
    options = export.Options(far=arguments.far)
    with _sets.naming(names if samples is None else samples.names):
        images = None if samples is None else samples.images
        return str(export.to_tflite(model, target, samples=images, pairs=pairs, options=options))


def _write_state_dict(model, target, _):
    from keras_margin.models import convert

    convert.to_insightface(model, target)
    return f"{target}: {target.stat().st_size / 2**20:.1f} MiB, for insightface's load_state_dict"


_WRITERS = {".keras": _write_keras, ".tflite": _write_tflite, ".pth": _write_state_dict, ".pt": _write_state_dict}
