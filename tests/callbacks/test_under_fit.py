"""The callbacks under Model.fit, on every backend, with Keras's own behind them."""

import csv
import json

import keras
import numpy as np
import pytest
from keras import ops

import keras_margin as km
from keras_margin import callbacks

CLASSES, SIDE = 4, 3
JIT = keras.backend.backend() == "jax"


def noisy_colors(count=40, seed=0):
    """(uint8 images, labels) of a colour a class, with noise."""
    generator = np.random.default_rng(seed)
    labels = np.arange(count) % CLASSES
    colors = np.random.default_rng(7).integers(40, 215, (CLASSES, 1, 1, 3))
    images = np.clip(colors[labels] + generator.normal(0, 40, (count, SIDE, SIDE, 3)), 0, 255)
    return images.astype("uint8"), labels


IMAGES, LABELS = noisy_colors()
PAIRS = np.array([(first, second) for first in range(20) for second in range(first)])
IS_SAME = LABELS[PAIRS[:, 0]] == LABELS[PAIRS[:, 1]]


def network():
    return keras.Sequential(
        [
            keras.Input((SIDE, SIDE, 3)),
            keras.layers.Rescaling(1 / 128, -1),
            keras.layers.Flatten(),
            keras.layers.Dense(4, kernel_initializer=keras.initializers.RandomNormal(stddev=0.1, seed=1)),
        ]
    )


def model_of(head=None, optimizer=None, **options):
    start = keras.initializers.RandomNormal(seed=2)
    model = km.EmbeddingModel(network(), head or km.ArcFaceHead(CLASSES, scale=16.0, prototypes_initializer=start))
    model.compile(optimizer or keras.optimizers.SGD(0.05), jit_compile=JIT, **options)
    return model


def fit(model, *given, epochs=2, **options):
    return model.fit(
        IMAGES, LABELS, batch_size=10, epochs=epochs, shuffle=False, callbacks=list(given), verbose=0, **options
    ).history


def own_set(name="lfw", **options):
    return callbacks.Verification(images=IMAGES, pairs=PAIRS, is_same=IS_SAME, name=name, **options)


# --- Verification ---------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_figures_of_arrays_are_in_the_history():
    """They are those of NumPy for the model as it is at the epoch's end: pairs under the threshold of equal errors."""
    model = model_of()
    history = fit(model, own_set())
    assert {"lfw_accuracy", "lfw_eer", "lfw_tar_at_far_1e-01"} <= set(history)
    x = model.predict(IMAGES[:20].astype("float32"), verbose=0).astype(np.float64)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    cosines = np.sum(x[PAIRS[:, 0]] * x[PAIRS[:, 1]], axis=1)
    accepted = np.sort(cosines[~IS_SAME])[::-1]
    threshold = accepted[int(0.1 * len(accepted))]
    assert history["lfw_tar_at_far_1e-01"][-1] == pytest.approx(np.mean(cosines[IS_SAME] > threshold), abs=1e-6)


@pytest.mark.slow
def test_monitors_need_no_mode(tmp_path):
    """ModelCheckpoint, EarlyStopping and ReduceLROnPlateau know that an accuracy is to rise and an EER to fall."""
    best = keras.callbacks.ModelCheckpoint(tmp_path / "best.keras", monitor="lfw_accuracy", save_best_only=True)
    stop = keras.callbacks.EarlyStopping(monitor="lfw_eer", patience=9)
    plateau = keras.callbacks.ReduceLROnPlateau(monitor="lfw_accuracy", patience=9)
    log = keras.callbacks.CSVLogger(tmp_path / "log.csv")
    history = fit(model_of(), own_set(), best, stop, plateau, log)
    assert best.best == max(history["lfw_accuracy"]) and (tmp_path / "best.keras").exists()
    assert stop.monitor_op(0.1, 0.2) and plateau.monitor_op(0.2, 0.1)
    rows = list(csv.DictReader((tmp_path / "log.csv").read_text().splitlines()))
    assert [float(row["lfw_eer"]) for row in rows] == pytest.approx(history["lfw_eer"])


