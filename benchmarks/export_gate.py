"""The field's networks, trained on the ORL faces for a while, through the gate of the export in every precision.

    python -m benchmarks.export_gate
    python -m benchmarks.export_gate --networks=mobilefacenet --steps=400 --side=112
    python -m benchmarks.export_gate --keep=trained/          the trained networks stay there, and are taken from there

Trains on 30 people, compares on all pairs of photographs of the other 10, and prints the table of each network. A
file that is too far from its model is refused, and its row says so. Each is trained for minutes, not to be good.
"""

import pathlib
import tempfile

import keras
import numpy as np
from absl import app, flags

from keras_margin import backbones, data, export, heads, model
from keras_margin.data import splits

FLAGS = flags.FLAGS
flags.DEFINE_list("networks", ["mobilefacenet", "spherenet4", "ir_resnet18"], "Names in keras_margin.BACKBONES.")
flags.DEFINE_integer("steps", 150, "Updates of 16 images.")
flags.DEFINE_integer("side", 64, "Pixels of an image's side.")
flags.DEFINE_float("learning_rate", 1e-3, "AdamW's.")
flags.DEFINE_integer("seed", 0, "Of split, weights and order.")
flags.DEFINE_string("keep", None, "Folder for the trained networks; those already there are not trained again.")


def trained(name, learn, folder):
    """The network of the backbone `name` after a short training on a reader, or the one kept in the folder."""
    path = folder / f"{name}_{FLAGS.side}_{FLAGS.steps}_{FLAGS.seed}.keras"
    if path.exists():
        return keras.saving.load_model(path, compile=False)
    keras.utils.set_random_seed(FLAGS.seed)
    backbone = backbones.build(name, image_size=(FLAGS.side, FLAGS.side))
    network = model.EmbeddingModel(backbone, heads.ArcFaceHead(learn.num_classes, margin=0.3, scale=16.0))
    schedule = keras.optimizers.schedules.CosineDecay(FLAGS.learning_rate, FLAGS.steps)
    # XLA compiles for minutes on a CPU.
    network.compile(keras.optimizers.AdamW(schedule, weight_decay=1e-2), jit_compile=False)
    batches = learn.dataset(batch_size=16, shuffle=True, seed=FLAGS.seed, repeat=True)
    network.fit(batches, steps_per_epoch=FLAGS.steps, shuffle=False, verbose=0)
    backbone.save(path)
    return backbone


def main(_):
    """Trains, exports, prints."""
    reader = data.open("orl", image_size=(FLAGS.side, FLAGS.side))
    learn, test = splits.identity_disjoint_split(reader.labels, 10, FLAGS.seed)
    learn = reader.subset(learn)
    representative, _ = learn.arrays()
    with tempfile.TemporaryDirectory() as temporary:
        kept = pathlib.Path(FLAGS.keep or temporary)
        kept.mkdir(parents=True, exist_ok=True)
        for name in FLAGS.networks:
            reports = export.to_precisions(
                trained(name, learn, kept),
                pathlib.Path(temporary) / name,
                quantize=(None, "float16", "dynamic", "int8"),
                representative=np.random.default_rng(FLAGS.seed).permutation(representative)[:100],
                pairs=reader.subset(test).arrays(),
                strict=False,
            )
            print(f"\n{name}, {FLAGS.side}x{FLAGS.side}, {FLAGS.steps} steps")
            print(export.as_table(reports), flush=True)


if __name__ == "__main__":
    app.run(main)
