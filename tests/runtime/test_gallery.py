"""Gallery: exact search against a formula, a file that runs nothing, and people who are really gone."""

import json
import re
import threading
import zipfile

import numpy as np
import pytest

from keras_margin.runtime import Gallery
from keras_margin.runtime._ranking import Match

SIZE = 16


def rows_of(count, seed=0, size=SIZE):
    return np.random.default_rng(seed).normal(size=(count, size)).astype(np.float32)


def unit(rows):
    rows = np.float64(rows)
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


@pytest.fixture
def gallery():
    """Forty people of one to four embeddings each."""
    made = Gallery(SIZE, model="network")
    for person in range(40):
        made.enroll(f"人 {person}", rows_of(1 + person % 4, seed=person))
    return made


def by_formula(gallery, probes, k):
    """Per probe the k best (name, cosine), each person by the nearest of their rows, float64."""
    scores = {name: (unit(probes) @ unit(gallery.embeddings_of(name)).T).max(axis=1) for name in gallery.names}
    orders = [sorted(scores, key=lambda name: -scores[name][row])[:k] for row in range(len(probes))]
    return [[(name, scores[name][row]) for name in order] for row, order in enumerate(orders)]


@pytest.mark.parametrize("k", [1, 3, 40, 99])
def test_search_finds_the_people_that_the_formula_finds(gallery, k):
    """Finds the people that the formula finds."""
    probes = rows_of(70, seed=99) * np.linspace(0.1, 9, 70)[:, None]
    for found, wanted in zip(gallery.search(probes, k=k), by_formula(gallery, probes, k), strict=True):
        assert [match.name for match in found] == [name for name, _ in wanted]
        np.testing.assert_allclose([match.score for match in found], [score for _, score in wanted], atol=1e-6)


def test_a_threshold_leaves_out_whoever_is_less_alike(gallery):
    """Leaves out people below the threshold."""
    (everybody,) = gallery.search(rows_of(1, seed=99), k=40)
    threshold = everybody[4].score
    assert gallery.search(rows_of(1, seed=99), k=40, threshold=threshold) == [everybody[:5]]
    assert gallery.search(rows_of(2, seed=99), threshold=0.9999) == [[], []]
    own = gallery.embeddings_of("人 7")[2]
    assert gallery.search(own, threshold=0.9999) == [[Match("人 7", pytest.approx(1.0, abs=1e-6))]]


def test_people_are_enrolled_one_by_one_or_many_at_once(gallery):
    """Enrolls people one by one or many at once."""
    many = Gallery(SIZE)
    names = [name for name in gallery.names for _ in gallery.embeddings_of(name)]
    many.enroll(names, np.concatenate([gallery.embeddings_of(name) for name in gallery.names]))
    assert many.names == gallery.names and len(many) == len(gallery) == 100
    assert many.search(rows_of(9, seed=3), k=5) == gallery.search(rows_of(9, seed=3), k=5)
    many.enroll("人 3", rows_of(1, seed=500)[0])
    assert len(many.embeddings_of("人 3")) == 5 and "人 3" in many and "nobody" not in many


def test_a_removed_person_is_in_no_memory_and_no_file(gallery, tmp_path):
    """Removes a person from memory and from the file."""
    path = tmp_path / "people.npz"
    gallery.save(path)
    gone, kept = gallery.embeddings_of("人 7"), gallery.embeddings_of("人 8")
    before = gallery.search(rows_of(20, seed=555), k=40)
    assert all(row.tobytes() in path.read_bytes() for row in gone)
    assert gallery.remove("人 7") == 4
    gallery.save(path)
    # The whole room for rows, the unused end included; and the file, name included.
    for content in (gallery._rows.tobytes(), path.read_bytes()):
        assert not any(row.tobytes() in content for row in gone) and kept[0].tobytes() in content
    assert "人 7".encode() + b'"' not in path.read_bytes() and "人 8".encode() + b'"' in path.read_bytes()
    assert "人 7" not in gallery.names and len(gallery) == 96
    after = gallery.search(rows_of(20, seed=555), k=39)
    for matches, was in zip(after, before, strict=True):
        was = [match for match in was if match.name != "人 7"]
        assert [match.name for match in matches] == [match.name for match in was]
        # A product of other shapes rounds differently.
        np.testing.assert_allclose([match.score for match in matches], [match.score for match in was], atol=1e-6)
    with pytest.raises(KeyError, match="nobody called '人 7'"):
        gallery.remove("人 7")
    assert [each.name for each in tmp_path.iterdir()] == ["people.npz"]


def test_growing_leaves_no_older_copy_of_the_rows():
    """Leaves no older copy of the rows when it grows."""
    gallery = Gallery(SIZE)
    gallery.enroll("a", rows_of(3))
    older = gallery._rows
    gallery.enroll("b", rows_of(5))
    assert gallery._rows is not older and not older.any()


