"""Every published file form becomes the numbers that its own arithmetic, written out here, gives."""

import re

import numpy as np
import pytest

pytest.importorskip("tensorflow")
from PIL import Image

from keras_margin import data, evaluation
from keras_margin.data import pairs
from keras_margin.evaluation import protocols
from keras_margin.evaluation.protocols import base

pytestmark = pytest.mark.tensorflow_only

QUICK = protocols.Settings(far=(0.1,), resamples=20)


def cosines(embeddings, pairs):
    unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    return np.array([unit[a] @ unit[b] for a, b in pairs])


def people(count, images, size=8, noise=0.5, seed=0):
    generator = np.random.default_rng(seed)
    centres = np.repeat(generator.normal(size=(count, size)), images, axis=0)
    return centres + noise * generator.normal(size=(count * images, size))


def picture(path, value, shape=(4, 4)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((*shape, 3), value, np.uint8)).save(path)


def levels(protocol, batch_size=3):
    """Grey level of each image, in the protocol's order."""
    return np.concatenate([batch[:, 0, 0, 0] for batch in protocol.batches(batch_size)]).tolist()


def test_a_bin_is_ten_folds_of_consecutive_pairs(tmp_path):
    """Reads a .bin as ten folds of consecutive pairs."""
    images = np.repeat(np.arange(40, dtype=np.uint8), 4 * 4 * 3).reshape(40, 4, 4, 3)
    is_same = np.arange(20) % 2 == 0
    data.write_bin(tmp_path / "lfw.bin", images, is_same)
    protocol = protocols.load_protocol(tmp_path / "lfw.bin")
    assert (protocol.name, protocol.num_images, protocol.people) == ("lfw", 40, None)
    assert levels(protocol) == list(range(40)) and protocol.images([7, 2])[:, 0, 0, 0].tolist() == [7, 2]
    embeddings = np.random.default_rng(1).normal(size=(40, 3))
    embeddings[1:40:4] = embeddings[0:40:4] + 0.3
    measured = protocol.measure(embeddings, QUICK)
    scores = cosines(embeddings, np.arange(40).reshape(20, 2))
    np.testing.assert_allclose(measured.arrays["scores"], scores)
    assert measured.values["accuracy"] == evaluation.k_fold_accuracy(scores, is_same, 10).mean
    assert measured.values["genuine_angle"] == pytest.approx(np.degrees(np.arccos(scores[is_same])).mean())
    assert any("draw pairs" in note for note in measured.notes)
    halves = protocol.measure(embeddings, protocols.Settings(far=(0.1,), resamples=0, folds=2)).values["accuracy"]
    assert halves == evaluation.k_fold_accuracy(scores, is_same, 2).mean


def test_accuracy_of_unbalanced_pairs_says_so(tmp_path):
    """A `.bin` with three impostor pairs to a genuine one notes that accuracy is (TAR + 1 - FAR) / 2."""
    data.write_bin(tmp_path / "a.bin", np.zeros((80, 2, 2, 3), np.uint8), np.arange(40) % 4 == 0)
    embeddings = np.random.default_rng(0).normal(size=(80, 3))
    notes = protocols.load_protocol(tmp_path / "a.bin").measure(embeddings, QUICK).notes
    assert any("(TAR + 1 - FAR) / 2, because there are 10 genuine and 30 impostor" in note for note in notes)
    data.write_bin(tmp_path / "b.bin", np.zeros((80, 2, 2, 3), np.uint8), np.arange(40) % 2 == 0)
    assert "TAR + 1" not in " ".join(protocols.load_protocol(tmp_path / "b.bin").measure(embeddings, QUICK).notes)


