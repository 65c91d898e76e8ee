"""The field's networks, trained on the ORL faces for a while, through the gate of the export in every precision.

    python -m benchmarks.export_gate
    python -m benchmarks.export_gate --networks=mobilefacenet --steps=400 --side=112
    python -m benchmarks.export_gate --keep=trained/          the trained networks stay there, and are taken from there
    python -m benchmarks.export_gate --keep=trained/ --networks=mobilefacenet --swap=leaky_relu,relu

Trains on 30 people, compares on all pairs of photographs of the other 10, and prints the table of each network. A
file that is too far from its model is refused, and its row says so. Each is trained for minutes, not to be good.

--swap prints another table: the network with other activations in the place of PReLU (export.with_activation), before
and after a fine-tuning, and next to them the network itself, tuned as long.
"""

import pathlib
import tempfile

import keras
import numpy as np
from absl import app, flags

from keras_margin import data, evaluation, export, layers, models
from keras_margin.data import splits
from keras_margin.export import precisions
from keras_margin.models import backbones

FLAGS = flags.FLAGS
flags.DEFINE_list(
    "networks", ["mobilefacenet", "spherenet4", "ir_resnet18"], "Names in keras_margin.models.backbones.BACKBONES."
)
flags.DEFINE_integer("steps", 150, "Updates of 16 images.")
flags.DEFINE_integer("side", 64, "Pixels of an image's side.")
flags.DEFINE_float("learning_rate", 1e-3, "AdamW's.")
flags.DEFINE_integer("seed", 0, "Of split, weights and order.")
flags.DEFINE_list("swap", [], "Activations to put in the place of PReLU, instead of the table of precisions.")
flags.DEFINE_integer("swap_steps", 60, "Updates of 16 images after that, at a third of the learning rate.")
flags.DEFINE_string("keep", None, "Folder for the trained networks; those already there are not trained again.")


def trained(name, learn, folder):
    """The network of the backbone `name` after a short training on a reader, or the one kept in the folder."""
    path = folder / f"{name}_{FLAGS.side}_{FLAGS.steps}_{FLAGS.seed}.keras"
    if path.exists():
        return keras.saving.load_model(path, compile=False)
    keras.utils.set_random_seed(FLAGS.seed)
    backbone = backbones.build(name, image_size=(FLAGS.side, FLAGS.side))
    train(backbone, learn, FLAGS.steps, FLAGS.learning_rate)
    backbone.save(path)
    return backbone


def train(backbone, learn, steps, learning_rate):
    """Updates the backbone under a new head."""
    keras.utils.set_random_seed(FLAGS.seed)
    network = models.EmbeddingModel(backbone, layers.ArcFaceHead(learn.num_classes, margin=0.3, scale=16.0))
    schedule = keras.optimizers.schedules.CosineDecay(learning_rate, steps)
    # XLA compiles for minutes on a CPU.
    network.compile(keras.optimizers.AdamW(schedule, weight_decay=1e-2), jit_compile=False)
    batches = learn.dataset(batch_size=16, shuffle=True, seed=FLAGS.seed, repeat=True)
    network.fit(batches, steps_per_epoch=steps, shuffle=False, verbose=0)


def swap_table(network, learn, representative, pairs):
    """Prints the EER of each activation before and after the fine-tuning, of the model and of its int8 file."""
    print("| activation | EER before | EER after | EER of int8 | mean cosine of int8 |\n|---|---|---|---|---|")
    for activation in ("prelu", *FLAGS.swap):
        changed = network if activation == "prelu" else export.with_activation(network, activation)
        before = eer(changed, pairs)
        if activation == "prelu":
            changed = keras.models.clone_model(network)
            changed.set_weights(network.get_weights())
        train(changed, learn, FLAGS.swap_steps, FLAGS.learning_rate / 3)
        with tempfile.TemporaryDirectory() as folder:
            limits = export.Options(limits=export.Limits(mean=-1.0))
            path = pathlib.Path(folder) / "face.tflite"
            report = export.to_tflite(
                changed, path, quantize="int8", representative=representative, pairs=pairs, options=limits
            )
        accuracy = report.accuracy
        cells = [f"{each:.2%}" for each in (before, accuracy.model_eer, accuracy.eer)]
        print(f"| {' | '.join([activation, *cells, f'{report.mean_cosine:.4f}'])} |", flush=True)


def eer(network, pairs):
    """Equal error rate on all pairs of (images, labels)."""
    images, labels = pairs
    chosen, is_same = evaluation.all_pairs(labels)
    return evaluation.eer(evaluation.pair_scores(network.predict(images, verbose=0), chosen), is_same)


def main(_):
    """Trains, exports, prints."""
    reader = data.open("orl", image_size=(FLAGS.side, FLAGS.side))
    learn, test = splits.identity_disjoint_split(reader.labels, 10, FLAGS.seed)
    learn = reader.subset(learn)
    representative = np.random.default_rng(FLAGS.seed).permutation(learn.arrays()[0])[:100]
    pairs = reader.subset(test).arrays()
    with tempfile.TemporaryDirectory() as temporary:
        kept = pathlib.Path(FLAGS.keep or temporary)
        kept.mkdir(parents=True, exist_ok=True)
        for name in FLAGS.networks:
            network = trained(name, learn, kept)
            print(f"\n{name}, {FLAGS.side}x{FLAGS.side}, {FLAGS.steps} steps")
            if FLAGS.swap:
                swap_table(network, learn, representative, pairs)
                continue
            reports = export.to_precisions(
                network,
                pathlib.Path(temporary) / name,
                quantize=(None, "float16", "dynamic", "int8"),
                representative=representative,
                pairs=pairs,
                strict=False,
            )
            print(precisions.as_table(reports), flush=True)


if __name__ == "__main__":
    app.run(main)