@pytest.mark.tensorflow_only
def test_tensorboard_draws_the_figures(tmp_path):
    """Where TensorBoard is installed, which Keras's callback needs to write."""
    pytest.importorskip("tensorboard")
    import tensorflow as tf

    fit(model_of(), own_set(), keras.callbacks.TensorBoard(tmp_path), epochs=1)
    found = set()
    for path in (tmp_path / "train").glob("*.v2"):
        for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
            found |= {value.tag for value in tf.compat.v1.Event.FromString(record).summary.value}
    assert {"epoch_lfw_accuracy", "epoch_lfw_eer"} <= found


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ({}, [4, 8, 12]),
        # The two updates that cross the fourth are one call; the last call of an epoch has one update.
        ({"steps_per_execution": 2}, [4, 9, 12]),
        # Fifteen batches, of which the last waits for its update.
        ({"optimizer": keras.optimizers.SGD(0.05, gradient_accumulation_steps=2)}, [4]),
    ],
    ids=["one by one", "two by two", "accumulated"],
)
def test_updates_between_two_measurements_are_counted(options, wanted):
    """Five batches an epoch, a fit of two epochs and one of one, measured at every fourth update of the optimizer."""
    if "steps_per_execution" in options and keras.backend.backend() == "torch":
        pytest.skip("Keras makes one update a call there.")
    verification, model = own_set(every=4), model_of(**options)
    for epochs in (2, 1):
        model.fit(IMAGES, LABELS, batch_size=8, epochs=epochs, callbacks=[verification], verbose=0)
    assert [step for step, _ in verification.history] == wanted


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "Received: neither"),
        ({"sets": "lfw.bin", "images": IMAGES}, "Received: both"),
        ({"images": IMAGES}, "needs is_same="),
        ({"images": IMAGES, "is_same": [1, 0], "pairs": [[0, 1], [2, 40]]}, "up to image 40"),
        ({"images": IMAGES, "is_same": [1, 0], "pairs": [[0, 1]]}, r"pairs of shape \(1, 2\)"),
        ({"images": IMAGES, "is_same": [1, 1], "pairs": [[0, 1], [2, 3]]}, "is_same that is True throughout"),
    ],
)
def test_arrays_that_are_no_pairs_are_refused(given, message):
    """Refuses arrays that are not pairs."""
    with pytest.raises(ValueError, match=message):
        callbacks.Verification(**given)


def test_two_sets_of_one_name_are_refused():
    """Refuses two sets of one name."""
    sets = callbacks.PairSet("lfw", IMAGES, IS_SAME, PAIRS), callbacks.PairSet("lfw", IMAGES, IS_SAME, PAIRS)
    with pytest.raises(ValueError, match="sets of different names. Received: lfw, lfw"):
        fit(model_of(), callbacks.Verification(sets))


# --- Schedules ------------------------------------------------------------------------------------------------------


def losses_at(margin, scale):
    """Loss of the untrained model under a head of this margin and scale."""
    head = km.ArcFaceHead(
        CLASSES, margin=margin, scale=scale, prototypes_initializer=keras.initializers.RandomNormal(seed=2)
    )
    model = model_of(head, keras.optimizers.SGD(0.0))
    return model.evaluate(IMAGES, LABELS, batch_size=40, verbose=0)[0]


