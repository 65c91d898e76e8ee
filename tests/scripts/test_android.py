"""export/android: the app compiled against stubs of Android and LiteRT, its arithmetic run beside the library's."""

import json
import re
import shutil
import subprocess
from xml.etree import ElementTree

import numpy as np
import pytest
from scripts import ROOT

from keras_margin._utils import canvas
from keras_margin._utils.decisions import Calibration, SearchThresholds

pytestmark = pytest.mark.slow

PROJECT = ROOT / "export" / "android" / "app" / "src" / "main"
FIXTURES = ROOT / "tests" / "scripts" / "fixtures"
SCORES = [-1.0, -0.2, 0.0, 0.1, 0.25, 0.3, 0.5, 0.61, 1.0]
ROWS = np.random.default_rng(3).normal(size=(3, 24)).astype(np.float32)
PICTURES = {
    name: np.random.default_rng(4).integers(0, 256, (*size, 3), np.uint8)
    for name, size in (("small", (20, 30)), ("large", (97, 61)), ("strip", (1, 300)))
}
METADATA = {
    "image": {"height": 112, "width": 96},
    "embedding": {"size": 24},
    "photo": {
        "canvases": [{"height": 24, "width": 32, "detect": "detect", "embed": "embed"}],
        "faces": 8,
    },
    "threshold": {"cosine": 0.35},
    "calibration": {
        "cosine": [0.0, 0.2, 0.5],
        "llr": [-6.5, -1e-3, 7.25],
        "low": [-7.0, -1.0, 6.0],
        "high": [-5.0, 1.0, 8.0],
        "prior": 0.5,
        "zone": {"different_below": 0.1, "same_from": 0.3, "far": 1e-3, "frr": 1e-2},
    },
    "search": {"far": [1.0, 1e-2, 1e-4, 1e-6], "cosine": [-1.0, 0.2, 0.4, 0.6], "measured_to": 1e-4},
    "model_id": 'ab\u00e912 "quoted"\n',
    "about": {"limits": None, "measured": [True, False, {}, []]},
}


