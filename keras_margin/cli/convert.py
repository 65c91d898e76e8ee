"""Other people's weights to Keras and TFLite: ONNX, float TFLite, PyTorch state dicts; insightface's and back.

keras-margin convert MobileFaceNet.onnx face.tflite --normalization=imagenet --samples=faces --pairs=lfw.bin
keras-margin convert MobileFaceNet.onnx face.tflite --normalization=imagenet --quantize=int8 --representative=faces
keras-margin convert backbone.pth face.keras
keras-margin convert face.keras backbone.pth

An ONNX or TFLite file on floats has to be told its --normalization, unless it is one of insightface's networks. A
state dict is recognized by its tensors' names, and brings its network's published normalization along. docs/convert.md
lists the operators and the networks.
"""

import argparse
import functools
import hashlib
import pathlib

from rich.console import Console

from keras_margin._utils import progress
from keras_margin.cli import _flags, _sets, _stages

STATE_DICTS = (".pth", ".pt", ".ckpt", ".tar")
SOURCES = (*STATE_DICTS, ".onnx", ".tflite", ".keras")
TARGETS = (".keras", ".tflite", ".pth", ".pt")
QUANTIZE = ("none", "float16", "dynamic", "int8")
# Images on which a network is compared with its ONNX file.
_MOST_COMPARED = 64


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's flags."""
    parser.add_argument("source", help="*.onnx, *.tflite, a state dict (*.pth, *.pt, *.ckpt) or *.keras")
    parser.add_argument("target", help="file to write: *.keras, *.tflite or *.pth, by its ending")
    parser.add_argument(
        "--architecture",
        default=None,
        help="what the file must be, such as ir_resnet50 or adaface_ir; default: what it is",
    )
    parser.add_argument(
        "--input_scale",
        type=float,
        default=None,
        help="of insightface's networks: pixels enter as (x - 127.5) / SCALE; default: insightface's 127.5",
    )
    parser.add_argument(
        "--normalization",
        type=_flags.normalization,
        metavar="MEAN/STD",
        help="of a network that takes floats: 127.5/128, or a name: imagenet; it becomes the network's first layer",
    )
    parser.add_argument("--channels", choices=("RGB", "BGR"), default=None, help="what the network was trained on")
    parser.add_argument("--quantize", choices=QUANTIZE, default="none", help="of TFLite; default: none, float32")
    parser.add_argument("--representative", metavar="SET", help="images that set int8's ranges, 8 or more")
    _sets.add_arguments(parser)


def run(arguments: argparse.Namespace) -> None:
    """Converts one file."""
    source, target = pathlib.Path(arguments.source), pathlib.Path(arguments.target)
    _check(source, target, arguments)
    with _stages.reported():
        from keras_margin.models.backbones import _cost

        with progress.stage(f"Reading {source}"):
            model, compare = _READERS[source.suffix.lower()](source, arguments)
        embedder = getattr(model, "embedder", model)
        _say(f"{source}: {embedder.name}, {_cost.parameters(embedder)[1]:,} numbers")
        if arguments.samples and compare is None and target.suffix.lower() != ".tflite":
            raise ValueError(
                f"--samples compares the .tflite of insightface's networks. Received: {source} to {target}."
            )
        samples = _sets.faces(arguments.samples, embedder, arguments.most)
        if samples is not None and compare is not None:
            cosines = compare(embedder, images=samples.images[:_MOST_COMPARED])
            told = f"cosine mean {cosines.mean():.8f}, worst {cosines.min():.8f}"
            _say(f"Against ONNX Runtime on {len(cosines)} images: {told}.")
        _say(_WRITERS[target.suffix.lower()](model, target, samples, arguments))


def _check(source, target, arguments):
    for path, known, what in ((source, SOURCES, "source"), (target, TARGETS, "target")):
        if path.suffix.lower() not in known:
            raise ValueError(f"The {what} must end in one of {', '.join(known)}. Received: {path}.")
    told = [name for name in ("architecture", "input_scale", "normalization", "channels") if getattr(arguments, name)]
    if source.suffix.lower() == ".keras" and told:
        raise ValueError(f"{source} says itself what it is: leave --{told[0]} out.")
    if arguments.input_scale and arguments.normalization:
        raise ValueError("--input_scale and --normalization say the same: leave --input_scale out.")
    if target.suffix.lower() == ".tflite":
        return
    compares = arguments.pairs or (arguments.samples and source.suffix.lower() != ".onnx")
    if compares or arguments.quantize != "none" or arguments.representative:
        raise ValueError(
            "--samples and --pairs compare a .tflite file with its network, --quantize and --representative are "
            f"TFLite's. Received: {target}."
        )


