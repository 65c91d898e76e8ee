"""Galleries with an index, and galleries whose rows stay in their file: compared with exact search in NumPy."""

import importlib
import types

import numpy as np
import pytest

from keras_margin.runtime import Gallery, _indexes

SIZE = 16


def rows_of(count, seed=0, size=SIZE):
    return np.random.default_rng(seed).normal(size=(count, size)).astype(np.float32)


class ExactIndex:
    """What an index does, by a matrix product; it counts the rows that it was given."""

    added = 0

    def __init__(self, library, embedding_size):
        self.rows = np.zeros((0, embedding_size), np.float32)

    def add(self, rows):
        ExactIndex.added += len(rows)
        self.rows = np.concatenate([self.rows, rows])

    def search(self, probes, count):
        found = np.argsort(-(probes @ self.rows.T), axis=1)[:, :count]
        return np.pad(found, ((0, 0), (0, count - found.shape[1])), constant_values=-1)

    def __len__(self):
        return len(self.rows)


@pytest.fixture
def exact_index(monkeypatch):
    """The name of an index that needs no library."""
    monkeypatch.setitem(_indexes.INDEXES, "exact", ExactIndex)
    monkeypatch.setitem(_indexes._MODULES, "exact", "math")
    monkeypatch.setattr(ExactIndex, "added", 0)
    return "exact"


def filled(gallery, people=30, images=3):
    gallery.enroll(np.repeat([f"p{person}" for person in range(people)], images).tolist(), rows_of(people * images))
    return gallery


def named(found):
    return [[(match.name, round(match.score, 6)) for match in each] for each in found]


@pytest.mark.parametrize("k", [1, 4])
def test_an_indexed_search_finds_what_the_exact_one_finds(exact_index, k):
    """People, order and scores, several embeddings a person."""
    exact, indexed = filled(Gallery(SIZE)), filled(Gallery(SIZE, index=exact_index))
    probes = rows_of(70, seed=1)
    found, wanted = (sum(gallery.search(probes, k), []) for gallery in (indexed, exact))
    assert [match.name for match in found] == [match.name for match in wanted]
    np.testing.assert_allclose([m.score for m in found], [m.score for m in wanted], atol=1e-6)


def test_new_rows_join_the_index_and_a_removal_rebuilds_it(exact_index):
    """Enrolling after a search adds the new rows alone; nobody who was removed is found."""
    gallery = filled(Gallery(SIZE, index=exact_index))
    gallery.search(rows_of(1))
    assert ExactIndex.added == 90
    gallery.enroll("new", rows_of(1, seed=5))
    assert gallery.search(rows_of(1, seed=5))[0][0].name == "new" and ExactIndex.added == 91
    gallery.remove("new")
    assert gallery.search(rows_of(1, seed=5))[0][0].name != "new" and ExactIndex.added == 91 + 90


def test_a_loaded_gallery_builds_its_index(exact_index, tmp_path):
    """The file is the same with and without an index."""
    filled(Gallery(SIZE, index=exact_index)).save(tmp_path / "indexed.npz")
    filled(Gallery(SIZE)).save(tmp_path / "exact.npz")
    probes = rows_of(5, seed=1)
    found = [Gallery.load(tmp_path / name, index=index) for name in ("indexed.npz", "exact.npz") for index in
             (None, exact_index)]  # fmt: skip
    assert len({str(named(gallery.search(probes))) for gallery in found}) == 1


def test_an_index_that_finds_fewer_leaves_places_empty(exact_index):
    """Asked for more rows than there are, it answers -1, which is nobody."""
    gallery = Gallery(SIZE, index=exact_index)
    gallery.enroll("Ada", rows_of(1))
    assert named(gallery.search(rows_of(1), k=3)) == [[("Ada", 1.0)]]


def test_usearch_builds_as_widely_as_it_searches():
    """Its own default while building is narrower, and finds fewer of the nearest."""
    made = []
    _indexes._Usearch(types.SimpleNamespace(Index=lambda **settings: made.append(settings)), SIZE)
    assert made[0]["expansion_add"] == made[0]["expansion_search"] == _indexes._WIDTH