def test_default_fars_leave_no_note(tmp_path):
    """Nobody asked for FAR 1e-6 of 20 impostors: its value is unmeasurable, and no note speaks of it."""
    data.write_bin(tmp_path / "a.bin", np.zeros((80, 2, 2, 3), np.uint8), np.arange(40) % 2 == 0)
    embeddings = np.random.default_rng(0).normal(size=(80, 3))
    measured = protocols.load_protocol(tmp_path / "a.bin").measure(embeddings, protocols.Settings(resamples=20))
    assert "tar_at_far_1e-06" in measured.unmeasurable and not any("FAR=" in note for note in measured.notes)
    asked = protocols.load_protocol(tmp_path / "a.bin").measure(
        embeddings, protocols.Settings(far=(1e-6,), resamples=20)
    )
    assert any("FAR=1e-06 lets 0 of 20 impostor pairs pass" in note for note in asked.notes)


def test_images_of_another_size_are_refused_cut_or_stretched(tmp_path):
    """Refuses, cuts or stretches images of another size."""
    images = np.arange(2 * 8 * 8 * 3, dtype=np.uint8).reshape(2, 8, 8, 3)
    data.write_bin(tmp_path / "a.bin", images, [True])
    with pytest.raises(ValueError, match=re.escape("8 x 8 pixels, the model takes 8 x 6")):
        protocols.load_protocol(tmp_path / "a.bin", image_size=(8, 6))
    cut = protocols.load_protocol(tmp_path / "a.bin", image_size=(8, 6), fit="crop")
    np.testing.assert_array_equal(cut.images([0, 1]), images[:, :, 1:7])
    assert protocols.load_protocol(tmp_path / "a.bin", image_size=(4, 16), fit="resize").images([0]).shape == (
        1,
        4,
        16,
        3,
    )
    with pytest.raises(ValueError, match="the model takes 16 x 16"):
        protocols.load_protocol(tmp_path / "a.bin", image_size=(16, 16), fit="crop")


def lfw_folder(root, folds=2, size=2):
    lines = [f"{folds}\t{size}"]
    for fold in range(folds):
        names = [f"P{fold}_{letter}" for letter in "abcd"]
        for at in range(size):
            lines.append(f"{names[at]}\t1\t2")
        for at in range(size):
            lines.append(f"{names[at]}\t1\t{names[at + 2]}\t2")
        for at, name in enumerate(names):
            for image in (1, 2):
                picture(root / name / f"{name}_{image:04d}.png", 20 * fold + 2 * at + image)
    (root / "pairs.txt").write_text("\n".join(lines) + "\n")
    return root


def test_lfws_own_list_gives_its_folds_and_its_people(tmp_path):
    """Reads LFW's own list with its folds and its people."""
    protocol = protocols.load_protocol(lfw_folder(tmp_path / "lfw"))
    # Only images that a pair names are embedded: of c and d the second alone.
    assert levels(protocol) == [1, 2, 3, 4, 6, 8, 21, 22, 23, 24, 26, 28]
    assert protocol.people.tolist()[:6] == ["P0_a", "P0_a", "P0_b", "P0_b", "P0_c", "P0_d"]
    embeddings = people(12, 1)
    measured = protocol.measure(embeddings, QUICK)
    pairs = [[0, 1], [2, 3], [0, 4], [2, 5], [6, 7], [8, 9], [6, 10], [8, 11]]
    np.testing.assert_allclose(measured.arrays["scores"], cosines(embeddings, pairs))
    expected = evaluation.k_fold_accuracy(cosines(embeddings, pairs), [1, 1, 0, 0] * 2, [0] * 4 + [1] * 4)
    assert measured.values["accuracy"] == expected.mean
    assert not any("draw pairs" in note for note in measured.notes)


