"""The page of export/web: its numbers are the library's, in Node and in a real Chromium; what its server gives out.

`python tests/scripts/test_web.py --write` writes export/web/test/golden.json again, the numbers that Node's own tests
stand on. The browser's part needs Node, `npm ci` in export/web and a Chromium; without them it is skipped, and says so.
Where KERAS_MARGIN_WEB=required, as in `make test-web`, it fails instead.
"""

import base64
import hashlib
import http.client
import json
import math
import pathlib
import re
import subprocess
import sys

import numpy as np
import pytest
import web_page
from exported import small_network, smooth_picture
from PIL import Image
from scripts import run_main
from web_page import PAGE

from keras_margin import alignment
from keras_margin.alignment import transform
from keras_margin.alignment.transform import LANDMARKS_112

GOLDEN = PAGE / "test" / "golden.json"

# Five points in pictures of 60 to 300 pixels: upright, turned, turned over, shifted out of the picture, uneven.
FACES = {
    "upright": [[100.5, 120.25], [170.0, 118.5], [134.0, 160.0], [108.0, 201.75], [165.5, 200.0]],
    "turned": [[62.0, 140.0], [118.0, 92.0], [112.0, 146.0], [118.0, 192.0], [160.0, 158.0]],
    "upside down": [[170.0, 200.0], [100.0, 202.0], [136.0, 158.0], [166.0, 118.0], [104.0, 116.0]],
    "half outside": [[-20.0, 30.0], [40.0, 22.0], [8.0, 66.0], [-12.0, 101.0], [36.0, 96.0]],
    "small": [[20.0, 22.0], [31.0, 21.0], [26.5, 28.0], [22.0, 34.5], [30.0, 34.0]],
}
SIZES = [(112, 112), (112, 96), (64, 80)]


def golden():
    """What Node's tests compare with: transforms of every face and size, and small warps in full."""
    transforms = [
        {
            "name": name,
            "size": size,
            "points": points,
            "template": transform.landmark_template(size).tolist(),
            "matrix": transform.similarity_transform(points, transform.landmark_template(size)).tolist(),
        }
        for name, points in FACES.items()
        for size in SIZES
    ]
    pictures = {"smooth": smooth_picture(3, 9, 7), "noise": np.random.default_rng(5).integers(0, 256, (41, 58, 3))}
    pictures["noise"] = pictures["noise"].astype(np.uint8)
    faces = [
        ("smooth", [[2.5, 2.0], [6.0, 2.25], [4.25, 3.5], [2.75, 5.0], [5.75, 5.25]], (12, 12)),
        ("smooth", [[1.0, 4.0], [4.0, 1.0], [4.5, 4.0], [4.0, 6.5], [6.5, 4.0]], (14, 10)),
        ("smooth", [[-2.0, 1.0], [2.0, 0.5], [0.0, 3.0], [-1.5, 5.0], [1.75, 5.0]], (8, 8)),
    ]
    # Faces 1.4 to 20 times as large as the crop's, turned, on noise, where a missed pixel shows.
    for shrink, size in [(1.4, (9, 9)), (2.0, (9, 7)), (3.3, (8, 8)), (4.0, (7, 7)), (7.0, (6, 6)), (20.0, (4, 4))]:
        turn = [[math.cos(0.6), math.sin(0.6)], [-math.sin(0.6), math.cos(0.6)]]
        points = shrink * transform.landmark_template(size) @ turn + [29.3, 20.1]
        faces.append(("noise", points.tolist(), size))
    crops = [
        {
            "size": size,
            "points": points,
            "picture": name,
            "rgb": alignment.align_points(pictures[name], np.asarray(points), size).ravel().tolist(),
        }
        for name, points, size in faces
    ]
    kept = {
        name: {"width": picture.shape[1], "height": picture.shape[0], "rgb": picture.ravel().tolist()}
        for name, picture in pictures.items()
    }
    return {"transforms": transforms, "pictures": kept, "crops": crops}


@pytest.fixture(scope="module")
def serve_web():
    return web_page.script()


# --- Without a browser ----------------------------------------------------------------------------------------------