class Losses(keras.callbacks.Callback):
    """The loss of each batch, of one batch an epoch."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def on_train_batch_end(self, batch, logs=None):
        self.seen.append(float(logs["loss"]))


SCHEDULES = {
    "margin": (lambda: callbacks.MarginSchedule(4), lambda share: losses_at(0.5 * share, 16.0)),
    "scale": (lambda: callbacks.ScaleSchedule(4, start=2.0), lambda share: losses_at(0.5, 2.0 + 14.0 * share)),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", SCHEDULES)
def test_a_schedule_gives_the_loss_of_a_head_with_that_share(name):
    """At a rate of 0 the loss of update k is that of a head with k / 4 of the way, also after an earlier fit."""
    make, wanted = SCHEDULES[name]
    model, losses = model_of(optimizer=keras.optimizers.SGD(0.0)), Losses()
    model.fit(IMAGES, LABELS, batch_size=40, verbose=0)
    before = model.head.margin, model.head.scale
    model.optimizer.iterations.assign(0)
    model.fit(IMAGES, LABELS, batch_size=40, epochs=6, callbacks=[make(), losses], verbose=0)
    assert losses.seen == pytest.approx([wanted(min(1.0, k / 4)) for k in range(6)], rel=1e-5)
    assert (model.head.margin, model.head.scale) == before


@pytest.mark.slow
def test_a_schedule_counts_updates_not_batches():
    """Of accumulated gradients two batches are one update."""
    seen = []
    schedule = callbacks.MarginSchedule(lambda update: seen.append(update) or 1.0)
    fit(model_of(optimizer=keras.optimizers.SGD(0.05, gradient_accumulation_steps=2)), schedule)
    assert seen == [0, 0, 1, 1, 2, 2, 3, 3]


@pytest.mark.slow
def test_a_schedule_is_not_in_weights_and_files(tmp_path):
    """Leaves a schedule's margin out of weights and files."""
    model = model_of()
    wanted = len(model.weights)
    history = fit(model, callbacks.MarginSchedule(100))
    assert len(model.weights) == wanted and set(history) == {"loss", "accuracy"}
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert not again.loss_schedule.uses_margin and again.head.margin == model.head.margin


@pytest.mark.parametrize(
    ("head", "schedule", "message"),
    [
        (km.SphereFaceHead, lambda: callbacks.MarginSchedule(5), "anneals by its own lambda takes no schedule"),
        (km.NormSoftmaxHead, lambda: callbacks.MarginSchedule(5), "no margin that could be scaled"),
        (km.SphereFaceHead, lambda: callbacks.ScaleSchedule(5), "needs a head with a scale of its own"),
    ],
)
def test_what_a_head_has_not_is_not_scheduled(head, schedule, message):
    """Refuses to schedule what the head lacks."""
    with pytest.raises(ValueError, match=message):
        fit(model_of(head(CLASSES)), schedule())


def test_schedules_refuse_numbers_out_of_range():
    """Refuses numbers out of range in schedules."""
    with pytest.raises(ValueError, match="MarginSchedule needs steps, an int >= 1, or a function"):
        callbacks.MarginSchedule(0)
    with pytest.raises(ValueError, match="ScaleSchedule needs start > 0. Received: start=0"):
        callbacks.ScaleSchedule(5, start=0)


# --- TrainingDiagnostics --------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_diagnostics_look_at_the_images_they_were_given():
    """Every second update, and the first; the angle is that of NumPy in float64 over the images."""
    model = model_of()
    diagnostics = callbacks.TrainingDiagnostics(every=2, images=IMAGES, labels=LABELS)
    fit(model, diagnostics)
    assert len(diagnostics.statistics) == 5 and diagnostics.sentences == []
    x = model.predict(IMAGES.astype("float32"), verbose=0).astype(np.float64)
    own = ops.convert_to_numpy(model.head.prototypes).astype(np.float64)[LABELS]
    cosines = np.sum(x * own, axis=1) / np.linalg.norm(x, axis=1) / np.linalg.norm(own, axis=1)
    assert diagnostics.statistics[-1].theta == pytest.approx(np.degrees(np.arccos(cosines)).mean(), rel=1e-4)


@pytest.mark.slow
def test_diagnostics_name_a_fault_under_model_fit():
    """Two hundred updates at a rate of 0: the margin is said to be too large, with the accuracy since the last look."""
    head = km.ArcFaceHead(CLASSES, margin=2.8, prototypes_initializer=keras.initializers.RandomNormal(seed=5))
    model = model_of(head, keras.optimizers.SGD(0.0))
    nearest = model.head(model.predict(IMAGES.astype("float32"), verbose=0))
    wrong = ops.convert_to_numpy(ops.argmin(nearest, axis=1))  # No image is nearest to its own prototype.
    diagnostics = callbacks.TrainingDiagnostics(every=4, patience=8, images=IMAGES, labels=wrong)
    model.fit(IMAGES, wrong, batch_size=10, epochs=3, callbacks=[diagnostics], verbose=0)
    (sentence,) = [each for each in diagnostics.sentences if each.startswith("The margin, ")]
    assert "after 8 updates 0.0% of the training images" in sentence
    # What is advised can be done under Model.fit.
    assert "callbacks.MarginSchedule" in sentence and "margin_warmup_steps" not in sentence


