"""An audit finds what was put into a set, by name, and nothing else."""

import json

import numpy as np
import pytest
import tensorflow as tf
from records import jpeg, payload, write_records

import keras_margin.data
from keras_margin.data import ArrayReader, _sizes
from keras_margin.data.auditing import audit


def skin(seed, size=16, grey=False):
    """An image whose middle is redder than blue, and another for every seed."""
    image = np.random.default_rng(seed).integers(60, 120, (size, size, 3), dtype=np.uint8)
    image[..., 0] += 100
    return np.repeat(image[..., :1], 3, axis=-1) if grey else image


def reader_of(images, labels=None):
    labels = np.arange(len(images)) // 2 if labels is None else labels
    return ArrayReader(np.stack(images), labels, [f"person {label}" for label in range(max(labels) + 1)])


def test_a_sound_set_has_no_faults():
    """Finds no faults in a sound set."""
    found = audit(reader_of([skin(seed) for seed in range(40)]))
    assert found.faults == () and (found.num_images, found.num_classes) == (40, 20)
    assert found.images_per_identity == (2, 2.0, 2) and found.sizes == {(16, 16): 40}
    assert not (found.unreadable or found.within_identities or found.across_identities or found.single_image)
    assert (found.grey, found.bluer, found.overlap) == (0, 0, {})


def test_identical_images_are_found_within_and_across_identities():
    """Finds identical images within and across identities."""
    images = [skin(seed) for seed in [0, 1, 2, 2, 3, 0, 4, 5, 0, 6]]  # Labels 0 0 1 1 2 2 3 3 4 4.
    found = audit(reader_of(images))
    assert found.within_identities == (("image 2", "image 3"),)
    assert found.across_identities == ((("person 0", "image 0"), ("person 2", "image 5"), ("person 4", "image 8")),)
    assert found.faults == ("across_identities",)


