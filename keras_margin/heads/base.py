"""MarginHead, the layer behind an embedding that knows the classes."""

import math

import keras
from keras import ops

from keras_margin import checks, engines, losses, notes, numerics
from keras_margin.heads import _arguments, _expand, _loss, _sampling, _sharding
from keras_margin.heads._steps import LossSteps
from keras_margin.heads._target import Note, Target

PACKAGE = losses.PACKAGE
GRADIENTS = ("exact", "straight_through")
# Samples a batch, where a program is traced for batches of any size.
_ASSUMED_BATCH = 1024


class MarginHead(LossSteps, keras.layers.Layer):
    """Base of the margin heads: prototypes, engine, checks and serialisation. Subclasses say how the target bends.

    loss_i = -log( exp(s psi(theta_iy)) / (exp(s psi(theta_iy)) + sum_{j != y} exp(s cos theta_ij)) )

    Weight: `prototypes`, (num_classes, embedding_size), float32, a row a class; only its direction counts, save in the
    heads that say otherwise.

    Bad samples (label outside [0, num_classes), NaN or inf in the embedding) raise; under XLA and JAX's jit, which
    cannot raise, such a sample's loss is +inf and its gradient zero. A zero embedding is at pi/2 from every class and
    has a zero gradient.

    Args:
        num_classes: Number of classes, >= 2.
        margin: The head's margin; unit and range in the subclass.
        scale: s, factor of the logits, > 0. None, where a subclass allows it: each embedding's own norm.
        regularizer: keras_margin.losses.Regularizer added to the loss, or None.
        gradient: "exact", or "straight_through": forward as written, backward as if psi were cos(theta), the way
            insightface's current training code detaches its margin.
        engine: Name of the engine in keras_margin.engines.ENGINES, or "auto": the fastest that the head has and memory
            allows; see `engine_for`.
        sample_rate: Share of the classes that a training batch meets in `compute_loss`, (0, 1]: its own, and random
            others. Evaluation and export see all. The accuracy of a training batch is then among the classes met. An
            optimiser that leaves the other rows alone must go with it: keras_margin.optimizers.SGDWithL2. TensorFlow.
        sample_seed: Int >= 0, chooses the classes, with the saved number of the training batch.
        prototypes_initializer: Keras initializer. Default: normal with stddev 0.01, as insightface's.

    Raises:
        ValueError: On a value out of range.

    Call arguments:
        embeddings: Float tensor (batch, embedding_size), any length of rows.
        labels: Integer tensor (batch,) or (batch, 1), or None.
        training: Python bool. Advances what a head anneals.

    Reference: the softmax with normalised weights and features of ArcFace, CVPR 2019, eq. 2 and 3.
    """

    def __init__(
        self,
        num_classes,
        margin=0.0,
        scale=64.0,
        *,
        regularizer=None,
        gradient="exact",
        engine="auto",
        sample_rate=1.0,
        sample_seed=0,
        prototypes_initializer=None,
        **kwargs,
    ):
        # Half precision cannot hold what a margin is about: a clip at 1 - 1e-7 is 1 in float16. So: no autocast.
        super().__init__(autocast=False, **kwargs)
        name = type(self).__name__
        _arguments.require_integer(name, num_classes, 2, math.inf, "num_classes")
        if scale is not None and not (_arguments.is_finite_number(scale) and scale > 0):
            raise ValueError(f"{name} needs a scale > 0. Received: scale={scale!r}.")
        if gradient not in GRADIENTS:
            raise ValueError(f"gradient must be one of {', '.join(GRADIENTS)}. Received: gradient={gradient!r}.")
        if engine != "auto" and engine not in engines.ENGINES:
            names = ", ".join(["auto", *engines.ENGINES])
            raise ValueError(f"engine must be one of {names}. Received: engine={engine!r}.")
        if self.bends_by_more_than_cosines and engine not in ("auto", "plain"):
            raise ValueError(
                f"{name} bends the other classes' logits by more than their cosines, which only the plain engine can. "
                f"Received: engine={engine!r}."
            )
        self.num_classes = int(num_classes)
        self.margin = margin
        self.scale = None if scale is None else float(scale)
        self.regularizer = losses.get(regularizer)
        self.gradient = gradient
        self.engine = engine
        _sampling.check(self, sample_rate, sample_seed)
        self.sample_rate, self.sample_seed = float(sample_rate), int(sample_seed)
        self.sample_step = None
        self.prototypes_initializer = keras.initializers.get(
            prototypes_initializer or keras.initializers.RandomNormal(stddev=0.01)
        )
        self.prototypes = None
        self._loss = None
        self._loss_was_taken = False
        self._awaits_loss = False
        self._engine_in_use = None
        _loss.live_heads[self.name] = self

    # --- What a subclass says -------------------------------------------------------------------------------------

    # Whether the other classes' logits are more than scaled cosines: `bend_others` then says what, at the plain
    # engine's cost; where that is elementwise, `others_bend` says it to the other engines.
    bends_others = False
    # Whether `Target.norm` or `Target.embeddings` is used: such a head cannot work from cosines alone.
    needs_norm = False
    # Whether training batches change the head's state, through `observe` or `advance`.
    learns = False

    def bend_target(self, target):
        """psi, the own class's logit before scaling, (batch,), from a Target."""
        raise NotImplementedError(f"{type(self).__name__} must say how its margin bends the target: bend_target.")

    def bend_others(self, cosines, target):
        """The other classes' logits before scaling, (batch, num_classes), from cosines and the Target with its psi.

        Called where `bends_others`. What stands at the own class does not count.
        """
        return cosines

    def others_bend(self, target):
        """`bend_others` as an engines.Bend, from a Target without gradients; None leaves the head to `plain`."""
        return None

    def extra_loss(self, target):
        """What the head's paper adds to the cross-entropy, (batch,), or None."""
        return None

    def observe(self, target):
        """Updates running statistics by a training batch, before its margin is taken."""
        return None  # AutoGraph cannot read a function that is a docstring alone, and warns of it.

    def advance(self):
        """Moves on what the head anneals, after a training batch."""
        return None

    def engine_for(self, batch_size=None):
        """Name of the engine that `compute_loss` runs on a batch of this size in each replica.

        `engine=` where it was given. Otherwise "fused" while its one (batch, num_classes) tensor, and its copy while it
        is made, fit a quarter of the device's memory, then "streaming"; "plain" for heads that no other knows.

        Args:
            batch_size: Int >= 1; None, as in a program traced for batches of any size, counts as 1,024.
        """
        if self.bends_by_more_than_cosines or (self.prototypes is not None and len(self.prototypes.shape) == 3):
            return "plain"
        if self.engine != "auto":
            return self.engine
        if _sharding.is_sharded():
            return "fused"  # A loop over chunks of classes would gather what is split.
        needed = 2 * 4 * (batch_size or _ASSUMED_BATCH) * self._classes_met(batch_size)
        return "fused" if needed <= engines.device_memory() / 4 else "streaming"

    def memory(self, batch_size, embedding_size=None, engine=None, slots=1):
        """What training this head needs on each device, by arithmetic held to measured peaks.

        Args:
            batch_size: Int >= 1, samples a device meets at a time.
            embedding_size: Int >= 1; None once the head is built.
            engine: Name in keras_margin.engines.ENGINES; None for the head's own choice.
            slots: Tensors that the optimiser keeps for a weight: 1 for SGD with momentum, 2 for Adam.

        Returns:
            keras_margin.engines.Memory. It is for TensorFlow on a CPU, where it was measured; elsewhere a first guess.

        Example:
            >>> ArcFaceHead(85_742).memory(512, 512).total / 2**20  # MiB
        """
        size = embedding_size or (self.prototypes.shape[-1] if self.built else None)
        if size is None:
            raise ValueError(f"{type(self).__name__} is not built: memory() needs embedding_size.")
        shape = self._prototypes_shape(size)
        centers = math.prod(shape[:-1]) // shape[0]
        met = self._classes_met(batch_size)
        engine = engine or self.engine_for(batch_size)
        peak = engines.sampled_bytes if self.sample_rate < 1 else engines.peak_bytes
        working = peak(engine, batch_size, met * centers, size)
        prototypes = 4 * math.prod(shape)
        return engines.Memory(engine, batch_size, met, prototypes, slots * prototypes, working)

    def _classes_met(self, batch_size):
        wanted = math.ceil(self.sample_rate * self.num_classes)
        return max(wanted, min(batch_size or _ASSUMED_BATCH, self.num_classes))

    @property
    def bends_by_more_than_cosines(self):
        """Whether other logits than the target's depend on more than their own cosine."""
        return self.bends_others and type(self).others_bend is MarginHead.others_bend

    @property
    def engine_in_use(self):
        """Name of the engine that `compute_loss` ran last, or, before it has, would run: see `engine_for`."""
        return self._engine_in_use or self.engine_for()

    # --- The four ways --------------------------------------------------------------------------------------------

    def build(self, embeddings_shape):
        """Creates the prototypes for embeddings of `embeddings_shape`, (batch, embedding_size)."""
        if len(embeddings_shape) != 2 or embeddings_shape[-1] is None:
            raise ValueError(
                f"{type(self).__name__} needs embeddings of shape (batch, embedding_size), the last known. "
                f"Received: shape={tuple(embeddings_shape)}. End the backbone with Flatten or global pooling."
            )
        _sharding.check(self)
        self.prototypes = self.add_weight(
            name="prototypes",
            shape=self._prototypes_shape(int(embeddings_shape[-1])),
            initializer=self.prototypes_initializer,
            dtype="float32",
            autocast=False,
        )
        if self.sample_rate < 1:
            self.sample_step = _sampling.add_step(self)
        if self.regularizer is not None:
            self.regularizer.build_for(self.num_classes, int(embeddings_shape[-1]))

    def _prototypes_shape(self, embedding_size):
        return (self.num_classes, embedding_size)

    def call(self, embeddings, labels=None, training=False):
        """Cosines, or with labels the margin logits; (batch, num_classes), float32."""
        embeddings = ops.cast(embeddings, "float32")
        if labels is None:
            return self._noted_cosines(embeddings, bool(training))
        return self._margin_logits(embeddings, labels, bool(training))

    def _noted_cosines(self, embeddings, training):
        _loss.require_own_loss(self, training)
        if training:
            _sampling.refuse(self, "head.loss")
        # A bad row must not meet the prototypes: through the product's gradient it would spoil them all.
        finite = ops.all(ops.isfinite(embeddings), axis=1, keepdims=True)
        embeddings = ops.where(finite, embeddings, ops.zeros_like(embeddings))
        unit, _ = numerics.unit_normalize(embeddings)
        cosines = ops.where(finite, self._cosines(unit), math.nan)
        self._awaits_loss = self.learns and training
        return notes.remember(cosines, Note(embeddings=embeddings, training=training))

    def _margin_logits(self, embeddings, given_labels, training):
        _loss.require_loss_on_logits(self)
        if training:
            _sampling.refuse(self, "head(embeddings, labels)")
        embeddings, labels, valid = self._checked(embeddings, given_labels)
        unit, norm = numerics.unit_normalize(embeddings)
        own_prototype = engines.own_prototypes(unit, ops.convert_to_tensor(self.prototypes), labels)
        target = self._target(unit, norm, own_prototype, labels, valid, embeddings, training)
        scale = self._scale_of(norm)
        logits = ops.reshape(scale, (-1, 1)) * self.bend_others(self._cosines(unit), target)
        target_logit = scale * target.psi
        log_negatives = engines.log_sum_of_others(logits, labels)
        added = self._added_loss(target, target_logit, log_negatives, training)
        if added is not None:
            self.add_loss(ops.mean(added))
        if training:
            self.advance()
        own = engines.is_own_class(labels, self.num_classes)
        logits = ops.where(own, ops.expand_dims(target_logit, 1), logits)
        # A cross-entropy makes +inf of this, without a gradient: what `compute_loss` gives a bad sample.
        given_own = engines.is_own_class(checks.labels_as_indices(given_labels, type(self).__name__), self.num_classes)
        logits = ops.where(ops.expand_dims(valid, 1), logits, ops.where(given_own, -math.inf, 0.0))
        return notes.remember(logits, Note(has_margin=True))

    @property
    def loss(self):
        """Keras Loss on (labels, cosines) with this head's margin, scale and regulariser."""
        self._loss_was_taken = True
        if self._loss is None:
            self._loss = _loss.HeadLoss(self)
        return self._loss

    def compute_loss(self, embeddings, labels, training=False):
        """Loss of each sample, by the best engine: margin, softmax cross-entropy and regulariser.

        Args:
            embeddings: Float tensor (batch, embedding_size).
            labels: Integer tensor (batch,) or (batch, 1).
            training: Python bool; True in a training step, so that what the head anneals moves on.

        Returns:
            Float32 tensor (batch,).
        """
        return self.loss_and_hits(embeddings, labels, training=training)[0]

    def loss_and_hits(self, embeddings, labels, training=False):
        """`compute_loss`, and from the same pass 1.0 where the nearest prototype is the label's, without margin.

        Returns:
            (loss, hits): float32 tensors (batch,). A tie is no hit.
        """
        embeddings = ops.cast(ops.convert_to_tensor(embeddings), "float32")
        if not self.built:
            self.build(embeddings.shape)
            self.built = True
        embeddings, labels, valid = self._checked(embeddings, labels)
        unit, norm = numerics.unit_normalize(embeddings)
        if training and self.sample_rate < 1:
            prototypes, positions = _sampling.rows(self, labels)
        else:
            prototypes, positions = ops.convert_to_tensor(self.prototypes), labels
        name = self._engine_in_use = self.engine_for(embeddings.shape[0])
        if name == "plain" and self.bends_others:
            own_prototype = engines.own_prototypes(unit, prototypes, positions)
            target = self._target(unit, norm, own_prototype, labels, valid, embeddings, training)
            cosines = self._cosines(unit, prototypes)
            others = self.bend_others(cosines, target)
            log_negatives = engines.log_sum_of_others(others, positions, self._scale_of(norm))
            best = engines.best_of_others(cosines, positions)
        else:
            bend = self._bend_ahead(unit, norm, prototypes, positions, valid, training) if self.bends_others else None
            scale = norm if self.scale is None else self.scale
            meeting = engines.ENGINES[name](unit, prototypes, positions, scale, bend)
            observes = training and bend is None
            target = self._target(unit, norm, meeting.own_prototype, labels, valid, embeddings, observes)
            log_negatives, best = meeting.log_sum, meeting.best_cosine
        loss = self._finish(target, log_negatives, training)
        hits = ops.cast(ops.logical_and(valid, target.cosine > best), "float32")
        return ops.where(valid, loss, math.inf), hits

    def loss_from_cosines(self, labels, cosines):
        """Loss of each sample from its cosines (batch, num_classes): what `head.loss` computes.

        Exact but for what a float32 cosine cannot hold: angles within 3.5e-4 rad of 0 or pi.
        """
        name = type(self).__name__
        labels = checks.labels_as_indices(labels, name)
        if cosines.shape[-1] != self.num_classes:
            raise ValueError(
                f"{name}'s loss takes this head's cosines, (batch, {self.num_classes}). "
                f"Received: shape={tuple(cosines.shape)}. The head must be the model's last layer."
            )
        note = self._note_about(cosines)
        valid = checks.valid_cosines(cosines, labels, self.num_classes, name)
        labels = ops.where(valid, labels, ops.zeros_like(labels))
        cosines = ops.where(ops.expand_dims(valid, 1), ops.cast(cosines, "float32"), 0.0)
        embeddings, norm = note.embeddings, None
        if embeddings is not None:
            embeddings = ops.where(ops.expand_dims(valid, 1), embeddings, ops.zeros_like(embeddings))
            norm = numerics.unit_normalize(embeddings)[1]
        cosine = ops.squeeze(ops.take_along_axis(cosines, ops.expand_dims(labels, 1), axis=1), 1)
        theta = numerics.safe_arccos(cosine)
        target = self._bent(Target(cosine, theta, labels, valid, embeddings, norm), note.training)
        log_negatives = engines.log_sum_of_others(self.bend_others(cosines, target), labels, self._scale_of(norm))
        return ops.where(valid, self._finish(target, log_negatives, note.training), math.inf)

    def check_optimizer(self, optimizer):
        """Raises ValueError where `sample_rate` < 1 and the optimiser would touch every prototype all the same."""
        _sampling.check_optimizer(self, optimizer)

    def expand(self, num_classes, embeddings=None, labels=None):
        """A new head of more classes, to go on training on new people: the old rows and all state kept.

        New prototypes come from the initializer; where `embeddings` of a new class are given, from their mean
        direction, as long as the old prototypes are on average. Another weight with a row a class, such as a bias, gets
        initial rows too; every other, such as lambda's step or running statistics, is kept as it is.

        Args:
            num_classes: Number of classes of the new head, > this head's.
            embeddings: Float array (n, embedding_size) of samples of new classes, or None.
            labels: Integer array (n,), their classes, in [this head's num_classes, num_classes).

        Returns:
            MarginHead of the same type and settings, built.

        Raises:
            ValueError: Not more classes, a head not built, embeddings without labels, or either out of range.

        Example:
            >>> head = model.head.expand(12_000, embedder.predict(new_images), new_labels)
            >>> model = EmbeddingModel(model.embedder, head)
        """
        return _expand.expand(self, num_classes, embeddings, labels)

    def compute_output_shape(self, embeddings_shape, labels_shape=None):
        """(batch, num_classes)."""
        return (embeddings_shape[0], self.num_classes)

    def get_config(self):
        """Arguments that build this head again."""
        return {
            **super().get_config(),
            "num_classes": self.num_classes,
            "margin": self.margin,
            "scale": self.scale,
            "regularizer": None if self.regularizer is None else keras.saving.serialize_keras_object(self.regularizer),
            "gradient": self.gradient,
            "engine": self.engine,
            "sample_rate": self.sample_rate,
            "sample_seed": self.sample_seed,
            "prototypes_initializer": keras.initializers.serialize(self.prototypes_initializer),
        }
