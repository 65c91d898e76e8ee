"""A head alone on real faces: a linear map trained on the embeddings of a network that stays as it is.

    python -m benchmarks.real_faces measure MODEL FACES CROPS OUT      keeps the embeddings that this trains on
    python -m benchmarks.real_faces_linear FACES CROPS OUT --seeds 0 1 2

Trains on CFP's people 001 to 400 under ArcFace, from the identity, and measures people 401 to 500 on CFP's own pairs
and everybody on LFW's, before and after. The rate was not tuned.
"""

import argparse
import json
import pathlib

import keras
import numpy as np

import keras_margin as km
from benchmarks import real_faces_sets
from keras_margin.evaluation import protocols

_STEPS, _BATCH = 1_000, 128


def main():
    """Trains each seed and prints and writes what it measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("faces", "crops", "out"):
        parser.add_argument(name)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    arguments = parser.parse_args()
    out = pathlib.Path(arguments.out)
    cfp = _unit(np.load(out / "cfp.npz"))
    training = {key: row for key, row in cfp.items() if int(key.split("/")[0]) <= real_faces_sets.TRAINED_CFP}
    sets = _sets(arguments, out, cfp)
    found = {"before": _measured(sets, lambda rows: rows)}
    for seed in arguments.seeds:
        found[f"seed {seed}"] = _measured(sets, _trained(training, seed))
    for name, values in found.items():
        print(name, *(f"{key} {value:.2%}" for key, value in values.items()))
    (out / "linear.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def _unit(rows):
    return {key: row / np.linalg.norm(row) for key, row in rows.items()}


def _sets(arguments, out, cfp):
    """Returns {name: (protocol, its embeddings before)}."""
    unseen = real_faces_sets.write_unseen_cfp(arguments.faces, arguments.crops, out / "sets/unseen_cfp")
    sets = {name: (protocols.load_protocol(unseen, protocol=name), cfp) for name in ("cfp_ff", "cfp_fp")}
    if (out / "lfw_field.npz").exists():
        folds = out / "sets/field"
        rows = _unit(np.load(out / "lfw_field.npz"))
        sets["lfw_1_2"] = (protocols.load_protocol(folds, protocol="pairs"), rows)
    return {
        name: (protocol, np.stack([rows[_key(each)] for each in protocol.listed.rows()[0].tolist()]))
        for name, (protocol, rows) in sets.items()
    }


def _key(name):
    return "/".join(name.split("/")[-3:]).removeprefix("lfw/")


def _trained(training, seed):
    """Returns the trained map as a function of unit rows."""
    keras.utils.set_random_seed(seed)
    rows = np.stack(list(training.values()))
    labels = np.unique([key.split("/")[0] for key in training], return_inverse=True)[1]
    size = rows.shape[1]
    backbone = keras.Sequential(
        [keras.Input((size,)), keras.layers.Dense(size, use_bias=False, kernel_initializer="identity")]
    )
    model = km.EmbeddingModel(backbone, head=km.ArcFaceHead(int(labels.max()) + 1, margin=0.3, scale=32.0))
    rate = keras.optimizers.schedules.CosineDecay(1e-3, _STEPS)
    model.compile(keras.optimizers.AdamW(rate, weight_decay=1e-2))
    epochs = -(-_STEPS * _BATCH // len(rows))
    model.fit(rows, labels, batch_size=_BATCH, epochs=epochs, verbose=0)
    return lambda some: some @ backbone.layers[-1].kernel.numpy()


def _measured(sets, change):
    values = {}
    for name, (protocol, rows) in sets.items():
        measured = protocol.measure(change(rows), protocols.Settings(resamples=0)).values
        values |= {f"{name} accuracy": measured["accuracy"], f"{name} EER": measured["eer"]}
    return values


if __name__ == "__main__":
    main()