def test_a_csv_of_pairs_takes_folders_for_people(tmp_path):
    """Takes folders for people in a CSV of pairs, where they agree."""
    for name, value in (("a/1", 1), ("a/2", 2), ("b/1", 3), ("b/2", 4)):
        picture(tmp_path / f"{name}.png", value)
    lines = ["fold,same,first,second", "0,1,a/1.png,a/2.png", "0,0,a/1.png,b/1.png", "1,1,b/1.png,b/2.png"]
    lines.append("1,0,a/2.png,b/2.png")
    (tmp_path / "pairs.csv").write_text("\n".join(lines))
    protocol = protocols.load_protocol(tmp_path, name="mine")
    assert protocol.people.tolist() == ["a", "a", "b", "b"] and protocol.name == "mine"
    measured = protocol.measure(
        np.array([[1.0, 0.1], [1, 0], [0, 1], [0.1, 1]]), protocols.Settings(far=(0.5,), resamples=0)
    )
    assert measured.values["accuracy"] == 1.0
    (tmp_path / "pairs.csv").write_text("\n".join([lines[0], "0,1,a/1.png,b/1.png", *lines[2:]]))
    assert protocols.load_protocol(tmp_path).people is None


def test_drawn_pairs_are_read_by_file_and_by_folder(tmp_path):
    """Reads what `keras-margin pairs` draws, by the file and by its folder."""
    for person in "abcdef":
        for image in range(4):
            picture(tmp_path / "set" / person / f"{image}.png", 10 * "abcdef".index(person) + image)
    reader = data.open(tmp_path / "set", image_size=(4, 4))
    drawn, is_same = pairs.write_pairs(tmp_path / "set" / "pairs.csv", reader, 6, 6, folds=3, seed=1)
    for path in (tmp_path / "set" / "pairs.csv", tmp_path / "set"):
        protocol = protocols.load_protocol(path)
        assert protocol.name == path.stem
        found = np.array(levels(protocol))
        # An embedding that is the person alone, one direction each: every pair is told right.
        measured = protocol.measure(np.eye(6)[found // 10], QUICK)
        assert measured.values["accuracy"] == 1.0 and measured.arrays["scores"].tolist() == is_same.tolist()
        used = np.unique(drawn)
        assert sorted(found) == (10 * reader.labels[used] + used % 4).tolist()


def test_a_folder_with_a_list_can_be_measured_as_identities(tmp_path):
    """The list that lies in a folder is the first choice, its people the second; a file leaves no choice."""
    for name, value in (("a/1", 1), ("a/2", 2), ("b/1", 3), ("b/2", 4)):
        picture(tmp_path / f"{name}.png", value)
    (tmp_path / "pairs.csv").write_text("fold,same,first,second\n0,1,a/1.png,a/2.png\n0,0,a/1.png,b/1.png\n")
    assert protocols.choices(tmp_path) == ["pairs", "labelled"]
    assert protocols.choices(tmp_path / "pairs.csv") == ["pairs"]
    assert levels(protocols.load_protocol(tmp_path)) == [1, 2, 3]
    labelled = protocols.load_protocol(tmp_path, protocol="labelled")
    assert levels(labelled) == [1, 2, 3, 4] and labelled.title.startswith("verification over all pairs")
    with pytest.raises(ValueError, match="can be measured by pairs or labelled. Received: protocol='ytf'"):
        protocols.load_protocol(tmp_path, protocol="ytf")
    with pytest.raises(ValueError, match="must be one of bin, ijb, ytf, cfp_ff, cfp_fp, pairs, lfw_view1, labelled"):
        protocols.load_protocol(tmp_path, protocol="lists")


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("pairs.txt", "a 1 2\n", "line 1: LFW's list begins with"),
        ("pairs.txt", "1\t1\nP0_a 1 2\n", "announces 1 folds of 1 + 1 pairs, 2 lines. Received: 1."),
        ("pairs.txt", "1\nP0_a 1 2\nP0_a 1 2\n", "line 3: a fold is"),
        ("pairs.txt", "1\nP0_a one 2\nP0_a 1 P0_b 2\n", "line 2: a fold is"),
        ("pairs.txt", "1\nP0_z 1 2\nP0_a 1 P0_b 2\n", "an image that is not there"),
        ("pairs.csv", "one,two\n", "columns fold,same,first,second"),
        ("pairs.csv", "fold,same,first,second\n0,yes,a,b\n", "line 2: fold='0', same='yes'"),
        ("pairs.csv", "fold,same,first,second\n", "must hold pairs. Received: none."),
    ],
)
def test_lists_of_pairs_of_another_form_are_named(tmp_path, name, text, words):
    """Names lists of pairs of another form."""
    root = lfw_folder(tmp_path / "lfw", folds=1)
    (root / "pairs.txt").unlink()
    (root / name).write_text(text)
    with pytest.raises(ValueError, match=re.escape(words)):
        protocols.load_protocol(root)


