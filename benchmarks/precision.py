"""A recipe in each precision over some seeds: loss, accuracy and the error on people that training never met.

    python -m benchmarks.precision                                     the demo's recipe, three seeds: an hour on a CPU
    python -m benchmarks.precision --steps=150 --out=precision.json    the same, shorter

Each seed draws its own split, weights, order and augmentation, the same in every precision. A figure is in the noise
where its mean over the seeds is nearer to float32's than the seeds are to each other. CPUs compute float16 slowly, in
software: what is shown there is the numbers, not the speed.
"""

import json
import os
import pathlib
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from absl import app, flags

FLAGS = flags.FLAGS
flags.DEFINE_string("recipe", "orl_demo", "Name of the recipe, on the ORL faces.")
flags.DEFINE_integer("steps", None, "Updates; the recipe's by default.")
flags.DEFINE_list("seeds", ["0", "1", "2"], "Seeds.")
flags.DEFINE_list(
    "precisions", ["float32", "mixed_bfloat16", "mixed_float16"], "Precisions; the first is compared with."
)
flags.DEFINE_integer("held_out", 10, "People kept for the test.")
flags.DEFINE_string("out", None, "JSON file to write the figures to.")


def trained(recipe, precision, seed):
    """One run's figures."""
    import numpy as np

    from keras_margin import data, evaluation, training
    from keras_margin.callbacks import _embedding

    reader = data.open(image_size=recipe.model.image_size)
    learn, test = data.identity_disjoint_split(reader.labels, FLAGS.held_out, seed)
    start = time.process_time()
    found = training.fit(recipe.replace(precision=precision), reader.subset(learn), seed=seed)
    seconds = time.process_time() - start
    images, labels = reader.subset(test).arrays()
    pairs, is_same = evaluation.all_pairs(labels)
    embeddings = _embedding.make_embed_fn(found.model.embedder)(images)
    scores = evaluation.pair_scores(embeddings, pairs)
    # As many pairs of either kind, in an order that gives each fold of both.
    balanced, same = evaluation.make_pairs(labels, int(is_same.sum()), int(is_same.sum()), seed)
    losses = [logs["loss"] for _, logs in found.history]
    scale = getattr(found.model.optimizer, "dynamic_scale", None)
    return {
        "precision": precision,
        "seed": seed,
        "loss": losses[-1],
        "finite": bool(np.isfinite(losses).all() and all(np.isfinite(w.numpy()).all() for w in found.model.weights)),
        "accuracy": found.history[-1][1]["accuracy"],
        "eer": evaluation.eer(scores, is_same),
        "ten_fold": evaluation.k_fold_accuracy(evaluation.pair_scores(embeddings, balanced), same, folds=10).mean,
        "processor_seconds": seconds,
        "loss_scale": None if scale is None else float(scale.numpy()),
    }


def main(_):
    import numpy as np

    from keras_margin import recipes

    recipe = recipes.get(FLAGS.recipe)
    recipe = recipe.with_steps(FLAGS.steps) if FLAGS.steps else recipe
    rows = []
    for seed in map(int, FLAGS.seeds):
        for precision in FLAGS.precisions:
            row = trained(recipe, precision, seed)
            rows.append(row)
            print(
                " ".join(
                    f"{key}={value:.4f}" if isinstance(value, float) else f"{key}={value}" for key, value in row.items()
                ),
                flush=True,
            )
            if FLAGS.out:
                pathlib.Path(FLAGS.out).write_text(json.dumps(rows, indent=2) + "\n")
    for precision in FLAGS.precisions:
        found = [row for row in rows if row["precision"] == precision]
        words = [
            f"{name} {np.mean([row[name] for row in found]):.4f} ± {np.std([row[name] for row in found]):.4f}"
            for name in ("loss", "accuracy", "eer", "ten_fold")
        ]
        print(f"{precision:15} all finite {all(row['finite'] for row in found)}  {'  '.join(words)}")


if __name__ == "__main__":
    app.run(main)