def test_node_s_tests_stand_on_the_library_s_numbers():
    """Feeds Node's tests the library's numbers."""
    found, wanted = json.loads(GOLDEN.read_text()), golden()
    for kept, made in zip(found["transforms"], wanted["transforms"], strict=True):
        assert kept["points"] == made["points"] and tuple(kept["size"]) == tuple(made["size"])
        np.testing.assert_allclose(kept["matrix"], made["matrix"], rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(kept["template"], made["template"], rtol=1e-15)
    assert found["crops"] == json.loads(json.dumps(wanted["crops"])) and found["pictures"] == wanted["pictures"]


def test_the_policy_admits_the_import_map_alone():
    """Admits the page's own import map, and no other script."""
    page = (PAGE / "index.html").read_text()
    inline = re.findall(r"<script(?![^>]*\bsrc=)[^>]*>(.*?)</script>", page, re.DOTALL)
    assert len(inline) == 1, "an inline script next to the import map would be refused by the policy"
    digest = base64.b64encode(hashlib.sha256(inline[0].encode()).digest()).decode()
    policy = re.search(r'Content-Security-Policy"\s+content="([^"]*)"', page).group(1)
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["script-src"] == f"'self' 'wasm-unsafe-eval' 'sha256-{digest}'"
    assert rules["default-src"] == "'none'" and rules["connect-src"] == "'self'"
    # Nothing of the page names another host.
    for file in [*PAGE.glob("*.js"), *PAGE.glob("*.html"), *PAGE.glob("*.css")]:
        addresses = set(re.findall(r"https?://[\w./-]+", file.read_text())) - {"http://www.w3.org/2000/svg"}
        assert not addresses, f"{file.name} names {addresses}"


def test_the_lock_file_matches_package_json():
    """Locks what package.json asks for, without addresses."""
    package, lock = (json.loads((PAGE / name).read_text()) for name in ("package.json", "package-lock.json"))
    root = lock["packages"][""]
    for kind in ("dependencies", "devDependencies"):
        assert root[kind] == package[kind]
        for name, version in package[kind].items():
            assert lock["packages"][f"node_modules/{name}"]["version"] == version
    assert "://" not in json.dumps(lock)


@pytest.fixture
def without_litert(serve_web, monkeypatch, tmp_path):
    monkeypatch.setattr(serve_web, "RUNTIME", tmp_path)
    return serve_web


@pytest.mark.parametrize("name", ["face.tflite", "my face.tflite", "顔 é.tflite"])
def test_the_server_serves_the_page_and_the_model_alone(name, without_litert, tmp_path):
    """Serves the page and the model, and nothing else."""
    model = tmp_path / name
    model.write_bytes(b"model")
    (tmp_path / f"{name}.json").write_text("{}")
    (tmp_path / "secret.json").write_text("{}")

    def get(path):
        connection = http.client.HTTPConnection("127.0.0.1", port)
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read(), answer.headers

    with web_page.served(without_litert, model) as port:
        status, _, headers = get("/")
        assert status == 302
        asked = re.fullmatch(r"/index\.html\?model=(model/\S+)", headers["Location"]).group(1)
        assert get(f"/{asked}")[:2] == (200, b"model")
        assert get(f"/{asked}.json")[:2] == (200, b"{}")
        status, body, headers = get("/index.html?model=x")
        assert status == 200 and headers["Content-Type"] == "text/html" and body == (PAGE / "index.html").read_bytes()
        assert get("/app.js")[2]["Content-Type"] == "text/javascript"
        for path in ("/package.json", "/test/golden.json", "/model/secret.json", "/model/", "/../to_tflite.py"):
            assert get(path)[0] == 404, path
        for path in ("/node_modules/", "/%2e%2e/serve_web.py", "/model/../../../../etc/passwd", "/none"):
            assert get(path)[0] == 404, path


def test_a_command_that_cannot_serve_says_why(tmp_path):
    """Says why a command cannot serve."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "face.txt").write_text("")
    (tmp_path / "face.tflite").write_bytes(b"")
    lines = [
        ["--model", tmp_path / "none.tflite"],
        ["--model", tmp_path / "empty"],
        ["--model", tmp_path / "face.txt"],
        ["--model", tmp_path / "face.tflite", "extra"],
    ]
    found, _ = run_main("export/serve_web.py", *lines)
    told = [
        "There is no such file",
        "neither embedder.tflite nor model.keras",
        ".tflite or .keras",
        "All options are flags",
    ]
    for (code, out), words in zip(found, told, strict=True):
        assert str(code).startswith("error: ") and words in code and not out


def test_without_litert_js_the_server_names_the_command(serve_web, monkeypatch, tmp_path):
    """Names the command that installs LiteRT.js."""
    monkeypatch.setattr(serve_web, "RUNTIME", tmp_path / "none")
    with pytest.raises(FileNotFoundError, match="make web"):
        serve_web.make_server("face.tflite", 0)


@pytest.mark.slow
def test_the_pure_functions_pass_node_s_own_tests():
    """Passes Node's own tests of the pure functions."""
    web_page.missing(("Node 20 or later", web_page.node()))
    files = sorted(str(file) for file in (PAGE / "test").glob("*.test.js"))
    run = subprocess.run([web_page.node(), "--test", *files], cwd=PAGE, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr


# --- In Chromium ----------------------------------------------------------------------------------------------------


def write_models(folder):
    """Two embedders, square and not, and files that are none."""
    import tensorflow as tf

    from keras_margin import export

    square = np.stack([smooth_picture(seed, 112, 112) for seed in (1, 2)])
    export.to_tflite(small_network(112, 112, 1), folder / "square.tflite", samples=square)
    # A fixed batch, and a threshold inside: ten people, two pictures each, at a FAR that 180 impostor pairs can show.
    people = np.stack([smooth_picture(seed, 96, 112) for seed in range(20, 30)]).repeat(2, axis=0).astype(int)
    noise = np.random.default_rng(0).integers(-60, 61, people.shape)
    narrow = np.clip(people + noise, 0, 255).astype(np.uint8)
    options = export.Options(batch_size=1, far=0.1)
    export.to_tflite(
        small_network(112, 96, 2), folder / "narrow.tflite", pairs=(narrow, np.arange(20) // 2), options=options
    )
    # Without metadata inside, so that the JSON next to it counts.
    bare = (folder / "square.tflite").read_bytes().replace(b"keras_margin.contract", b"keras_margin.no_thing")
    (folder / "bare.tflite").write_bytes(bare)
    for name, shape, dtype in (
        ("float.tflite", (1, 8, 8, 3), tf.float32),
        ("free size.tflite", (1, None, None, 3), tf.uint8),
        ("no images.tflite", (1, 7), tf.float32),
    ):
        function = tf.function(
            lambda x: tf.reduce_mean(tf.cast(x, tf.float32), axis=-1), input_signature=[tf.TensorSpec(shape, dtype)]
        )
        converter = tf.lite.TFLiteConverter.from_concrete_functions([function.get_concrete_function()])
        (folder / name).write_bytes(converter.convert())
    whole = (folder / "square.tflite").read_bytes()
    (folder / "cut.tflite").write_bytes(whole[: len(whole) // 2])
    (folder / "picture.tflite").write_bytes((folder / "a.png").read_bytes())


def expectations(folder):
    """Pictures, models and what keras_margin makes of them; written to expected.json for the browser's test."""
    from keras_margin._utils import metadata
    from keras_margin.runtime import Embedder

    pictures = {name: smooth_picture(seed, 112, 112) for name, seed in (("a", 11), ("b", 12))}
    pictures["photo"] = smooth_picture(13, 300, 260)
    for name, picture in pictures.items():
        Image.fromarray(picture).save(folder / f"{name}.png")
    tag = Image.Exif()
    tag[0x0112] = 6  # Turned by a quarter: a reader must show it 260 wide and 300 high.
    Image.fromarray(pictures["photo"]).save(folder / "turned.jpg", exif=tag)
    write_models(folder)

    # The bench begins with the template, scaled to the picture's height and centred; keys move whole pixels.
    scale = 260 / 112
    guess = np.asarray(LANDMARKS_112) * scale + [(300 - 260) / 2, 0]
    moves = [[12, 3], [-9, 4], [2, -6], [5, 0], [-11, -12]]
    points = guess + moves
    expected = {"moves": moves, "guess": guess.tolist(), "models": {}}
    for name, size in (("square.tflite", (112, 112)), ("narrow.tflite", (112, 96))):
        embedder = Embedder(folder / name)
        crop = alignment.align_points(pictures["photo"], points, size)
        a = pictures["a"] if size == (112, 112) else crop
        expected["models"][name] = {
            "size": size,
            "numbers": embedder.embedding_size,
            "crop": crop.ravel().tolist(),
            "embedding": embedder.embed(a)[0].tolist(),
            "a with crop": embedder.verify(a, crop),
            "threshold": (metadata.read_metadata(folder / name)["threshold"] or {}).get("cosine"),
        }
    square = Embedder(folder / "square.tflite")
    cosine = expected["models"]["square.tflite"]["a with b"] = square.verify(pictures["a"], pictures["b"])
    for name, threshold in (("below.json", cosine - 0.01), ("above.json", cosine + 0.01), ("absurd.json", 1.5)):
        (folder / name).write_text(json.dumps({"threshold": {"cosine": threshold, "far": 0.001}}))
    (folder / "expected.json").write_text(json.dumps(expected))


@pytest.mark.tensorflow_only
def test_chromium_gives_the_runtimes_numbers(serve_web, tmp_path):
    """Computes the runtime's numbers on the page in Chromium."""
    web_page.need_browser()
    expectations(tmp_path)
    with web_page.served(serve_web, tmp_path / "square.tflite") as port:
        run = web_page.run_in_browser("test/browser.mjs", port, tmp_path)
    assert run.returncode == 0, run.stdout + run.stderr


if __name__ == "__main__":
    if sys.argv[1:] != ["--write"]:
        sys.exit("python tests/scripts/test_web.py --write")
    pathlib.Path(GOLDEN).write_text(json.dumps(golden()) + "\n")
