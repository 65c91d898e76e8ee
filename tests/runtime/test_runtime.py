"""Embedder against tiny networks whose embeddings a NumPy formula gives."""

import builtins
import pickle
import threading
import time

import numpy as np
import pytest
from tflite_networks import (
    HEIGHT,
    NORMALIZATION,
    SIZE,
    WIDTH,
    convert,
    expected,
    full_integer,
    images_of,
    own_export,
    project,
    with_metadata,
)

from keras_margin.runtime import Embedder, Gallery


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def free_batch(folder):
    return convert(folder, "free_batch", [None, HEIGHT, WIDTH, 3], "uint8", own_export)


@pytest.fixture(scope="module")
def fixed_batch(folder):
    return convert(folder, "fixed_batch", [3, HEIGHT, WIDTH, 3], "float32", project)


@pytest.fixture(scope="module")
def int8(folder):
    options = full_integer(np.int8, *NORMALIZATION)
    return convert(folder, "int8", [3, HEIGHT, WIDTH, 3], "float32", project, **options)


def test_embeddings_are_the_formulas_at_any_batch_size(free_batch):
    """Embeds with our own export as the formulas do, at every batch size."""
    embedder, images = Embedder(free_batch), images_of(70)
    for count in (1, 2, 32, 33, 70, 3):
        embeddings = embedder.embed(images[:count])
        assert embeddings.dtype == np.float32
        np.testing.assert_allclose(embeddings, expected(images[:count]), atol=1e-6)


def test_one_image_embeds_like_a_batch_of_one(free_batch):
    """Embeds one image like a batch of one."""
    embedder, images = Embedder(free_batch), images_of(1)
    np.testing.assert_array_equal(embedder.embed(images[0]), embedder.embed(images))


def test_lists_and_strided_views_embed_like_the_array(free_batch):
    """Embeds a list of images and a strided view like the array."""
    embedder, images = Embedder(free_batch), images_of(4)
    np.testing.assert_array_equal(embedder.embed(list(images)), embedder.embed(images))
    bgr = np.ascontiguousarray(images[..., ::-1])
    np.testing.assert_array_equal(embedder.embed(bgr[..., ::-1]), embedder.embed(images))


def test_a_fixed_batch_is_padded_and_the_padding_leaves_no_trace(fixed_batch):
    """Pads a fixed batch, and the padding leaves no trace."""
    embedder, images = Embedder(fixed_batch, normalization=NORMALIZATION), images_of(7)
    for count in (1, 2, 3, 4, 7):
        np.testing.assert_allclose(embedder.embed(images[:count]), expected(images[:count]), atol=1e-6)


def test_normalization_may_differ_by_channel(fixed_batch):
    """Accepts another normalization for each channel."""
    mean, std = (120.0, 110.0, 100.0), (60.0, 70.0, 80.0)
    embeddings = Embedder(fixed_batch, normalization=(mean, std)).embed(images_of(2))
    np.testing.assert_allclose(embeddings, expected(images_of(2), np.array(mean), np.array(std)), atol=1e-6)


def test_a_normalization_has_a_name_or_is_declared(fixed_batch, tmp_path):
    """`imagenet`, as an argument or as `image.normalization` in the metadata; another than declared is refused."""
    mean, std = np.array([123.675, 116.28, 103.53]), np.array([58.395, 57.12, 57.375])
    wanted = expected(images_of(2), mean, std)
    np.testing.assert_allclose(Embedder(fixed_batch, "imagenet").embed(images_of(2)), wanted, atol=1e-6)
    told = {"normalization": {"mean": mean.tolist(), "std": std.tolist()}}
    path = with_metadata(fixed_batch, tmp_path / "declared.tflite", image=told)
    np.testing.assert_allclose(Embedder(path).embed(images_of(2)), wanted, atol=1e-6)
    with pytest.raises(ValueError, match="declare normalization=.*Received: normalization='raw'"):
        Embedder(path, "raw")


