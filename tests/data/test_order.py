"""The order of images: resumed at any step, by identity, balanced. The readers' images are filled with their number."""

import numpy as np
import pytest
import tensorflow as tf
from records import jpeg, payload, write_records

import keras_margin.data
from keras_margin.data import ArrayReader
from keras_margin.data.augmentation import Augmentation

COUNTS = [1, 2, 3, 5, 8, 13]  # Images of each of six identities.
LABELS = np.random.default_rng(5).permutation(np.repeat(np.arange(6), COUNTS))
NUM_IMAGES = 32


def numbered_reader(labels=LABELS):
    images = np.broadcast_to(np.arange(len(labels), dtype=np.uint8)[:, None, None], (len(labels), 2, 3))
    return ArrayReader(images, labels, [f"person{label}" for label in range(max(labels) + 1)])


def batches(dataset):
    return [(images[:, 0, 0, 0].tolist(), labels.tolist()) for images, labels in dataset.as_numpy_iterator()]


@pytest.mark.slow
@pytest.mark.parametrize("order", [{}, {"shuffle": True, "seed": 4}, {"shuffle": True, "images_per_identity": 2}])
@pytest.mark.parametrize("start", [0, 1, 3, 4, 9, 40])
def test_a_start_step_continues_the_batches(order, start):
    """Yields from a start step the batches of a set that was not interrupted."""
    reader = numbered_reader()
    whole = batches(reader.dataset(10, repeat=True, **order).take(44))
    assert batches(reader.dataset(10, repeat=True, start=start, **order).take(4)) == whole[start : start + 4]


def test_single_images_are_resumed_too():
    """Resumes single images too."""
    reader = numbered_reader()
    whole = list(reader.dataset(shuffle=True, repeat=True).take(80).as_numpy_iterator())
    resumed = list(reader.dataset(shuffle=True, repeat=True, start=70).take(10).as_numpy_iterator())
    assert [image[0, 0, 0] for image, _ in resumed] == [image[0, 0, 0] for image, _ in whole[70:]]


def test_the_batches_left_out_are_not_read(tmp_path):
    """Skips batches without reading them."""
    write_records(tmp_path, [payload(n % 2, jpeg(n)) for n in range(100)])
    reader = keras_margin.data.open(tmp_path)
    read, read_all = [], reader._read_all
    reader._read_all = lambda numbers: read.append(tuple(numbers)) or read_all(numbers)
    assert len(list(reader.dataset(10, shuffle=True, seed=2, repeat=True, start=17).take(3))) == 3
    orders = [np.random.default_rng((2, epoch)).permutation(100) for epoch in range(40)]
    # Batch 17 is the eighth of the second epoch. What was read ahead is of the epochs after it.
    later = {tuple(order[start : start + 32]) for order in orders[2:] for start in range(0, 100, 32)}
    assert tuple(orders[1][70:]) in read
    assert set(read) <= later | {tuple(orders[1][70:])}


def test_a_balanced_batch_has_k_images_of_p_identities():
    """Puts as many images of each of as many identities into a batch."""
    for numbers, labels in batches(
        numbered_reader().dataset(12, shuffle=True, images_per_identity=3, repeat=True).take(50)
    ):
        assert [LABELS[number] for number in numbers] == labels
        assert sorted(np.unique(labels, return_counts=True)[1].tolist()) == [3, 3, 3, 3]
        for label in set(labels):
            own = [number for number in numbers if LABELS[number] == label]
            # All different where there are three; of two, both, and one of them again.
            assert len(set(own)) == min(3, COUNTS[label])


