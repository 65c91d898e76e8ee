"""The page of export/web with a file that takes photographs: the runtime's numbers in a real Chromium.

What the page found in Chromium's fake camera is compared with the runtime on the same pixels. See test_web.py for what
the browser's part needs.
"""

import json

import hopper
import numpy as np
import pytest
import web_page
from exported import small_network, smooth_picture
from PIL import Image

from keras_margin import alignment, export
from keras_margin._utils import metadata
from keras_margin._utils.decisions import Calibration, SearchThresholds, Zone
from keras_margin.alignment.transform import LANDMARKS_112
from keras_margin.runtime import Embedder

pytestmark = [pytest.mark.tensorflow_only, pytest.mark.slow]

CANVAS = (240, 320)


def photographs():
    """One larger than the canvas, one that fits, one with two faces, one without."""
    whole = hopper.photograph()
    small = _resized(whole, 160)
    two = np.full((200, 316, 3), 90, np.uint8)
    mirrored = _resized(whole, 136)[:160, ::-1]
    two[6 : 6 + len(small), :160], two[20 : 20 + len(mirrored), 176:312] = small, mirrored
    return {"whole.png": whole, "small.png": small, "two.png": two, "nobody.png": smooth_picture(3, 200, 150)}


def _resized(photo, width):
    height = round(width * photo.shape[0] / photo.shape[1])
    return np.asarray(Image.fromarray(photo).resize((width, height), Image.LANCZOS))