def test_a_bgr_network_is_fed_bgr_from_rgb_images(fixed_batch, free_batch, folder):
    """Feeds a BGR network BGR from RGB images and an RGB normalization."""
    mean, std = (120.0, 110.0, 100.0), (60.0, 70.0, 80.0)
    embedder, images = Embedder(fixed_batch, normalization=(mean, std), channels="BGR"), images_of(2)
    # Of blue, green, red: what the kernel of this network takes for its first, second and third channel.
    wanted = expected(images[..., ::-1], np.array(mean[::-1]), np.array(std[::-1]))
    np.testing.assert_allclose(embedder.embed(images), wanted, atol=1e-6)
    pixels = Embedder(free_batch, channels="BGR").embed(images)
    np.testing.assert_allclose(pixels, expected(images[..., ::-1]), atol=1e-6)
    first = convert(folder, "bgr_first", [2, 3, HEIGHT, WIDTH], "float32", _of_channels_first)
    embedder = Embedder(first, normalization=(mean, std), channels="BGR")
    np.testing.assert_allclose(embedder.embed(images), wanted, atol=1e-6)


def _of_channels_first(image, kernel):
    import tensorflow as tf

    return project(tf.transpose(image, [0, 2, 3, 1]), kernel)


def test_the_metadatas_channels_need_no_argument(fixed_batch, tmp_path):
    """A file that says BGR is fed BGR; the error on RGB shows what was given."""
    path = with_metadata(fixed_batch, tmp_path / "bgr.tflite", image={"channels": "BGR"})
    wanted = Embedder(fixed_batch, NORMALIZATION, channels="BGR").embed(images_of(2))
    np.testing.assert_array_equal(Embedder(path, NORMALIZATION).embed(images_of(2)), wanted)
    with pytest.raises(ValueError, match="takes BGR by its own metadata. Received: channels='RGB'"):
        Embedder(path, NORMALIZATION, channels="RGB")


@pytest.mark.parametrize("declared", ["bgr", "GRAY", 3])
def test_unknown_channels_of_the_metadata_are_refused(fixed_batch, declared, tmp_path):
    """They ran as RGB; a file that takes another order answers wrong embeddings then."""
    path = with_metadata(fixed_batch, tmp_path / "odd.tflite", image={"channels": declared})
    with pytest.raises(ValueError, match=rf"declares image.channels={declared!r}; .* Correct its metadata"):
        Embedder(path, NORMALIZATION)


def test_an_embedder_is_pickled_by_its_settings(fixed_batch):
    """In another process it opens the file again, with the same normalization, threads and channels."""
    embedder = Embedder(fixed_batch, NORMALIZATION, num_threads=1, channels="BGR")
    again = pickle.loads(pickle.dumps(embedder))
    np.testing.assert_array_equal(again.embed(images_of(2)), embedder.embed(images_of(2)))


def test_an_int8_network_has_its_own_scales(int8):
    """Quantizes and dequantizes for an int8 network by its own scales."""
    embedder, images = Embedder(int8, normalization=NORMALIZATION), images_of(7)
    assert embedder.input_details["dtype"] == np.int8
    # 8-bit input, weights and output; one scale a tensor. A wrong zero point or a missing normalisation gives < 0.9.
    assert np.sum(embedder.embed(images) * expected(images), axis=1).min() > 0.995


def test_a_uint8_network_of_values_needs_normalization(folder):
    """Requires and obeys normalization for a quantized uint8 network of normalized values."""
    options = full_integer(np.uint8, *NORMALIZATION)
    path = convert(folder, "uint8_values", [3, HEIGHT, WIDTH, 3], "float32", project, **options)
    with pytest.raises(ValueError, match=r"uint8 standing for -0.99.* to 1, .*normalization=\(127\.5, 128\.0\)"):
        Embedder(path)
    images = images_of(4)
    embeddings = Embedder(path, normalization=NORMALIZATION).embed(images)
    assert np.sum(embeddings * expected(images), axis=1).min() > 0.995


def test_a_range_of_0_to_255_takes_pixels(folder):
    """Feeds pixels to a quantized network whose range is 0 to 255."""

    def normalise_inside(image, kernel):
        return project((image - 127.5) / 128.0, kernel)

    options = full_integer(np.int8, 0.0, 1.0)
    path = convert(folder, "int8_pixels", [3, HEIGHT, WIDTH, 3], "float32", normalise_inside, **options)
    images = images_of(4)
    assert np.sum(Embedder(path).embed(images) * expected(images), axis=1).min() > 0.99
    with pytest.raises(ValueError, match="takes pixels from 0 to 255 and normalises inside"):
        Embedder(path, normalization=NORMALIZATION)