@pytest.mark.slow
def test_each_fit_has_intervals_of_its_own():
    """What is derived from the length of a fit is derived again for the next one; what was given stays."""
    model, derived = model_of(), callbacks.TrainingDiagnostics(images=IMAGES, labels=LABELS)
    given = callbacks.TrainingDiagnostics(every=7, patience=9, images=IMAGES, labels=LABELS)
    found = []
    # 4 updates; 4 batches an epoch as Keras tells them, of 1,500 epochs.
    model.fit(IMAGES, LABELS, batch_size=10, callbacks=[derived, given], verbose=0)
    for steps, epochs in ((4, 1), (4, 1_500)):
        for diagnostics in (derived, given):
            diagnostics.set_params({"steps": steps, "epochs": epochs})
            diagnostics.on_train_begin()
            found.append((diagnostics.every, diagnostics.patience))
    assert found == [(10, 100), (7, 9), (30, 150), (7, 9)]


@pytest.mark.parametrize("options", [{"every": 0}, {"patience": 2.5}])
def test_diagnostics_refuse_numbers_out_of_range(options):
    """An interval and a patience are at least one update."""
    with pytest.raises(ValueError, match="TrainingDiagnostics needs (every|patience), an int >= 1 or None"):
        callbacks.TrainingDiagnostics(**options)


def test_diagnostics_need_images_under_model_fit():
    """Requires images for diagnostics under Model.fit."""
    with pytest.raises(ValueError, match=r"Received: no images. Pass TrainingDiagnostics\(images=..., labels=...\)"):
        fit(model_of(), callbacks.TrainingDiagnostics())


# --- EmbeddingProjector ---------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_projectors_files_hold_the_unit_embeddings(tmp_path):
    """Writes the unit embeddings into the projector's files."""
    model = model_of()
    names = [f"person\t{label}" for label in LABELS]
    fit(model, callbacks.EmbeddingProjector(tmp_path / "logs", IMAGES, names))
    x = model.predict(IMAGES.astype("float32"), verbose=0).astype(np.float64)
    found = np.loadtxt(tmp_path / "logs" / "embeddings.tsv", delimiter="\t")
    np.testing.assert_allclose(found, x / np.linalg.norm(x, axis=1, keepdims=True), atol=1e-5)
    assert (tmp_path / "logs" / "metadata.tsv").read_text().splitlines()[1] == "person 1"
    config = (tmp_path / "logs" / "projector_config.pbtxt").read_text()
    assert all(json.dumps(name) in config for name in ("embeddings.tsv", "metadata.tsv"))


def test_the_projectors_sprite_shows_each_image_in_its_place(tmp_path):
    """Five images of one colour each stand row by row in a grid of three columns; the config says their size."""
    image = pytest.importorskip("PIL.Image")
    colors = np.array([[10, 20, 30], [40, 50, 60], [70, 80, 90], [100, 110, 120], [130, 140, 150]], "uint8")
    images = np.tile(colors[:, None, None, :], (1, SIDE, SIDE, 1))
    projector = callbacks.EmbeddingProjector(tmp_path, images, range(5), sprite_size=4)
    projector.set_model(model_of())
    projector.on_train_begin()
    found = np.asarray(image.open(tmp_path / "sprite.png"))
    assert found.shape == (8, 12, 3)
    for number, color in enumerate(colors):
        row, column = divmod(number, 3)
        assert (found[4 * row : 4 * row + 4, 4 * column : 4 * column + 4] == color).all()
    assert (found[4:, 8:] == 0).all()
    config = (tmp_path / "projector_config.pbtxt").read_text()
    assert 'image_path: "sprite.png"' in config and config.count("single_image_dim: 4\n") == 2