def write_video(path, frame, count=10):
    """Writes a Y4M of one frame, uint8 RGB of even sides: BT.601, 16 to 235, colors at half the size."""
    red, green, blue = np.moveaxis(frame.astype(np.float64) / 255, -1, 0)
    luma = 16 + 65.481 * red + 128.553 * green + 24.966 * blue
    chroma = [
        128 - 37.797 * red - 74.203 * green + 112.0 * blue,
        128 + 112.0 * red - 93.786 * green - 18.214 * blue,
    ]
    height, width = luma.shape
    halves = [each.reshape(height // 2, 2, width // 2, 2).mean((1, 3)) for each in chroma]
    planes = b"".join(np.rint(each).astype(np.uint8).tobytes() for each in (luma, *halves))
    header = f"YUV4MPEG2 W{width} H{height} F10:1 Ip A1:1 C420jpeg\n".encode()
    path.write_bytes(header + (b"FRAME\n" + planes) * count)


def write_models(folder, photos):
    """face.tflite with thresholds between the cosines of its own faces, and other.tflite, which is another file."""
    path = folder / "face.tflite"
    photo = export.Photo((CANVAS,), faces=2)
    export.to_tflite(small_network(112, 112, 1), path, photo=photo, photographs=[photos["two.png"]])
    plain = Embedder(path)
    (one,), (first, second) = (plain.faces(photos[name]) for name in ("small.png", "two.png"))
    near, far = (float(one.embedding @ other.embedding) for other in (first, second))
    assert far < near - 0.05, "the network's cosines leave no room for thresholds"
    zone = Zone(far - 0.05, (far + near) / 2, 1e-3, 1e-2)
    knots = np.array([-1.0, far, near, 1.0])
    llr = np.array([-6.0, 0.4, 3.1, 6.0])
    calibration = Calibration(knots, llr, llr - 0.5, llr + 0.5, zone=zone)
    between = [far + share * (near - far) for share in (0.3, 0.8)]
    searches = SearchThresholds([1.0, 1e-2, 1e-4, 1e-6], [-1.0, *between, 0.9999], 1e-4)
    about = plain.metadata | {"calibration": calibration.as_metadata(), "search": searches.as_metadata()}
    content = path.read_bytes()
    path.write_bytes(metadata.replace(content, json.dumps(about).encode()))
    (folder / "other.tflite").write_bytes(metadata.replace(content, json.dumps(about | {"about": "another"}).encode()))


def expectations(folder):
    """Photographs, models, the camera's video, and what keras_margin makes of them; written to expected.json."""
    photos = photographs()
    for name, photo in photos.items():
        Image.fromarray(photo).save(folder / name)
    frame = np.full((*CANVAS, 3), 120, np.uint8)
    frame[26 : 26 + len(photos["small.png"]), 80:240] = photos["small.png"]
    write_video(folder / "camera.y4m", frame)
    write_models(folder, photos)

    embedder = Embedder(folder / "face.tflite")
    faces = {name: embedder.faces(photo) for name, photo in photos.items()}
    assert [len(found) for found in faces.values()] == [1, 1, 2, 0]
    calibration, searches = Calibration.from_metadata(embedder.metadata), embedder.search_thresholds
    one, others = faces["small.png"][0], faces["two.png"]
    cosines = [float(np.float64(one.embedding) @ other.embedding) for other in others]
    moved = others[0].points + [[3, 3], *[[0, 0]] * 4]
    corrected = alignment.align_points(photos["two.png"], moved, embedder.image_size)
    # By hand the bench begins with the template, as large as fits.
    guess = LANDMARKS_112 * (150 / 112) + [(200 - 150) / 2, 0]
    by_hand = alignment.align_points(photos["nobody.png"], guess, embedder.image_size)
    expected = {
        "modelId": embedder.model_id,
        "photographs": {
            name: [
                {
                    "box": face.box.tolist(),
                    "points": face.points.ravel().tolist(),
                    "score": face.score,
                    "embedding": face.embedding.tolist(),
                }
                for face in found
            ]
            for name, found in faces.items()
        },
        "sizes": {name: {"width": photo.shape[1], "height": photo.shape[0]} for name, photo in photos.items()},
        "pairs": {
            index: {
                "cosine": cosine,
                "words": str(calibration.probability(cosine)),
                "rarely": str(calibration.probability(cosine, 0.01)),
                "verdict": calibration.zone.verdict(cosine),
            }
            for index, cosine in enumerate(cosines)
        },
        "corrected": float(one.embedding @ embedder.embed(corrected)[0]),
        "byHand": float(one.embedding @ embedder.embed(by_hand)[0]),
        "searches": {count: f"{searches.threshold(count, 0.01):.3f}" for count in (1, 2)},
    }
    (folder / "expected.json").write_text(json.dumps(expected))
    return embedder


@pytest.fixture(scope="module")
def page_of_photographs(tmp_path_factory):
    """(folder of models and pictures, the runtime's embedder, what runs a file of export/web/test against the page)."""
    web_page.need_browser()
    folder = tmp_path_factory.mktemp("page")
    embedder = expectations(folder)
    with web_page.served(web_page.script(), folder / "face.tflite") as port:
        yield folder, embedder, lambda test: web_page.run_in_browser(test, port, folder)


def test_the_page_does_what_the_runtime_does_with_photographs(page_of_photographs):
    """Finds, compares and recognizes faces in Chromium with the runtime's numbers to 1e-3, camera included."""
    folder, embedder, run_in_browser = page_of_photographs
    run = run_in_browser("test/photographs.mjs")
    assert run.returncode == 0, run.stdout + run.stderr

    taken = json.loads((folder / "taken.json").read_text())
    pixels = np.array(taken["rgb"], np.uint8).reshape(taken["height"], taken["width"], 3)
    (wanted,), (found,) = embedder.faces(pixels), taken["faces"]
    np.testing.assert_allclose(found["box"], wanted.box, atol=1e-3)
    np.testing.assert_allclose(found["points"], wanted.points.ravel(), atol=1e-3)
    np.testing.assert_allclose(found["embedding"], wanted.embedding, atol=1e-3)


def test_the_page_bears_changing_models_and_failing_networks(page_of_photographs):
    """Leaves nothing of an old model beside a new one, and no frame busy for ever."""
    _, _, run_in_browser = page_of_photographs
    run = run_in_browser("test/switching.mjs")
    assert run.returncode == 0, run.stdout + run.stderr