def test_full_int8_takes_uint8_pixels_at_any_batch_size(folder):
    """Feeds uint8 pixels to our own export in full int8, at any batch size."""
    options = full_integer(np.uint8, 0.0, 1.0)
    options["representative_dataset"] = lambda: ([images_of(1, seed)] for seed in range(20))
    path = convert(folder, "own_int8", [None, HEIGHT, WIDTH, 3], "uint8", own_export, **options)
    embedder, images = Embedder(path), images_of(40)
    for count in (1, 40, 3):
        assert np.sum(embedder.embed(images[:count]) * expected(images[:count]), axis=1).min() > 0.99


def test_a_channels_first_network_is_fed_transposed(folder):
    """Transposes images for a channels-first network."""

    def channels_first(image, kernel):
        import tensorflow as tf

        return project(tf.transpose(image, [0, 2, 3, 1]), kernel)

    path = convert(folder, "channels_first", [1, 3, HEIGHT, WIDTH], "float32", channels_first)
    embedder = Embedder(path, normalization=NORMALIZATION)
    assert embedder.image_size == (HEIGHT, WIDTH)
    np.testing.assert_allclose(embedder.embed(images_of(3)), expected(images_of(3)), atol=1e-6)


@pytest.mark.slow
def test_of_several_outputs_the_one_named_embedding_is_taken(folder):
    """Takes the output named embedding among several."""

    def two_outputs(image, kernel):
        return {"a_quality": image[:, 0, 0, :1], "embedding": project(image, kernel)["embedding"]}

    path = convert(folder, "two_outputs", [1, HEIGHT, WIDTH, 3], "float32", two_outputs)
    embeddings = Embedder(path, normalization=NORMALIZATION).embed(images_of(2))
    np.testing.assert_allclose(embeddings, expected(images_of(2)), atol=1e-6)

    def no_name(image, kernel):
        return {"a_quality": image[:, 0, 0, :1], "features": project(image, kernel)["embedding"]}

    path = convert(folder, "no_name", [1, HEIGHT, WIDTH, 3], "float32", no_name)
    with pytest.raises(ValueError, match=r"one that its signature calls 'embedding'.*no_name\.tflite"):
        Embedder(path, normalization=NORMALIZATION)


def test_a_zero_embedding_stays_zero_and_is_never_nan(fixed_batch):
    """Keeps a zero embedding, and never returns NaN."""
    grey = np.full((HEIGHT, WIDTH, 3), 128, np.uint8)  # (128 - 128) / 1 = 0 everywhere
    embedder, image = Embedder(fixed_batch, normalization=(128.0, 1.0)), images_of(1)[0]
    np.testing.assert_array_equal(embedder.embed(grey), np.zeros((1, SIZE)))
    assert embedder.verify(grey, image) == 0.0
    assert embedder.verify(grey, grey) == 0.0


def test_a_network_that_answers_nan_counts_its_images(folder):
    """Raises for a network that answers NaN, and counts the images."""

    def root(image, kernel):
        import tensorflow as tf

        return {"embedding": tf.sqrt(image[:, 0, 0, :])}

    path = convert(folder, "root", [1, HEIGHT, WIDTH, 3], "float32", root)
    images = np.full((3, HEIGHT, WIDTH, 3), 200, np.uint8)
    images[1] = 10
    with pytest.raises(ValueError, match=r"root\.tflite holds NaN or infinity in 1 of 3 rows, first in row 1"):
        Embedder(path, normalization=(100.0, 1.0)).embed(images)


def test_verify_is_the_cosine_of_the_two_embeddings(free_batch):
    """Returns the cosine of two embeddings in verify."""
    embedder, (a, b) = Embedder(free_batch), images_of(2)
    cosine = expected(a[None])[0] @ expected(b[None])[0]
    assert embedder.verify(a, b) == pytest.approx(cosine, abs=1e-6)
    assert embedder.verify(a, a) == pytest.approx(1.0, abs=1e-6)
    assert embedder.verify(a, a) <= 1.0