def test_equal_pixels_in_another_format_are_identical(tmp_path):
    """Calls images identical whose pixels are, in another format and with other metadata too."""
    pixels = tf.io.decode_jpeg(jpeg(3), dct_method="INTEGER_ACCURATE")
    for name, content in {
        "a/1.jpg": jpeg(3),
        "a/2.jpg": jpeg(4),
        "b/1.jpg": jpeg(5),
        "b/2.png": tf.io.encode_png(pixels).numpy(),
        "b/3.jpg": jpeg(3)[:2] + b"\xff\xfe\x00\x05abc" + jpeg(3)[2:],  # A comment.
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    found = audit(keras_margin.data.open(tmp_path))
    ((first, *others),) = found.across_identities
    assert first == ("a", str(tmp_path / "a/1.jpg"))
    assert others == [("b", str(tmp_path / "b/2.png")), ("b", str(tmp_path / "b/3.jpg"))]


def test_the_same_bytes_in_another_shape_are_not_identical(tmp_path):
    """Distinguishes images of the same bytes in another shape."""
    flat = np.full((2, 8, 3), 9, np.uint8)
    for name, image in {"a/1.png": flat, "b/1.png": flat.reshape(8, 2, 3), "b/2.png": flat.reshape(4, 4, 3)}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(tf.io.encode_png(image).numpy())
    found = audit(keras_margin.data.open(tmp_path))
    assert found.across_identities == () and found.sizes == {(2, 8): 1, (8, 2): 1, (4, 4): 1}
    assert found.single_image == ("a",)


def test_unreadable_images_are_named_with_the_reason(tmp_path):
    """Names unreadable images with the reason."""
    broken = bytearray(jpeg(2))
    broken[len(broken) // 3 : -2] = bytes(len(broken) - len(broken) // 3 - 2)  # Whole at both ends.
    offsets = write_records(tmp_path, [payload(n % 2, jpeg(n)) for n in range(4)] + [payload(0, bytes(broken))])
    (tmp_path / "train.idx").unlink()
    found = audit(keras_margin.data.open(tmp_path))
    ((name, reason),) = found.unreadable
    assert f"{offsets[4] + 32:,}" in name and reason and found.faults == ("unreadable",)
    (tmp_path / "folder" / "a").mkdir(parents=True)
    (tmp_path / "folder" / "b").mkdir()
    for place, content in (("a/1.jpg", jpeg(1)), ("a/2.jpg", b"no image"), ("b/1.jpg", jpeg(2))):
        (tmp_path / "folder" / place).write_bytes(content)
    found = audit(keras_margin.data.open(tmp_path / "folder"))
    assert found.unreadable == ((str(tmp_path / "folder/a/2.jpg"), "left out when the set was opened"),)


@pytest.mark.parametrize(
    ("swapped", "grey", "verdict"), [(0, 10, False), (14, 10, False), (16, 10, True), (0, 40, False)]
)
def test_bluer_than_red_images_look_swapped(swapped, grey, verdict):
    """Reports channels as swapped where most colour images are bluer than red."""
    images = [skin(seed)[..., ::-1] if seed < swapped else skin(seed) for seed in range(40 - grey)]
    found = audit(reader_of(images + [skin(seed, grey=True) for seed in range(100, 100 + grey)]))
    assert (found.bluer, found.grey, found.swapped_channels) == (swapped, grey, verdict)
    assert ("swapped_channels" in found.faults) == verdict


def test_a_few_images_do_not_decide_on_the_channels():
    """Draws no conclusion about the channels from a few images."""
    assert not audit(reader_of([skin(seed)[..., ::-1] for seed in range(10)])).swapped_channels


def test_overlap_is_found_by_pixels_and_by_name():
    """Finds the overlap with evaluation sets by pixels and by name."""
    ours = reader_of([skin(seed) for seed in range(8)])
    images = np.stack([skin(90), skin(5), skin(91), skin(2), skin(5)])
    theirs = ArrayReader(images, np.array([0, 0, 1, 1, 1]), ["person 3", "somebody"])
    found = audit(ours, {"lfw.bin": images, "held out": theirs, "other": images[:1]})
    assert found.overlap["lfw.bin"] == (("image 2", "lfw.bin, image 3"), ("image 5", "lfw.bin, image 1"))
    assert found.overlap["held out"] == (("image 2", "image 3"), ("image 5", "image 1"))
    assert found.overlap["other"] == ()
    assert found.common_identities == {"lfw.bin": (), "held out": ("person 3",), "other": ()}
    assert found.faults == ("overlap",)
    assert audit(ours, {"other": images[:1]}).faults == ()


@pytest.mark.parametrize(
    "other",
    [np.zeros((2, 4, 4, 3), np.float32), np.zeros((4, 4, 3), np.uint8), np.zeros((2, 4, 4, 4), np.uint8), "lfw.bin"],
)
def test_what_cannot_be_compared_with_is_refused(other):
    """Refuses an evaluation set that cannot be compared."""
    with pytest.raises(TypeError, match="audit compares with readers and uint8 images.*Received: it, a"):
        audit(reader_of([skin(0), skin(1), skin(2), skin(3)]), {"it": other})


def test_the_json_holds_everything(tmp_path):
    """Writes all of the report as JSON."""
    found = audit(reader_of([skin(0), skin(1), skin(2), skin(0)]), {"it": np.stack([skin(2)])})
    found.to_json(tmp_path / "a.json")
    read = json.loads((tmp_path / "a.json").read_text())
    assert read["faults"] == ["across_identities", "overlap"] and read["swapped_channels"] is False
    assert read["sizes"] == [{"height": 16, "width": 16, "images": 4}]
    assert read["overlap"] == {"it": [["image 2", "it, image 0"]]}
    assert read["across_identities"] == [[["person 0", "image 0"], ["person 1", "image 3"]]]


@pytest.mark.parametrize(("others", "aligned"), [(0, True), (2, True), (3, False)])
def test_a_set_of_many_sizes_looks_unaligned(tmp_path, others, aligned):
    """Two of twenty is a tenth, which is still taken for one size."""
    for number in range(20):
        size = 44 - number if number < others else 24
        (tmp_path / str(number // 2)).mkdir(exist_ok=True)
        (tmp_path / str(number // 2) / f"{number}.jpg").write_bytes(jpeg(number, size))
    reader = keras_margin.data.open(tmp_path)
    found = audit(reader)
    assert found.looks_aligned is aligned
    assert _sizes.stored_sizes(reader) == found.sizes
    assert _sizes.looks_aligned(found.sizes) is aligned


def test_some_images_tell_the_sizes_of_a_large_set():
    """stored_sizes looks at no more images than asked."""
    reader = reader_of([skin(seed) for seed in range(40)])
    assert _sizes.stored_sizes(reader, most=7) == {(16, 16): 7}