@pytest.mark.slow
def test_epochs_take_identities_evenly():
    """Takes each identity once an epoch, and all as often over epochs."""
    reader = numbered_reader()
    # Four of the six identities make an epoch of one batch; the other two are left over.
    assert reader.dataset(8, shuffle=True, images_per_identity=2).cardinality() == 1
    times = np.zeros(6)
    for _, labels in batches(reader.dataset(8, shuffle=True, images_per_identity=2, repeat=True).take(300)):
        assert len(set(labels)) == 4
        times[sorted(set(labels))] += 1
    # 200 expected; the standard deviation is sqrt(300 * 2/3 * 1/3) = 8.2.
    assert np.all(np.abs(times - 200) < 5 * 8.2)


@pytest.mark.slow
def test_every_choice_of_images_is_equally_likely():
    """Chooses an identity's images so that every choice is equally likely."""
    reader = numbered_reader(np.repeat([0, 1], 4))
    dataset = reader.dataset(4, shuffle=True, images_per_identity=2, repeat=True)
    chosen = {}
    for numbers, _ in batches(dataset.take(1200)):
        own = tuple(sorted(number for number in numbers if number < 4))
        chosen[own] = chosen.get(own, 0) + 1
    # Six pairs of four images, 200 each expected; the standard deviation is sqrt(1200 * 1/6 * 5/6) = 12.9.
    assert len(chosen) == 6 and all(abs(count - 200) < 5 * 12.9 for count in chosen.values())


def test_one_image_per_identity_balances_the_classes():
    """Balances the classes with one image per identity."""
    dataset = numbered_reader().dataset(6, shuffle=True, images_per_identity=1, repeat=True)
    numbers = [number for batch, labels in batches(dataset.take(400)) for number in batch]
    assert np.bincount(LABELS[numbers]).tolist() == [400] * 6
    largest = np.bincount(numbers, minlength=NUM_IMAGES)[LABELS == 5]
    # 400 / 13 = 30.8 expected; the standard deviation is sqrt(400 * 1/13 * 12/13) = 5.3.
    assert np.all(np.abs(largest - 400 / 13) < 5 * 5.3)


def test_the_seed_alone_decides_who_meets_whom():
    """Groups identities by the seed alone."""

    def first(seed):
        return batches(
            numbered_reader().dataset(6, shuffle=True, seed=seed, images_per_identity=2, repeat=True).take(5)
        )

    before = first(1)
    tf.random.set_seed(99)
    assert first(1) == before != first(2)


def test_an_identity_without_images_is_never_drawn():
    """Draws no identity without images."""
    reader = numbered_reader(np.repeat([0, 1, 2], 3))
    reader.labels = np.repeat(np.array([0, 2, 3], np.int32), 3)  # As a reader of somebody else may have them.
    for _, drawn in batches(reader.dataset(6, shuffle=True, images_per_identity=2).take(1)):
        assert 1 not in drawn


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"start": -1, "repeat": True}, r"start needs an integer >= 0.*Received: start=-1"),
        ({"start": 1}, "Received: start=1, repeat=False"),
        ({"images_per_identity": 2}, r"needs shuffle=True.*Received: images_per_identity=2, shuffle=False"),
        ({"images_per_identity": 3, "shuffle": True}, "a multiple of it"),
        ({"images_per_identity": 0, "shuffle": True}, "images_per_identity=0"),
        ({"images_per_identity": 2, "shuffle": True, "batch_size": None}, "batch_size=None"),
        ({"images_per_identity": 1, "shuffle": True}, r"images of 8 identities, 1 of each\. Received: 6 with images"),
    ],
)
def test_an_order_that_cannot_be_is_refused(arguments, message):
    """Refuses an impossible order."""
    with pytest.raises(ValueError, match=message):
        numbered_reader().dataset(**{"batch_size": 8} | arguments)