def test_identify_finds_the_most_similar_row(free_batch):
    """Finds the most similar row of a gallery, whatever the lengths."""
    embedder, known = Embedder(free_batch), images_of(90, seed=2)
    order = np.random.default_rng(3).permutation(90)[:80]
    # A few grey levels of noise keep a probe nearest to its own entry; the rows' lengths must not matter.
    noise = np.random.default_rng(4).integers(-3, 4, (80, HEIGHT, WIDTH, 3))
    probes = np.clip(known[order] + noise, 0, 255).astype(np.uint8)
    gallery = expected(known) * np.linspace(0.1, 10.0, 90)[:, None]
    indices, scores = embedder.identify(probes, gallery)
    np.testing.assert_array_equal(indices, order)
    np.testing.assert_allclose(scores, np.sum(expected(probes) * expected(known[order]), axis=1), atol=1e-6)


def gallery_of(embedder, known):
    gallery = Gallery(embedder.embedding_size, embedder.model_id)
    gallery.enroll([f"person {number}" for number in range(len(known))], embedder.embed(known))
    return gallery


def test_identify_without_any_threshold_is_refused(free_batch):
    """A gallery of one person would answer everybody with that person: as is_same, identify needs a threshold."""
    embedder = Embedder(free_batch)
    gallery = gallery_of(embedder, images_of(1, seed=5))
    with pytest.raises(ValueError, match=r"free_batch\.tflite ships no threshold: pass threshold="):
        embedder.identify(images_of(1, seed=6), gallery)
    with pytest.raises(ValueError, match=r"a cosine in \[-1, 1\]. Received: threshold=2"):
        embedder.identify(images_of(1, seed=6), gallery, threshold=2)


def test_identify_names_who_reaches_the_threshold(free_batch):
    """Above the cosine of the two nobody, at -1 the nearest whoever it is."""
    embedder, known, probe = Embedder(free_batch), images_of(3, seed=5), images_of(1, seed=6)
    cosines = expected(known) @ expected(probe)[0]
    gallery = gallery_of(embedder, known)
    (match,) = embedder.identify(probe, gallery, threshold=-1)
    assert match.name == f"person {cosines.argmax()}" and match.score == pytest.approx(cosines.max(), abs=1e-6)
    assert embedder.identify(probe, gallery, threshold=cosines.max() + 0.01) == [None]
    assert embedder.identify(probe, gallery, threshold=cosines.max() - 0.01) == [match]


def test_identify_takes_the_files_threshold(free_batch, tmp_path):
    """The cosine shipped in the metadata decides where the call has none."""
    known, probe = images_of(1, seed=5), images_of(1, seed=6)
    cosine = float(expected(known)[0] @ expected(probe)[0])
    for name, threshold, found in [("low", cosine - 0.01, True), ("high", cosine + 0.01, False)]:
        path = with_metadata(free_batch, tmp_path / f"{name}.tflite", threshold={"cosine": threshold})
        embedder = Embedder(path)
        (match,) = embedder.identify(probe, gallery_of(embedder, known))
        assert (match is not None) is found


def test_a_run_or_a_keras_file_names_what_to_pass(tmp_path, free_batch):
    """Run folders, SavedModels and .keras files are what people have at hand: the message says which file it is."""
    run = tmp_path / "run"
    run.mkdir()
    (run / "model.keras").write_bytes(b"PK\x03\x04 and more")
    with pytest.raises(ValueError, match=r"Keras file: export it first, keras-margin export .*model\.keras face"):
        Embedder(run / "model.keras")
    (run / "embedder.tflite").write_bytes(free_batch.read_bytes())
    for path in (run, run / "model.keras"):
        with pytest.raises(ValueError, match=r"pass .*run.embedder\.tflite"):
            Embedder(path)


def test_a_preset_names_what_to_pass(tmp_path):
    """A preset's folder is Keras's: the message says how its .tflite file is made."""
    for name in ("config.json", "metadata.json", "model.weights.h5"):
        (tmp_path / name).write_bytes(b"{}")
    with pytest.raises(ValueError, match=rf"a preset: export it first, keras-margin export {tmp_path} face\.tflite"):
        Embedder(tmp_path)