def _read_keras(source, _):
    import keras

    import keras_margin.models  # noqa: F401  Registers what a .keras file may hold.

    _there(source)
    return keras.saving.load_model(source), None


def _read_onnx(source, arguments):
    from keras_margin.models import convert
    from keras_margin.models.convert import onnx

    _there(source)
    if arguments.architecture or arguments.input_scale:
        return convert.from_insightface(source, arguments.architecture, arguments.input_scale), None
    if arguments.normalization is None and arguments.channels is None:
        try:
            return convert.from_insightface(source), None
        except ValueError:
            pass  # Any other network.
    told = {"normalization": arguments.normalization, "channels": arguments.channels or "RGB"}
    return convert.from_onnx(source, **told), functools.partial(onnx.compare_with_onnx, path=source, **told)


def _read_state_dict(source, arguments):
    from keras_margin.models import convert
    from keras_margin.models.convert.insightface import ARCHITECTURES
    from keras_margin.models.convert.state_dicts import UnknownNetworkError

    _there(source)
    network, told = arguments.architecture, arguments.normalization
    if network not in ARCHITECTURES and not arguments.input_scale:
        try:
            model = convert.from_state_dict(source, network, normalization=told, channels=arguments.channels)
            return model, None
        except UnknownNetworkError:
            pass  # One of insightface's, or of no one's.
    if arguments.channels or (told and told[0] != 127.5):
        raise ValueError("insightface's networks take (x - 127.5) / SCALE in RGB: say --input_scale=SCALE alone.")
    return convert.from_insightface(source, network, told[1] if told else arguments.input_scale), None


def _read_tflite(source, arguments):
    from keras_margin.models import convert

    _there(source)
    if arguments.architecture or arguments.input_scale:
        raise ValueError("--architecture and --input_scale are of state dicts and insightface's ONNX files.")
    told = {"normalization": arguments.normalization, "channels": arguments.channels or "RGB"}
    return convert.from_tflite(source, **told), None


def _there(source):
    if not source.exists():
        raise FileNotFoundError(f"{source} does not exist.")


def _write_keras(model, target, *_):
    from keras_margin._utils import files

    with files.atomic_write(target) as temporary:
        model.save(temporary)
    return f"{target}: {target.stat().st_size / 2**20:.1f} MiB"


def _write_tflite(model, target, samples, arguments):
    from keras_margin import export
    from keras_margin.export import _source

    network = _source.extract_embedder(model)
    pairs, names = _sets.pairs(arguments.pairs, network, arguments.most)
    representative = _sets.faces(arguments.representative, network, arguments.most)
    if samples is None and pairs is None and representative is not None:
        names = representative.names
    with _sets.naming(names if samples is None else samples.names):
        report = export.to_tflite(
            model,
            target,
            quantize=None if arguments.quantize == "none" else arguments.quantize,
            representative=None if representative is None else representative.images,
            samples=None if samples is None else samples.images,
            pairs=pairs,
            options=export.Options(far=arguments.far, about={"converted": _origin(arguments)}),
        )
    return str(report)


def _origin(arguments):
    """What the metadata say of where a network comes from."""
    source = pathlib.Path(arguments.source)
    origin = {"from": source.name, "sha256": hashlib.sha256(source.read_bytes()).hexdigest()}
    if arguments.normalization is not None:
        mean, std = arguments.normalization
        origin["normalization"] = {"mean": mean, "std": std}  # Done inside the file, which takes pixels.
    return origin


def _write_state_dict(model, target, *_):
    from keras_margin.models import convert

    convert.to_insightface(model, target)
    return f"{target}: {target.stat().st_size / 2**20:.1f} MiB, for insightface's load_state_dict"


def _say(text):
    Console().print(text, markup=False, highlight=False, soft_wrap=True)


_READERS = {
    **dict.fromkeys(STATE_DICTS, _read_state_dict),
    ".onnx": _read_onnx,
    ".tflite": _read_tflite,
    ".keras": _read_keras,
}
_WRITERS = {".keras": _write_keras, ".tflite": _write_tflite, ".pth": _write_state_dict, ".pt": _write_state_dict}