@pytest.mark.slow
@pytest.mark.parametrize("images_per_identity", [None, 2])
def test_the_parts_of_a_batch_make_up_the_batch(images_per_identity):
    """Splits every batch into its parts, augmented as in the whole.

    Three processes that share each batch; from any step on.
    """
    pixels = np.random.default_rng(0).integers(0, 256, (20, 6, 5, 3), dtype=np.uint8)
    reader = ArrayReader(pixels, np.arange(20) % 7, list("abcdefg"))
    changes = Augmentation(flip=True, shift=0.1, contrast=0.3)
    options = {"shuffle": True, "seed": 3, "repeat": True, "start": 2, "images_per_identity": images_per_identity}
    whole = list(reader.dataset(12, **options).take(4))
    parts = [list(reader.dataset(12, part=(k, 3), **options).take(4)) for k in range(3)]
    for step, (images, labels) in enumerate(whole):
        np.testing.assert_array_equal(np.concatenate([part[step][1] for part in parts]), labels)
        found = [changes.apply(part[step][0], [step, 5], (k, 3)) for k, part in enumerate(parts)]
        np.testing.assert_array_equal(np.concatenate(found), changes.apply(images, [step, 5]))


@pytest.mark.parametrize("arguments", [{"part": (2, 2)}, {"part": (-1, 2)}, {"part": (0, 5)}, {"part": (0, 0)}])
def test_parts_that_cannot_be_are_refused(arguments):
    """Refuses impossible parts."""
    reader = ArrayReader(np.zeros((8, 4, 4, 3), np.uint8), np.arange(8) % 2, "ab")
    with pytest.raises(ValueError, match=r"part=\(k, n\) needs 0 <= k < n"):
        reader.dataset(12, repeat=True, **arguments)
    with pytest.raises(ValueError, match="repeat=False"):
        reader.dataset(12, part=(0, 2))


@pytest.fixture(scope="module")
def noisy(tmp_path_factory):
    """Images that are not mirror images of themselves: in memory, and in a .rec file with one that is damaged."""
    root = tmp_path_factory.mktemp("noisy")
    images = np.random.default_rng(1).integers(0, 256, (90, 6, 8, 3), np.uint8)
    files = [tf.io.encode_png(image).numpy() for image in images]
    place = files[40].index(b"IDAT") + 6
    files[40] = files[40][:place] + b"\xff\xff" + files[40][place + 2 :]
    write_records(root, [payload(n % 9, file) for n, file in enumerate(files)])
    return keras_margin.data.open(root, image_size=(6, 8)), ArrayReader(images, np.arange(90) % 9, list("abcdefghi"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "changes"),
    [
        ({"batch_size": 13}, {}),
        ({"batch_size": 64, "repeat": True, "start": 3}, {}),
        ({"batch_size": 80, "repeat": True, "part": (1, 2)}, {"contrast": 0.2}),
        ({"batch_size": 32}, {"rotate": 5.0}),
    ],
)
def test_augmenting_a_set_equals_apply(noisy, arguments, changes):
    """Augments the batches of a set as apply does."""
    augmentation, part, start = Augmentation(**changes), arguments.get("part", (0, 1)), arguments.get("start", 0)
    for reader in noisy:
        plain = reader.dataset(**arguments, shuffle=True, seed=5)
        changed = reader.dataset(**arguments, shuffle=True, seed=5, augmentation=augmentation)
        assert changed.cardinality() == plain.cardinality()
        pairs = zip(plain.take(3).as_numpy_iterator(), changed.take(3).as_numpy_iterator(), strict=True)
        for number, ((images, labels), (found, found_labels)) in enumerate(pairs, start):
            wanted = augmentation.apply(images, [number, 5], part).numpy()
            np.testing.assert_array_equal(found_labels, labels)
            only_mirrors = not {"contrast", "rotate"} & set(changes)
            assert found.dtype == (np.uint8 if only_mirrors else np.float32)
            np.testing.assert_allclose(found, wanted, atol=0 if only_mirrors else 1e-3)


def test_an_augmentation_needs_batches():
    """Refuses an augmentation without batches."""
    with pytest.raises(
        ValueError, match="augmentation changes batches. Received: an augmentation without a batch_size"
    ):
        numbered_reader().dataset(augmentation=Augmentation())