def test_the_properties_describe_the_network(free_batch):
    """Describes the network by the properties."""
    embedder = Embedder(free_batch, num_threads=1)
    assert (embedder.image_size, embedder.embedding_size) == ((HEIGHT, WIDTH), SIZE)
    assert embedder.input_details["shape_signature"].tolist() == [-1, HEIGHT, WIDTH, 3]
    assert "free_batch.tflite" in repr(embedder)


class SlowInterpreter:
    """Waits between the images' arrival and the run, so that threads which do not take turns mix their images."""

    def __init__(self, interpreter):
        self.interpreter = interpreter

    def __getattr__(self, name):
        return getattr(self.interpreter, name)

    def invoke(self):
        time.sleep(0.002)
        self.interpreter.invoke()


def test_threads_share_one_embedder_and_each_gets_its_own_answer(free_batch):
    """Returns each thread its own answer from a shared embedder."""
    embedder, wrong, done = Embedder(free_batch), [], []
    embedder._network.interpreter = SlowInterpreter(embedder._network.interpreter)

    def work(seed):
        for count in (3, 3, 1, 5, 3):
            images = images_of(count, seed)
            if np.abs(embedder.embed(images) - expected(images)).max() > 1e-6:
                wrong.append((seed, count))
        done.append(seed)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == [] and sorted(done) == list(range(8))


@pytest.mark.parametrize(
    ("images", "error", "message"),
    [
        (images_of(2).astype(np.float32) / 255, TypeError, r"uint8 RGB.*Received: float32.*np\.rint\(images \* 255\)"),
        (images_of(2).astype(np.int64), TypeError, "Received: int64"),
        (images_of(2)[:, :, :-1], ValueError, r"\(n, 8, 6, 3\) or \(8, 6, 3\).*Received: shape \(2, 8, 5, 3\)"),
        (images_of(2).transpose(0, 2, 1, 3), ValueError, r"Received: shape \(2, 6, 8, 3\)"),
        (images_of(2)[..., :1], ValueError, r"Received: shape \(2, 8, 6, 1\)"),
        (images_of(2)[0, 0], ValueError, r"Received: shape \(6, 3\)"),
        (images_of(2)[:0], ValueError, r"at least one image. Received: shape \(0, 8, 6, 3\)"),
        ([images_of(1)[0], images_of(1)[0, 1:]], ValueError, "images of one size"),
    ],
)
def test_images_of_the_wrong_type_or_shape_are_refused(free_batch, images, error, message):
    """Refuses images of the wrong type or shape."""
    with pytest.raises(error, match=message):
        Embedder(free_batch).embed(images)


def test_verify_and_identify_refuse_what_they_cannot_compare(free_batch):
    """Refuses embeddings that cannot be compared."""
    embedder, images = Embedder(free_batch), images_of(2)
    with pytest.raises(ValueError, match=r"of shape \(8, 6, 3\). Received: shape \(2, 8, 6, 3\)"):
        embedder.verify(images, images[0])
    with pytest.raises(TypeError, match="gallery of embeddings, floats. Received: uint8"):
        embedder.identify(images, images)
    with pytest.raises(ValueError, match=r"shape \(m, 5\), m >= 1. Received: shape \(2, 4\)"):
        embedder.identify(images, np.ones((2, 4)))
    with pytest.raises(ValueError, match=r"Received: shape \(0, 5\)"):
        embedder.identify(images, np.ones((0, 5)))
    with pytest.raises(ValueError, match="gallery holds NaN or infinity in 1 of 2 rows, first in row 1"):
        embedder.identify(images, np.array([[1.0] * 5, [np.nan] * 5]))


def test_normalization_is_required_or_refused(free_batch, fixed_batch):
    """Requires normalization where it is needed, and refuses it where it is not."""
    with pytest.raises(
        ValueError, match=r"takes float32.*normalization=\(127\.5, 128\.0\), or normalization=\(0\.0, 1\.0\)"
    ):
        Embedder(fixed_batch)
    with pytest.raises(ValueError, match="takes uint8 pixels and normalises inside, so normalization must be left out"):
        Embedder(free_batch, normalization=NORMALIZATION)