def test_a_sprite_that_is_too_large_is_refused():
    """A hundred columns of 82 pixels are more than the projector reads."""
    images = np.zeros((10_000, 1, 1, 3), "uint8")
    with pytest.raises(ValueError, match="sprite_size, an int 1 to 81. Received: sprite_size=82"):
        callbacks.EmbeddingProjector("logs", images, range(10_000), sprite_size=82)


@pytest.mark.parametrize(("shape", "dtype"), [((4, 2, 2, 3), "float32"), ((4, 2, 2, 1), "uint8"), ((4, 2, 2), "uint8")])
def test_a_sprite_of_other_images_is_refused(shape, dtype):
    """Images that are not uint8 RGB would be cut to bytes, or fail inside of Pillow when training begins."""
    with pytest.raises(ValueError, match=rf"uint8 RGB images.*Received: shape \({shape[0]}, .*{dtype}"):
        callbacks.EmbeddingProjector("logs", np.zeros(shape, dtype), range(4), sprite_size=2)


# --- BackupAndRestore -----------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_backup_and_restore_brings_back_a_heads_state(tmp_path):
    """Killed in the third epoch and started again, lambda and weights are those of a run that was never stopped."""

    def run(*given):
        start = keras.initializers.RandomNormal(seed=2)
        model = model_of(km.SphereFaceHead(CLASSES, prototypes_initializer=start), keras.optimizers.SGD(0.01))
        fit(model, *given, epochs=4)
        return model

    def kill(epoch, logs=None):
        if epoch == 2:
            raise KeyboardInterrupt

    wanted = run()
    with pytest.raises(KeyboardInterrupt):
        run(keras.callbacks.BackupAndRestore(tmp_path), keras.callbacks.LambdaCallback(on_epoch_begin=kill))
    found = run(keras.callbacks.BackupAndRestore(tmp_path))
    # Sixteen updates; from the start again it would be at eight.
    assert found.head.annealing_lambda == pytest.approx(1000 / (1 + 0.12 * 16), rel=1e-6)
    for one, other in zip(found.weights, wanted.weights, strict=True):
        np.testing.assert_allclose(ops.convert_to_numpy(one), ops.convert_to_numpy(other), rtol=1e-5, atol=1e-7)


def test_a_schedule_ends_with_its_fit():
    """After a fit with a MarginSchedule the loss is that of the whole margin again."""
    model = model_of()
    wanted = model.evaluate(IMAGES, LABELS, verbose=0, return_dict=True)["loss"]
    weights = model.get_weights()
    fit(model, callbacks.MarginSchedule(1_000), epochs=1)
    model.set_weights(weights)
    assert model.evaluate(IMAGES, LABELS, verbose=0, return_dict=True)["loss"] == pytest.approx(wanted, rel=1e-6)


def test_a_callback_measures_the_model_of_each_fit():
    """One Verification passed to the fits of two models measures each, not the first one twice."""
    used, fresh = own_set(), own_set()
    first = fit(model_of(), used, epochs=1)
    rate = keras.optimizers.SGD(1.0)
    again = fit(model_of(optimizer=rate), used, epochs=1)
    wanted = fit(model_of(optimizer=keras.optimizers.SGD(1.0)), fresh, epochs=1)
    assert again["lfw_eer"] == pytest.approx(wanted["lfw_eer"]) and again["lfw_eer"] != pytest.approx(first["lfw_eer"])


def test_two_verifications_keep_their_directions():
    """Each tells which way its figures are better; the second does not take the first one's away."""
    stop = [keras.callbacks.EarlyStopping(f"{name}_accuracy") for name in ("one", "other")]
    history = fit(model_of(), own_set("one"), own_set("other"), *stop)
    assert {"one_accuracy", "other_accuracy"} <= set(history)


@pytest.mark.parametrize("options", [{"every": 0}, {"flip": "typo"}])
def test_verification_refuses_numbers_out_of_range(options):
    """An interval that is none and a flip that does not exist are named at once."""
    with pytest.raises(ValueError, match="Verification needs (every|flip)"):
        callbacks.Verification("lfw.bin", **options)
