"""Builds wheel and sdist, checks what is in them, and uses them in clean environments.

    make package        build, contents, twine; the wheel on the libraries of .venv, and with the extra `litert` alone
    make package-all    and with the extra `cpu` alone, and with all features: each installs TensorFlow, minutes

Everything is made in build/package. pip's own settings and cache are used. Run by the Python of .venv.
"""

import pathlib
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import textwrap
import time
import zipfile

ROOT = pathlib.Path(__file__).resolve().parents[1]
PACKAGE = "keras_margin"
WORK = ROOT / "build" / "package"
MOST_BYTES = 1_000_000
# Files of an sdist beside the package, and of a wheel's .dist-info.
OF_SDIST = {"LICENSE", "MANIFEST.in", "PKG-INFO", "README.md", "pyproject.toml", "setup.cfg", "setup.py"}
OF_WHEEL = {"METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE", "top_level.txt"}
FEATURES = "cpu,align,litert,onnx,plots"

# With Keras and TensorFlow: the core trains, and writes the file that the next environment reads.
CORE = """
    import os, sys
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    import keras, numpy as np, keras_margin as km
    assert "site-packages" in km.__file__, km.__file__
    images = np.random.default_rng(0).integers(0, 256, (16, 16, 16, 3)).astype("uint8")
    layers = [keras.Input((16, 16, 3)), keras.layers.Rescaling(1 / 128, -1), keras.layers.Conv2D(4, 3)]
    backbone = keras.Sequential([*layers, keras.layers.GlobalAveragePooling2D()])
    model = km.EmbeddingModel(backbone, head=km.ArcFaceHead(4, scale=16.0))
    model.compile(keras.optimizers.SGD(0.1))
    model.fit(images, np.arange(16) % 4, verbose=0)
    assert km.export.to_tflite(model, sys.argv[1], samples=images).passed
"""
# With the extra `litert`: the file is read, and neither Keras nor TensorFlow is there.
DEVICE = """
    import importlib.util, sys
    import numpy as np
    from PIL import Image
    from keras_margin.runtime import Embedder
    for name in ("keras", "tensorflow", "jax", "torch"):
        assert importlib.util.find_spec(name) is None, name
    embedder = Embedder(sys.argv[1])
    images = np.random.default_rng(1).integers(0, 256, (2, 16, 16, 3)).astype("uint8")
    rows = embedder.embed(images)
    assert rows.shape == (2, 4) and np.allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5), rows
    assert abs(embedder.verify(*images) - rows[0] @ rows[1]) < 1e-5
    for number, image in enumerate(images):
        Image.fromarray(image).save(f"{sys.argv[2]}/{number}.png")
"""
NAMESPACES = """
    import importlib, os, types
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    import keras_margin
    def load(module):
        for name in module.__all__:
            value = getattr(module, name)
            if isinstance(value, types.ModuleType) and hasattr(value, "__all__"):
                load(value)
    load(keras_margin)
"""


def expected_files(root: pathlib.Path = ROOT) -> set[str]:
    """Returns the files of the package that both distributions must hold: its modules and py.typed."""
    files = {path.relative_to(root).as_posix() for path in (root / PACKAGE).rglob("*.py")}
    return files | {f"{PACKAGE}/py.typed"}


def wheel_problems(path: pathlib.Path, expected: set[str]) -> list[str]:
    """Returns what is wrong with a wheel: files too many or too few, its size."""
    with zipfile.ZipFile(path) as archive:
        names = set(archive.namelist())
    metadata = {name for name in names if ".dist-info/" in name and name.partition(".dist-info/")[2] in OF_WHEEL}
    return _differences(path, names - metadata, expected)


def sdist_problems(path: pathlib.Path, expected: set[str]) -> list[str]:
    """Returns what is wrong with an sdist: files too many or too few, its size."""
    with tarfile.open(path) as archive:
        names = {member.name.partition("/")[2] for member in archive.getmembers() if member.isfile()}
    own = {name for name in names if name in OF_SDIST or name.startswith(f"{PACKAGE}.egg-info/")}
    return _differences(path, names - own, expected)


