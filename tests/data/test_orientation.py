"""A photograph that its camera stored turned comes out upright and the same from every reader: as Pillow turns it."""

import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageOps
from records import payload, write_records

import keras_margin.data
from keras_margin.alignment import read_image
from keras_margin.data import _encoded
from keras_margin.data.auditing import audit
from keras_margin.evaluation import protocols

SIZE = (16, 24)


def photograph(seed, orientation=None, kind="JPEG"):
    """An image file of SIZE once it is upright."""
    height, width = SIZE if orientation is None or orientation < 5 else SIZE[::-1]
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), np.uint8)
    options = {}
    if orientation is not None:
        options["exif"] = Image.Exif()
        options["exif"][0x0112] = orientation
    buffer = io.BytesIO()
    image = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
    image.save(buffer, kind, **options)
    return buffer.getvalue()


# The first is upright and of the size that comes out, so that the fast way is tried; 70 make three chunks of 32.
FILES = [photograph(0)]
FILES += [photograph(seed, seed % 9 or None, "JPEG" if seed % 2 else "PNG") for seed in range(1, 70)]
EXPECTED = np.stack([np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(file)))) for file in FILES])
TURNED = [number for number in range(1, 70) if number % 9 > 1]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("faces")
    for number, file in enumerate(FILES):
        (root / f"p{number // 2:02}").mkdir(exist_ok=True)
        (root / f"p{number // 2:02}" / f"{number:02}.jpg").write_bytes(file)
    return root


@pytest.mark.slow
def test_a_folder_comes_out_upright(root):
    """A folder's images are turned in the graph, whatever their order and size."""
    images, _ = keras_margin.data.open(root, image_size=SIZE).arrays()
    np.testing.assert_array_equal(images, EXPECTED)


def test_a_subset_of_a_folder_comes_out_upright(root):
    """A subset keeps the orientation of each of its images."""
    reader = keras_margin.data.open(root, image_size=SIZE).subset([8, 0, 7])
    np.testing.assert_array_equal(reader.arrays()[0], EXPECTED[[8, 0, 7]])


def test_chunks_of_upright_images_keep_the_fast_way(root, monkeypatch):
    """The general way gives black here: what is not black came by the fast one."""
    black = tf.zeros((*SIZE, 3), tf.uint8)
    monkeypatch.setattr(_encoded, "decode_image", lambda contents: black)
    upright = [number for number in range(70) if number not in TURNED]
    order = [*(upright * 2)[:32], *TURNED[:32], *upright[:3]]
    images, _ = keras_margin.data.open(root, image_size=SIZE).subset(order).arrays()
    np.testing.assert_array_equal(images[:32], EXPECTED[order[:32]])
    assert not images[32:64].any()
    np.testing.assert_array_equal(images[64:], EXPECTED[order[64:]])


@pytest.mark.slow
def test_a_mirrored_image_is_turned_first(root):
    """Each augmented image is the upright one or its mirror image."""
    from keras_margin.data.augmentation import Augmentation

    reader = keras_margin.data.open(root, image_size=SIZE)
    images = np.concatenate([batch for batch, _ in reader.dataset(32, augmentation=Augmentation()).as_numpy_iterator()])
    for image, expected in zip(images, EXPECTED, strict=True):
        assert np.array_equal(image, expected) or np.array_equal(image, expected[:, ::-1])


@pytest.mark.slow
def test_records_and_shards_come_out_upright(tmp_path):
    """RecordIO and TFRecord sets turn their images."""
    write_records(tmp_path / "rec", [payload(number % 2, file, number) for number, file in enumerate(FILES)])
    images, _ = keras_margin.data.open(tmp_path / "rec", image_size=SIZE).arrays()
    np.testing.assert_array_equal(images, EXPECTED)
    keras_margin.data.prepare(tmp_path / "rec", tmp_path / "shards", shards=1, seed=2)
    images, _ = keras_margin.data.open(tmp_path / "shards", image_size=SIZE).arrays()
    np.testing.assert_array_equal(images, EXPECTED[np.random.default_rng(2).permutation(len(FILES))])


def test_a_bin_comes_out_upright(tmp_path):
    """load_bin turns the JPEG and PNG files of a verification set."""
    keras_margin.data.write_bin(tmp_path / "a.bin", FILES, [True] * 35)
    np.testing.assert_array_equal(keras_margin.data.load_bin(tmp_path / "a.bin")[0], EXPECTED)


@pytest.mark.slow
def test_protocols_come_out_upright(root):
    """A labelled protocol measures upright images."""
    found = np.concatenate(list(protocols.load_protocol(root, image_size=SIZE).batches(32)))
    np.testing.assert_array_equal(found, EXPECTED)


def test_a_list_of_pairs_comes_out_upright(root, tmp_path):
    """Images that a list of pairs names are turned."""
    (tmp_path / "pairs.csv").write_text(
        "fold,same,first,second\n" + "".join(f"{n % 2},1,{n}a.jpg,{n}b.jpg\n" for n in range(35))
    )
    for number, file in enumerate(FILES):
        (tmp_path / f"{number // 2}{'ab'[number % 2]}.jpg").write_bytes(file)
    protocol = protocols.load_protocol(tmp_path, image_size=SIZE)
    order = np.argsort([f"{number // 2}{'ab'[number % 2]}.jpg" for number in range(70)])
    np.testing.assert_array_equal(np.concatenate(list(protocol.batches(32))), EXPECTED[order])


def test_embedding_and_alignment_see_the_same_pixels(root):
    """read_image, which embed, verify and align use, gives the readers' pixels."""
    for number, path in enumerate(keras_margin.data.open(root).paths):
        np.testing.assert_array_equal(read_image(path), EXPECTED[number])


def test_an_unreadable_turned_image_is_replaced_as_any_other(tmp_path):
    """A damaged image with a tag is replaced by the next."""
    broken = bytearray(photograph(7, 6))
    place = broken.index(b"\xff\xc4") + 4
    broken[place : place + 20] = b"\xff" * 20
    files = [*FILES[:7], bytes(broken), FILES[8]]
    write_records(tmp_path, [payload(number % 2, file, number) for number, file in enumerate(files)])
    reader = keras_margin.data.open(tmp_path, image_size=SIZE)
    ((images, _),) = reader.dataset(9)
    np.testing.assert_array_equal(images[7], EXPECTED[8])
    assert len(reader.replaced) == 1


def test_an_audit_names_what_is_turned(root):
    """An audit lists the images that are stored turned, and counts upright sizes."""
    found = audit(keras_margin.data.open(root, image_size=SIZE))
    assert [name.rpartition("/")[2] for name, _ in found.turned] == [f"{number:02}.jpg" for number in TURNED]
    assert [orientation for _, orientation in found.turned] == [number % 9 for number in TURNED]
    assert found.sizes == {SIZE: 70}