@pytest.mark.parametrize(
    ("normalization", "error"),
    [
        (127.5, TypeError),
        ((127.5,), TypeError),
        (("a", 1.0), TypeError),
        ((127.5, 0.0), ValueError),
        ((127.5, -1.0), ValueError),
        ((float("nan"), 1.0), ValueError),
        (((1.0, 2.0), 1.0), ValueError),
    ],
)
def test_an_impossible_normalization_is_refused(fixed_batch, normalization, error):
    """Refuses an impossible normalization."""
    with pytest.raises(error, match="normalization must be"):
        Embedder(fixed_batch, normalization=normalization)


def test_num_threads_must_be_a_positive_integer(free_batch):
    """Requires a positive integer as num_threads."""
    with pytest.raises(ValueError, match="num_threads >= 1. Received: num_threads=0"):
        Embedder(free_batch, num_threads=0)
    with pytest.raises(TypeError, match="num_threads as an integer"):
        Embedder(free_batch, num_threads=1.5)


def test_a_file_that_is_no_model_is_refused_by_name(tmp_path, free_batch):
    """Names a file that is not a model."""
    with pytest.raises(FileNotFoundError, match=r"no such file: .*missing\.tflite"):
        Embedder(tmp_path / "missing.tflite")
    with pytest.raises(ValueError, match="a folder"):
        Embedder(tmp_path)
    for content in (b"", b"abc", b"\x89PNG\r\n\x1a\n" + bytes(100)):
        (tmp_path / "other.tflite").write_bytes(content)
        with pytest.raises(ValueError, match=r"'TFL3' at bytes 4 to 7. Received: .*other\.tflite"):
            Embedder(tmp_path / "other.tflite")
    with pytest.raises(ValueError, match="valid Unicode"):
        Embedder(b"face\xff.tflite")


def test_a_truncated_model_is_refused_wherever_it_ends(tmp_path, free_batch):
    """Refuses a truncated model, wherever it ends."""
    whole, path = free_batch.read_bytes(), tmp_path / "cut.tflite"
    for length in range(8, len(whole), len(whole) // 60):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=rf"cut\.tflite \({length} bytes\).*Is the file whole"):
            Embedder(path)


def test_a_model_may_have_a_name_in_any_script(tmp_path, free_batch):
    """Accepts a model's name in any script."""
    path = tmp_path / "顔 лицо é.tflite"
    path.write_bytes(free_batch.read_bytes())
    np.testing.assert_allclose(Embedder(path).embed(images_of(2)), expected(images_of(2)), atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "shape", "dtype", "message"),
    [
        ("grey", [1, HEIGHT, WIDTH, 1], "float32", r"Received: .*grey\.tflite, which takes \(1, 8, 6, 1\)"),
        ("ambiguous", [1, 3, WIDTH, 3], "float32", "cannot tell which axis holds the channels"),
        ("free_size", [1, None, None, 3], "float32", "fixed height and width"),
        ("flat", [1, 144], "float32", r"which takes \(1, 144\)"),
        ("int32", [1, HEIGHT, WIDTH, 3], "int32", "which takes int32"),
    ],
)
def test_a_network_that_is_no_face_embedder_is_refused(folder, name, shape, dtype, message):
    """Refuses a network that is not a face embedder."""

    def mean(image, kernel):
        import tensorflow as tf

        return {"embedding": tf.reduce_mean(tf.cast(image, tf.float32), axis=-1)}

    path = convert(folder, name, shape, dtype, mean)
    with pytest.raises(ValueError, match=message):
        Embedder(path, normalization=NORMALIZATION)


def test_without_litert_the_error_names_the_extra(monkeypatch, free_batch):
    """Names the extra where LiteRT is missing."""
    real_import = builtins.__import__

    def no_litert(name, *args, **kwargs):
        if name.startswith("ai_edge_litert"):
            raise ImportError("blocked")
        return real_import(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", no_litert)
    with pytest.raises(ImportError, match=r'pip install -e "\.\[litert\]".*blocked'):
        Embedder(free_batch)