def _differences(path: pathlib.Path, names: set[str], expected: set[str]) -> list[str]:
    found = [f"{path.name} lacks {name}" for name in sorted(expected - names)]
    found += [f"{path.name} should not hold {name}" for name in sorted(names - expected)]
    if (size := path.stat().st_size) > MOST_BYTES:
        found.append(f"{path.name} has {size:,} bytes, more than {MOST_BYTES:,}")
    return found


def run(*command: object, stdout: int | None = None) -> None:
    """Runs a command outside of the checkout, whose files it must not find by chance; raises where it fails."""
    subprocess.run([str(each) for each in command], cwd=WORK, check=True, stdout=stdout)


def environment(name: str, *requirements: object) -> pathlib.Path:
    """Returns the bin folder of a new environment with these requirements and nothing else."""
    folder = WORK / name
    # Without ensurepip, which Debian splits off into python3-venv: the pip of the Python that runs this installs.
    run(sys.executable, "-m", "venv", "--without-pip", folder)
    pip = (sys.executable, "-m", "pip", "-qq", "--disable-pip-version-check", "--python", folder / "bin/python")
    run(*pip, "install", *requirements)
    return folder / "bin"


def borrowing(name: str, wheel: pathlib.Path) -> pathlib.Path:
    """Returns the bin folder of a new environment with the wheel, on the libraries of the Python that runs this."""
    bin_folder = environment(name, "--no-deps", wheel)
    (site_packages,) = (bin_folder.parent / "lib").glob("python*/site-packages")
    # A path of a .pth file comes last, and the .pth files in it are not read: the checkout stays out of sight.
    (site_packages / "borrowed.pth").write_text(sysconfig.get_paths()["purelib"] + "\n", encoding="utf-8")
    return bin_folder


def built() -> list[pathlib.Path]:
    """Returns the sdist and the wheel, built, compared with the tree and read by twine.

    Raises:
        SystemExit: Something is in them that should not be, or is missing.
    """
    tools = environment("tools", "build", "twine")
    run(tools / "python", "-m", "build", "--outdir", WORK / "dist", ROOT, stdout=subprocess.DEVNULL)
    (wheel,) = (WORK / "dist").glob("*.whl")
    (sdist,) = (WORK / "dist").glob("*.tar.gz")
    if problems := wheel_problems(wheel, expected_files()) + sdist_problems(sdist, expected_files()):
        raise SystemExit("\n".join(problems))
    run(tools / "twine", "check", "--strict", sdist, wheel)
    return [sdist, wheel]


def program(text: str) -> list[str]:
    """Returns the arguments of Python for a program."""
    return ["-c", textwrap.dedent(text)]


def use_core(bin_folder: pathlib.Path, file: pathlib.Path) -> None:
    """Trains and exports a tiny network, and runs a command."""
    run(bin_folder / "python", *program(CORE), file)
    run(bin_folder / "keras-margin", "recipes", "orl_demo", stdout=subprocess.DEVNULL)


def main(arguments: list[str]) -> None:
    """Builds and checks."""
    started = time.monotonic()
    shutil.rmtree(WORK, ignore_errors=True)
    (WORK / "images").mkdir(parents=True)
    _, wheel = built()
    file = WORK / "tiny.tflite"

    use_core(borrowing("core", wheel), file)
    device = environment("litert", f"{wheel}[litert]")
    run(device / "python", *program(DEVICE), file, WORK / "images")
    run(device / "keras-margin", "--help", stdout=subprocess.DEVNULL)
    run(device / "keras-margin", "inspect", file)
    run(device / "keras-margin", "embed", file, WORK / "images", f"--out={WORK / 'rows.npz'}")

    if "--all" in arguments:
        use_core(environment("cpu", f"{wheel}[cpu]"), WORK / "again.tflite")
        run(environment("all", f"{wheel}[{FEATURES}]") / "python", *program(NAMESPACES))
    else:
        sys.stdout.write(f"Left out, make package-all: the extra cpu alone, and every namespace with {FEATURES}.\n")
    sys.stdout.write(f"The package is sound: {wheel.name}, {wheel.stat().st_size:,} bytes, ")
    sys.stdout.write(f"{time.monotonic() - started:.0f} s.\n")


if __name__ == "__main__":
    main(sys.argv[1:])