def test_a_saved_gallery_comes_back_alike_and_holds_no_pickle(gallery, tmp_path):
    """Reads a saved gallery back equal, from a file without a pickle."""
    path = tmp_path / "gallery of 人"
    gallery.save(path)
    again = Gallery.load(path)
    assert (again.names, len(again), again.model, again.embedding_size) == (gallery.names, 100, "network", SIZE)
    assert again.search(rows_of(9), k=7) == gallery.search(rows_of(9), k=7)
    again.enroll("new", rows_of(2, seed=77))
    assert len(again) == 102
    with np.load(path, allow_pickle=False) as parts:
        assert set(parts) == {"about", "embeddings", "people"} and all(parts[name].dtype != object for name in parts)


def rewritten(path, out, **changes):
    with np.load(path) as parts:
        np.savez(out, **{**{name: parts[name] for name in parts}, **changes})


def test_what_is_no_gallery_is_refused_by_name(gallery, tmp_path):
    """Names a file that is not a gallery."""
    good, bad = tmp_path / "good.npz", tmp_path / "bad.npz"
    gallery.save(good)
    with pytest.raises(FileNotFoundError, match="no gallery at .*nothing"):
        Gallery.load(tmp_path / "nothing")
    whole = good.read_bytes()
    for length in range(0, len(whole) - 1, len(whole) // 40):
        bad.write_bytes(whole[:length])
        with pytest.raises(ValueError, match="bad.npz is not a gallery, or a damaged one"):
            Gallery.load(bad)
    with np.load(good) as parts:
        about, rows, people = json.loads(parts["about"].tobytes()), parts["embeddings"], parts["people"]

    def text(**changes):
        return np.frombuffer(json.dumps({**about, **changes}).encode(), np.uint8)

    changes = [
        ({"embeddings": rows * 2}, "not of unit length"),
        ({"embeddings": rows * np.nan}, "not of unit length"),
        ({"embeddings": rows.astype(np.float64)}, "float64"),
        ({"people": people + 1}, "embeddings of nobody"),
        ({"about": text(format_version=2)}, "format 'keras-margin gallery' 2"),
        ({"about": text(names=["a"] * 40)}, "twice"),
        ({"people": np.array([{}] * 100)}, "Object arrays cannot be loaded"),
    ]
    for change, message in changes:
        rewritten(good, bad, **change)
        with pytest.raises(ValueError, match=f"bad.npz is not a gallery.*{re.escape(message)}"):
            Gallery.load(bad)
    with zipfile.ZipFile(bad, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("embeddings.npy", bytes(10_000_000))
    with pytest.raises(ValueError, match="compressed"):
        Gallery.load(bad)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda gallery: gallery.enroll("a", np.zeros(SIZE, np.float32)), ValueError, "a row of zeros"),
        (lambda gallery: gallery.enroll("a", rows_of(1, size=3)), ValueError, r"\(n, 16\) or \(16,\).*shape \(1, 3\)"),
        (lambda gallery: gallery.enroll("a", rows_of(1) * np.nan), ValueError, "NaN or infinity in 1 of 1 rows"),
        (lambda gallery: gallery.enroll("a", np.ones(SIZE, int)), TypeError, "floats. Received: int64"),
        (lambda gallery: gallery.enroll("", rows_of(1)), ValueError, "a name, not empty"),
        (lambda gallery: gallery.enroll(["a"], rows_of(2)), ValueError, "Received: 1 for 2 rows"),
        (lambda gallery: gallery.enroll([7], rows_of(1)), TypeError, "names as str. Received: 7"),
        (lambda gallery: gallery.search(rows_of(1), k=0), ValueError, "k >= 1. Received: k=0"),
        (lambda gallery: Gallery(0), ValueError, "embedding_size >= 1"),
        (lambda gallery: Gallery(2.5), TypeError, "embedding_size as an int"),
        (lambda gallery: Gallery(2, model=3), TypeError, "model as a str or None"),
    ],
)
def test_what_cannot_be_kept_is_refused_and_nothing_is_added(gallery, call, error, message):
    """Refuses invalid people, and adds nothing."""
    with pytest.raises(error, match=message):
        call(gallery)
    assert len(gallery) == 100 and len(gallery.names) == 40


def test_an_empty_gallery_knows_nobody(tmp_path):
    """Finds nobody in an empty gallery."""
    gallery = Gallery(SIZE)
    assert gallery.search(rows_of(2)) == [[], []]
    gallery.enroll("a", rows_of(1))
    gallery.remove("a")
    assert gallery.search(rows_of(2)) == [[], []] and len(gallery) == 0
    gallery.save(tmp_path / "empty.npz")
    assert len(Gallery.load(tmp_path / "empty.npz")) == 0


def test_threads_enroll_search_and_remove_at_the_same_time():
    """Enrolls, searches and removes in several threads at once."""
    gallery, wrong = Gallery(SIZE), []

    def work(seed):
        for turn in range(20):
            name, rows = f"{seed} {turn}", rows_of(3, seed=1000 * seed + turn)
            gallery.enroll(name, rows)
            if gallery.search(rows[1])[0][0].name != name:
                wrong.append(name)
            if turn % 2:
                gallery.remove(name)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == [] and len(gallery) == 4 * 10 * 3 and len(gallery.names) == 40