@pytest.fixture(scope="module")
def printed(tmp_path_factory):
    """{first word: the rest} of the lines that the program prints; every source of the app is compiled with it."""
    if not (shutil.which("kotlinc") and shutil.which("java")):
        pytest.skip("needs kotlinc and java (Debian's kotlin)")
    folder = tmp_path_factory.mktemp("android")
    stubs = re.split(r"^// FILE (\S+)\n", (FIXTURES / "android_stubs.java.txt").read_text(encoding="utf-8"), flags=re.M)
    for name, text in zip(stubs[1::2], stubs[2::2], strict=True):
        path = folder / "stubs" / f"{name}.java"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    sources = [str(path) for path in sorted((PROJECT / "kotlin").rglob("*.kt"))]
    # The compiler runs once and briefly: compiled itself without much ado, it takes half of the time.
    quick = ["-J-XX:TieredStopAtLevel=1", "-J-XX:+UseSerialGC"]
    sources += [str(FIXTURES / "AndroidMain.kt"), "stubs"]
    build = ["kotlinc", *quick, *sources, "-include-runtime", "-d", "main.jar"]
    done = subprocess.run(build, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (folder / "face.tflite.json").write_text(json.dumps(METADATA, indent=1), encoding="utf-8")
    (folder / "scores.txt").write_text(" ".join(map(str, SCORES)))
    (folder / "rows.txt").write_text("\n".join(" ".join(map(str, row)) for row in ROWS.tolist()))
    for name, picture in PICTURES.items():
        # A Bitmap's ARGB, opaque, as the signed integers of Kotlin.
        argb = ((255 << 24) | (picture.astype(np.uint32) << [16, 8, 0]).sum(axis=-1)).astype(np.uint32).view(np.int32)
        (folder / f"{name}.txt").write_text(" ".join(map(str, argb.ravel())))
        (folder / f"{name}.size.txt").write_text(" ".join(map(str, picture.shape[:2])))
    run = ["java", "-Dfile.encoding=UTF-8", "-jar", "main.jar", "."]
    found = subprocess.run(run, cwd=folder, capture_output=True, encoding="utf-8", check=True)
    return dict(line.split(" ", 1) for line in found.stdout.splitlines() if line)


def test_the_metadata_are_read(printed):
    """Canvas and signatures, sizes, and a string with escapes."""
    assert printed["canvas"] == "24 32 detect embed"
    assert printed["sizes"] == "8 24"
    assert printed["model"] == 'ab\u00e912 "quoted"'


def test_probabilities_and_verdicts_are_the_librarys(printed):
    """At even odds and at one in a hundred; below, between and above the two thresholds."""
    calibration = Calibration.from_metadata(METADATA)
    for name, prior in (("probability", None), ("prior", 0.01)):
        wanted = [calibration.probability(score, prior).probability for score in SCORES]
        np.testing.assert_allclose(np.float64(printed[name].split()), wanted, rtol=1e-12)
    assert printed["verdict"].split() == [calibration.zone.verdict(score) for score in SCORES]


def test_a_searchs_threshold_is_the_librarys(printed):
    """It knows how many are searched; beyond the table its strictest; without the table that of two faces."""
    search = SearchThresholds(**METADATA["search"])
    wanted = [search.threshold(1, 0.01), search.threshold(50, 0.01), METADATA["search"]["cosine"][-1]]
    np.testing.assert_allclose(np.float64(printed["search"].split()), wanted, rtol=1e-12)
    assert float(printed["pair"]) == METADATA["calibration"]["zone"]["same_from"]


def test_cosines_and_gallery_are_exact(printed):
    """A row of zeros is like nobody; the gallery comes back from its file, names the nearest, and is erased."""
    one, other, probe = np.float64(ROWS)
    cosines = [
        float(a @ b / np.linalg.norm(a) / np.linalg.norm(b)) for a, b in ((one, other), (one, probe), (other, probe))
    ]
    np.testing.assert_allclose(np.float64(printed["cosine"].split()), [cosines[0], 0.0], rtol=1e-12)
    name, score, nobody = printed["match"].split(",")
    assert name == ("Ada" if cosines[1] > cosines[2] else "Grace Höpper") and nobody == "null"
    np.testing.assert_allclose(float(score), max(cosines[1:]), rtol=1e-12)
    assert printed["names"] == "Ada,Grace Höpper" and printed["size"] == "2"
    assert printed["erased"] == "0 null false" and printed["stuck"].startswith("The gallery's file cannot be deleted")


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_is_placed_as_the_runtime_places_it(printed, name):
    """One that fits, one that is larger by no whole number, and a strip: pixels, size, and the way back."""
    wanted = canvas.place(PICTURES[name], (24, 32))
    height, width, x, y = map(float, printed[name].split())
    assert [height, width] == wanted.size.tolist()
    np.testing.assert_allclose([x, y], wanted.to_photograph([3.0, 5.0]), rtol=1e-12)
    np.testing.assert_array_equal(np.uint8(printed[f"{name}_pixels"].split()), wanted.pixels.ravel())


def test_the_manifest_lets_no_picture_out():
    """The app may use the camera and nothing else; its data are not backed up."""
    text = (PROJECT / "AndroidManifest.xml").read_text(encoding="utf-8")
    assert re.findall(r'uses-permission android:name="([^"]+)"', text) == ["android.permission.CAMERA"]
    assert 'android:allowBackup="false"' in text and 'android:dataExtractionRules="@xml/nothing_leaves"' in text
    rules = ElementTree.parse(PROJECT / "res" / "xml" / "nothing_leaves.xml").getroot()
    domains = {"root", "file", "database", "sharedpref", "external"}
    domains |= {f"device_{name}" for name in domains - {"external"}}
    for way in ("cloud-backup", "device-transfer"):
        assert {each.get("domain") for each in rules.find(way).findall("exclude")} == domains
