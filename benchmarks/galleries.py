"""Measures galleries of many embeddings: enrolling, exact search, a memory-mapped file, and a library's index.

python -m benchmarks.galleries --rows=1000000
python -m benchmarks.galleries --rows=1000000 --index=usearch --minutes=10

Each embedding is another person's. People are unit vectors in 64 of the dimensions, so that two of them have cosines
of a spread of 0.1 or so, as faces have; a photograph adds noise in all dimensions, so that two of one person have a
cosine of 0.7 on average. Probes are other photographs of some of the people. One process measures one index; the
graphs of an index are built in parts until the minutes are over, and then searched as far as they got. Prints lines of
JSON, processor time in seconds unless it says otherwise.
"""

import json
import os
import resource
import tempfile
import time

import numpy as np
from absl import app, flags

from keras_margin.runtime import Gallery

_ROWS = flags.DEFINE_integer("rows", 100_000, "How many are enrolled.")
_NUMBERS = flags.DEFINE_integer("numbers", 512, "Numbers of an embedding.")
_PROBES = flags.DEFINE_integer("probes", 512, "How many are searched for.")
_INDEX = flags.DEFINE_enum("index", None, ["usearch", "faiss", "hnswlib"], "Library of an index; exact without.")
_MINUTES = flags.DEFINE_float("minutes", 10.0, "Processor time after which a graph is not built any further.")
_DIMENSIONS, _COSINE, _PART = 64, 0.7, 10_000


def photographs(people, take, size):
    """Returns float32 (n, size) unit rows, take 0 or 1 of these people."""
    basis = np.linalg.qr(np.random.default_rng(0).normal(size=(size, _DIMENSIONS)))[0].T.astype(np.float32)
    rows = np.empty((len(people), size), np.float32)
    for start in range(0, len(people), _PART):
        part = people[start : start + _PART]
        # Of each part its own seed: a person is the same however many there are.
        drawn = np.random.default_rng([1, part[0] // _PART])
        person = drawn.standard_normal((_PART, _DIMENSIONS), np.float32)[part - part[0] // _PART * _PART] @ basis
        person /= np.linalg.norm(person, axis=1, keepdims=True)
        noise = np.random.default_rng([2, take, part[0]]).standard_normal((len(part), size), np.float32)
        rows[start : start + len(part)] = person + noise * np.sqrt((1 / _COSINE - 1) / size)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows


def spent(call):
    """Returns (processor time, clock time) in seconds of a call, and its result."""
    clock, processor = time.perf_counter(), time.process_time()
    found = call()
    return (time.process_time() - processor, time.perf_counter() - clock), found


def rss_mib():
    """Returns (memory in use now, the most so far) in MiB."""
    with open("/proc/self/statm", encoding="ascii") as file:
        pages = int(file.read().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") // 2**20, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def say(**values):
    """Prints a line of JSON, floats of four digits."""
    print(
        json.dumps({name: float(f"{each:.4g}") if isinstance(each, float) else each for name, each in values.items()}),
        flush=True,
    )


def best_names(gallery, probes):
    """Returns the first person's name of each probe."""
    return np.array([found[0].name for found in gallery.search(probes)])


def measure_exact(rows, probes, names, true):
    """Enrolling in one call, searching, and the same of the file that stays on the disk."""
    gallery, before = Gallery(rows.shape[1]), rss_mib()[0]
    times, _ = spent(lambda: gallery.enroll(names, rows))
    say(enroll=times[0], clock=times[1], mib=rss_mib()[0] - before)
    measure_search("exact", gallery, probes, true)
    expected = best_names(gallery, probes)
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "people.npz")
        times, _ = spent(lambda: gallery.save(path))
        say(save=times[0], clock=times[1], mib=os.path.getsize(path) // 2**20)
        before = rss_mib()[0]
        times, mapped = spent(lambda: Gallery.load(path, memory_map=True))
        # What the file's pages take is the system's to take back.
        say(load_mapped=times[0], clock=times[1], mib=rss_mib()[0] - before)
        found = measure_search("mapped", mapped, probes, true)
        say(mapped_as_exact=float((found == expected).mean()))


def measure_search(what, gallery, probes, true):
    """Searches in batches of 64 and one by one; returns the names."""
    times, found = spent(lambda: best_names(gallery, probes))
    alone, _ = spent(lambda: [gallery.search(probe) for probe in probes[:32]])
    say(
        search=what,
        embeddings=len(gallery),
        batch_ms=1e3 * times[0] / len(probes),
        alone_ms=1e3 * alone[0] / 32,
        right=float((found == true).mean()),
    )
    return found


def measure_index(library, rows, probes, people, names):
    """Builds a library's graph until the minutes are over, and searches it."""
    exact, gallery = Gallery(rows.shape[1]), Gallery(rows.shape[1], index=library)
    before, used = rss_mib()[0], 0.0
    for start in range(0, len(rows), _PART):
        part = slice(start, start + _PART)
        exact.enroll(names[part], rows[part])
        gallery.enroll(names[part], rows[part])
        used += spent(lambda: gallery.search(probes[:1]))[0][0]  # Adds the part to the graph.
        if used > 60 * _MINUTES.value:
            break
    say(index=library, embeddings=len(gallery), build=used, mib_with_two_galleries=rss_mib()[0] - before)
    there = people < len(gallery)
    true = np.array([names[each] for each in people[there]])
    expected = measure_search("exact", exact, probes[there], true)
    found = measure_search(library, gallery, probes[there], true)
    say(index=library, recall_at_1=float((found == expected).mean()))


def main(_):
    """Makes the embeddings and measures."""
    count = _ROWS.value
    people = np.sort(np.random.default_rng(3).choice(min(count, 100_000), _PROBES.value, replace=False))
    rows = photographs(np.arange(count), 0, _NUMBERS.value)
    # A probe at a time: photographs draws by parts of people, and these are of many.
    probes = np.concatenate([photographs(people[at : at + 1], 1, _NUMBERS.value) for at in range(len(people))])
    names = [f"p{person}" for person in range(count)]
    say(embeddings=count, size=_NUMBERS.value, genuine=float((rows[people] * probes).sum(axis=1).mean()))
    say(impostor_spread=float((rows[:2000] @ rows[2000:4000].T).std()))
    if _INDEX.value is None:
        measure_exact(rows, probes, names, np.array([names[each] for each in people]))
    else:
        measure_index(_INDEX.value, rows, probes, people, names)


if __name__ == "__main__":
    app.run(main)