@pytest.mark.parametrize("library", ["usearch", "faiss", "hnswlib"])
def test_recall_against_exact_search(library):
    """Of 2,000 people, the index names the exact search's person for 99 of 100 probes at least; growing in steps."""
    pytest.importorskip(library)
    exact, indexed = Gallery(32), Gallery(32, index=library)
    for start in range(0, 2000, 500):
        names, rows = [f"p{number}" for number in range(start, start + 500)], rows_of(500, start, 32)
        for gallery in (exact, indexed):
            gallery.enroll(names, rows)
        indexed.search(rows[:1])
    probes = rows_of(500, seed=9, size=32)
    pairs = zip(exact.search(probes), indexed.search(probes), strict=True)
    assert np.mean([one[0].name == other[0].name for one, other in pairs]) >= 0.99
    indexed.remove("p7")
    assert indexed.search(rows_of(500, 0, 32)[7:8])[0][0].name != "p7"
    assert len(indexed.search(probes[:1], k=50)[0]) == 50


def test_an_unknown_index_is_refused():
    """The error lists the known ones."""
    with pytest.raises(ValueError, match="'usearch', 'faiss', 'hnswlib', or None. Received: index='annoy'"):
        Gallery(SIZE, index="annoy")


def test_a_missing_library_is_named_with_its_extra(monkeypatch):
    """At once, not on the first search."""

    def missing(name):
        raise ImportError(f"No module named {name!r}")

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(ImportError, match=r"\.\[faiss\]"):
        Gallery(SIZE, index="faiss")


def test_a_mapped_gallery_searches_its_file(tmp_path):
    """Its rows are in no memory of its own, and its answers are those of the loaded one."""
    filled(Gallery(SIZE, "model")).save(tmp_path / "people.npz")
    mapped, loaded = Gallery.load(tmp_path / "people.npz", memory_map=True), Gallery.load(tmp_path / "people.npz")
    assert isinstance(mapped._rows, np.memmap)
    assert named(mapped.search(rows_of(70, 1), k=3)) == named(loaded.search(rows_of(70, 1), k=3))


@pytest.mark.parametrize("people", [1, 7])
def test_a_mapped_gallery_is_aligned(tmp_path, people):
    """Whatever the length of the names before it, the array begins at a multiple of 64: NumPy copies it otherwise."""
    gallery = Gallery(4)
    gallery.enroll(["x" * (each + 1) for each in range(people)], rows_of(people, size=4))
    gallery.save(tmp_path / "people.npz")
    mapped = Gallery.load(tmp_path / "people.npz", memory_map=True)
    assert mapped._rows.flags.aligned and mapped._rows.offset % 64 == 0


@pytest.mark.parametrize("change", ["enroll", "remove"])
def test_a_mapped_gallery_changes_in_memory_alone(tmp_path, change):
    """The file keeps its bytes until `save`, which may replace it."""
    path = tmp_path / "people.npz"
    filled(Gallery(SIZE)).save(path)
    before = path.read_bytes()
    gallery = Gallery.load(path, memory_map=True)
    if change == "enroll":
        gallery.enroll("new", rows_of(1, seed=5))
    else:
        gallery.remove("p3")
    assert path.read_bytes() == before
    gallery.save(path)
    assert ("new" in Gallery.load(path)) == (change == "enroll")
    assert ("p3" in Gallery.load(path)) == (change == "enroll")


@pytest.mark.parametrize("count", [1300, 100_600], ids=["pieces", "threads"])
def test_enrolling_divides_every_row_by_its_length(count):
    """Across the pieces in which rows are divided, float64 lengths, names old and new in one call."""
    gallery, rows = Gallery(SIZE), rows_of(count) * np.float32(1e-20)
    gallery.enroll("old", rows[:1])
    gallery.enroll(["old", *(f"p{number % 400}" for number in range(count - 2))], rows[1:])
    wanted = rows.astype(np.float64)
    wanted /= np.linalg.norm(wanted, axis=1, keepdims=True)
    np.testing.assert_allclose(gallery._rows[:count], wanted, atol=1e-7)
    assert gallery.names == ("old", *(f"p{number}" for number in range(400)))
    assert len(gallery.embeddings_of("old")) == 2
    assert len(gallery.embeddings_of("p5")) == len(range(5, count - 2, 400))