def test_an_image_that_a_list_names_and_nobody_can_read_is_named(tmp_path):
    """Names an image of a list that is missing or unreadable."""
    root = lfw_folder(tmp_path / "lfw", folds=1)
    (root / "P0_b" / "P0_b_0002.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"must be readable. Received: .*P0_b_0002.png"):
        levels(protocols.load_protocol(root))
    (root / "P0_b" / "P0_b_0002.png").unlink()
    with pytest.raises(ValueError, match=r"an image that is not there: .*P0_b_0002 with .*has 1 images"):
        levels(protocols.load_protocol(root))


def test_ytf_averages_frames_and_keeps_the_files_folds(tmp_path):
    """Averages the frames of YTF, and keeps the folds of its file."""
    lines, frames = ["split number, pair number, first name, second name, is same"], []
    for fold in range(2):
        a, b = f"A{fold}", f"B{fold}"
        lines += [f"{fold + 1}, 1, {a}/0, {a}/1, 1", f"{fold + 1}, 2, {a}/0, {b}/0, 0"]
        frames += [(f"{a}/0", 2), (f"{a}/1", 3), (f"{b}/0", 1)]
    for at, (video, count) in enumerate(sorted(frames)):
        for frame in range(count):
            picture(tmp_path / "aligned_images_DB" / video / f"{frame}.jpg", 30 * at + 5 * frame)
    (tmp_path / "splits.txt").write_text("\n".join(lines))
    protocol = protocols.load_protocol(tmp_path)
    assert protocol.num_images == 12 and protocol.people.tolist()[:6] == ["A0"] * 5 + ["A1"]
    embeddings = people(12, 1)
    measured = protocol.measure(embeddings, QUICK)
    # In the order of names: A0/0 (2), A0/1 (3), A1/0 (2), A1/1 (3), B0/0 (1), B1/0 (1).
    means = np.array([embeddings[a:b].mean(axis=0) for a, b in ((0, 2), (2, 5), (5, 7), (7, 10), (10, 11), (11, 12))])
    scores = cosines(means, [[0, 1], [0, 4], [2, 3], [2, 5]])
    np.testing.assert_allclose(measured.arrays["scores"], scores)
    assert measured.values["accuracy"] == evaluation.k_fold_accuracy(scores, [1, 0, 1, 0], [0, 0, 1, 1]).mean


def test_ijb_from_its_folder_one_to_one_and_one_to_many(tmp_path):
    """Measures IJB from its folder, one to one and one to many."""
    meta = tmp_path / "meta"
    meta.mkdir()
    points = "38.2946 51.6963 73.5318 51.5014 56.0252 71.7366 41.5493 92.3655 70.7299 92.2041"
    # Templates 1 to 6; 1 and 2 show subject 10, 3 and 4 subject 20, 5 and 6 subject 30.
    templates, media = [1, 1, 2, 3, 4, 5, 6], [1, 1, 2, 3, 4, 5, 6]
    names = [f"{at}.png" for at in range(7)]
    for at, name in enumerate(names):
        picture(tmp_path / "loose_crop" / name, 10 + at, (112, 112))
    weights = [0.5, 1.0, 0.9, 0.9, 0.9, 0.9, 0.9]
    (meta / "ijbc_name_5pts_score.txt").write_text(
        "".join(f"{name} {points} {weight}\n" for name, weight in zip(names, weights, strict=True))
    )
    (meta / "ijbc_face_tid_mid.txt").write_text(
        "".join(f"{name} {t} {m}\n" for name, t, m in zip(names, templates, media, strict=True))
    )
    pairs = [(1, 2, 1), (3, 4, 1), (1, 3, 0), (2, 4, 0), (5, 1, 0)]
    (meta / "ijbc_template_pair_label.txt").write_text("".join(f"{a} {b} {same}\n" for a, b, same in pairs))
    (meta / "ijbc_1N_probe_mixed.csv").write_text("TEMPLATE_ID,SUBJECT_ID\n2,10\n4,20\n6,30\n")
    (meta / "ijbc_1N_gallery_G1.csv").write_text("TEMPLATE_ID,SUBJECT_ID\n1,10\n3,20\n")
    (meta / "ijbc_1N_gallery_G2.csv").write_text("TEMPLATE_ID,SUBJECT_ID\n5,30\n3,20\n")
    protocol = protocols.load_protocol(tmp_path, name="ijbc")
    assert levels(protocol) == [10 + at for at in range(7)]  # Aligned where they already are, pixels stay.
    embeddings = people(3, 3)[[0, 1, 2, 3, 4, 6, 7]]
    measured = protocol.measure(embeddings, QUICK)
    # Both images of template 1 are of one medium: their mean, each weighed by its detector score.
    shown = np.vstack([0.5 * embeddings[0] + 1.0 * embeddings[1], embeddings[2:]])
    np.testing.assert_allclose(measured.arrays["scores"], cosines(shown, [(a - 1, b - 1) for a, b, _ in pairs]))
    alike = protocol.measure(embeddings, protocols.Settings(far=(0.5,), resamples=0, detector_weights=False))
    shown[0] = embeddings[0] + embeddings[1]
    np.testing.assert_allclose(alike.arrays["scores"][0], cosines(shown, [(0, 1)])[0])
    # Probes 2, 4, 6 search galleries of 1, 3 and of 5, 3: 2 is mated in the first, 6 in the second, 4 in both.
    scores = cosines(
        np.vstack([0.5 * embeddings[0] + embeddings[1], embeddings[2:]]), [(a, b) for a in range(6) for b in range(6)]
    )
    scores = scores.reshape(6, 6)
    first = [
        scores[1, 0] > scores[1, 2],
        scores[3, 2] > scores[3, 0],
        scores[3, 2] > scores[3, 4],
        scores[5, 4] > scores[5, 2],
    ]
    assert measured.values["rank_1"] == pytest.approx(np.mean(first))
    assert {"tpir_at_fpir_1e-02", "tpir_at_fpir_1e-01", "tar_at_far_1e-01"} <= set(measured.values)
    (meta / "ijbc_name_5pts_score.txt").write_text(f"1.png {points} 1\n")
    with pytest.raises(ValueError, match="1 and 7 names, different first in row 1"):
        protocols.load_protocol(tmp_path)


def test_a_labelled_set_is_all_against_all_and_ranked(tmp_path):
    """Compares everybody with everybody in a labelled set, and ranks."""
    who = np.repeat([f"p{index:02}" for index in range(24)], 3)
    np.save(tmp_path / "labels.npy", who)
    protocol = protocols.load_protocol(tmp_path / "labels.npy")
    embeddings = people(24, 3, noise=0.9)
    measured = protocol.measure(embeddings, QUICK)
    pairs = [(a, b) for a in range(72) for b in range(a + 1, 72)]
    scores, same = cosines(embeddings, pairs), np.array([who[a] == who[b] for a, b in pairs])
    np.testing.assert_allclose(measured.arrays["scores"], scores, atol=1e-12)
    assert measured.values["eer"] == pytest.approx(evaluation.eer(scores, same), abs=1e-12)
    matrix = cosines(embeddings, [(a, b) for a in range(72) for b in range(72)]).reshape(72, 72)
    enrolled, probes = np.arange(0, 72, 3), np.setdiff1d(np.arange(72), np.arange(0, 72, 3))
    identified = enrolled[matrix[np.ix_(probes, enrolled)].argmax(axis=1)] == probes // 3 * 3
    assert measured.values["rank_1"] == pytest.approx(identified.mean())
    assert {"accuracy", "accuracy_grid", "intra_angle", "angular_fisher_score"} <= set(measured.values)
    assert any("Accuracy over" in note for note in measured.notes)
    with pytest.raises(ValueError, match="labels and no images"):
        next(protocol.batches(4))


def test_few_people_give_no_folds_and_say_so():
    """Reports that few people give no folds."""
    protocol = protocols.labelled.LabelledProtocol(np.repeat(np.arange(4), 3), None, "few")
    measured = protocol.measure(people(4, 3), QUICK)
    assert "accuracy" not in measured.values and any("No ten-fold accuracy" in note for note in measured.notes)


@pytest.mark.slow
def test_a_folder_of_identities_is_read_at_its_own_size(tmp_path):
    """Reads a folder of identities at its own size."""
    for person in range(3):
        for image in range(2):
            picture(tmp_path / "set" / f"p{person}" / f"{image}.png", 40 * person + image, (6, 4))
    protocol = protocols.load_protocol(tmp_path / "set", image_size=(6, 4))
    assert levels(protocol) == [0, 1, 40, 41, 80, 81] and protocol.people.tolist()[::2] == ["p0", "p1", "p2"]
    assert protocol.images([3, 0, 3])[:, 0, 0, 0].tolist() == [41, 0, 41]
    with pytest.raises(ValueError, match="the model takes 8 x 8"):
        next(protocols.load_protocol(tmp_path / "set", image_size=(8, 8)).batches(2))
    picture(tmp_path / "set" / "p0" / "1.png", 1, (5, 5))
    with pytest.raises(ValueError, match="5 x 5, 6 x 4"):
        protocols.load_protocol(tmp_path / "set", image_size=(6, 4))


def test_embeddings_of_mirror_images_are_added_as_published(tmp_path):
    """Adds the embeddings of mirror images as published."""
    images = np.random.default_rng(0).integers(0, 256, (4, 2, 2, 3), dtype=np.uint8)
    data.write_bin(tmp_path / "a.bin", images, [True, False])

    class Embedder:
        def embed(self, images, lengths):
            return images.reshape(len(images), -1).astype(np.float32) * (2 if lengths else 1)

    done = []
    protocol = protocols.load_protocol(tmp_path / "a.bin")
    found = protocols.embed(Embedder(), protocol, flip="sum", lengths=True, batch_size=3, progress=done.append)
    expected = 2.0 * (images.astype(np.float32) + images[:, :, ::-1]).reshape(4, -1)
    np.testing.assert_array_equal(found, expected)
    assert done == [3, 1]
    assert protocols.embed(Embedder(), protocol, flip="concatenate").shape == (4, 24)
    with pytest.raises(ValueError, match="flip must be None"):
        protocols.embed(Embedder(), protocol, flip="add")


def test_what_is_no_set_is_named(tmp_path):
    """Names a file that is not a set."""
    np.save(tmp_path / "embeddings.npy", np.zeros((3, 2), np.float32))
    with pytest.raises(ValueError, match="holds labels, one an embedding"):
        protocols.load_protocol(tmp_path / "embeddings.npy")
    with pytest.raises(FileNotFoundError, match="No such file or directory: "):
        protocols.load_protocol(tmp_path / "gone.bin")
    with pytest.raises(ValueError, match='fit must be None, "crop" or "resize"'):
        protocols.load_protocol("orl", fit="pad")
    with pytest.raises(ValueError, match="has 4 images and wants as many rows"):
        protocols.labelled.LabelledProtocol(np.arange(4), None, "x").measure(np.ones((3, 2)))


def test_a_bootstrap_that_would_take_long_waits_to_be_asked_for():
    """Requires a request for a bootstrap that would take long."""
    settings = base.Settings()
    assert settings.bootstrap(6000).resamples == 1000 and settings.bootstrap(5_000_000).resamples == 200
    assert settings.bootstrap(15_658_489) is None
    assert base.Settings(resamples=3).bootstrap(15_658_489).resamples == 3
    assert base.Settings(resamples=0).bootstrap(10) is None
