"""EmbeddingModel: the model is the embedder, the head lives in its loss."""

from typing import Any

import keras
from keras import ops

from keras_margin import _keras, layers
from keras_margin._typing import Shape, Tensor
from keras_margin.layers.sampling import check_optimizer
from keras_margin.losses._inputs import without_unweighted
from keras_margin.models import backbones
from keras_margin.models._compile import one_loss_weight, split_metrics
from keras_margin.models._embedding_metrics import EmbeddingMetrics
from keras_margin.models._loss_schedule import LossSchedule
from keras_margin.models._pixel_range import check_pixel_range
from keras_margin.models._preset_methods import PresetMethods
from keras_margin.models._rows import check_not_a_row
from keras_margin.models._training import accumulation_steps, replicas_of, synchronize_batch_norm
from keras_margin.models.backbones import _checks
from keras_margin.ops import replicas, validation

PACKAGE = "keras_margin"


@keras.saving.register_keras_serializable(package=PACKAGE)
class EmbeddingModel(PresetMethods, keras.Model):
    """A backbone that trains under a margin head and predicts embeddings.

    `fit(images, labels)` reports `loss` (margin and auxiliary loss included) and `accuracy` (nearest prototype, no
    margin, not weighted by sample weights); `predict(images)` returns the backbone's embeddings, not normalised: no
    label input, nothing to cut off.

    Batch normalisation under tf.distribute: Keras keeps one set of moving statistics a replica and lets them drift
    apart. Under several replicas this model switches each BatchNormalization of its backbone to the statistics of the
    global batch when it is compiled, so that two replicas train as one device and every copy predicts the same.

    Args:
        backbone: Keras model from images to embeddings (batch, embedding_size). Any: of `models.backbones`, your own,
            subclassed ones included; with a `tail` also one that ends in a feature map (batch, height, width,
            channels), such as those of keras.applications with include_top=False, or keras-hub's.
        head: A MarginHead.
        tail: How a feature map becomes an embedding: "bn-dropout-fc-bn" (ArcFace), "gdc" (MobileFaceNet) or "gap"; None
            for a backbone that ends in embeddings.
        embedding_size: Numbers an image that a tail gives; None for 512.
        **kwargs: As in keras.Model.

    Raises:
        TypeError: Where the backbone is not a Keras model, or the head is not a MarginHead.
        ValueError: Where the backbone ends in a feature map and there is no tail, in a softmax, or in several outputs;
            the tail does not fit the backbone, or a size is given without a tail.

    Example:
        >>> backbone = keras.Sequential([keras.Input((8,)), keras.layers.Dense(4)])
        >>> model = EmbeddingModel(backbone, head=keras_margin.ArcFaceHead(10))
        >>> model.compile(keras.optimizers.SGD(0.1, momentum=0.9))
        >>> model.predict(np.zeros((2, 8)), verbose=0).shape
        (2, 4)
    """

    def __init__(
        self,
        backbone: keras.Model,
        head: layers.MarginHead,
        tail: str | None = None,
        embedding_size: int | None = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        if tail is None and embedding_size is not None:
            raise ValueError(
                "embedding_size is the size of what a tail gives; without a tail the backbone has its own. "
                f"Received: embedding_size={embedding_size}, tail=None."
            )
        _checks.check_embedder(backbone, tail=tail)
        if not isinstance(head, layers.MarginHead):
            raise TypeError(f"EmbeddingModel needs a MarginHead as head, such as ArcFaceHead(10). Received: {head!r}.")
        if tail is not None:
            backbone = backbones.with_tail(backbone, tail, embedding_size or 512)
        self.embedder = backbone
        self.head = head
        self.accuracy_tracker = _keras.MaximizedMean("accuracy")
        self._embedding_metrics = EmbeddingMetrics([], [])
        self.loss_schedule = LossSchedule(self)
        self._has_class_metrics = False
        self._loss_weight = 1.0
        if backbone.built and len(getattr(backbone, "output_shape", ())) == 2:
            self.build(backbone.input_shape)

    def build(self, input_shape: Shape) -> None:
        """Builds the backbone for `input_shape` and the head for what comes out of it."""
        output_shape = self.compute_output_shape(input_shape)
        _checks.check_embedder(self.embedder)  # A subclassed backbone knows its output only now.
        if not self.head.built:
            self.head.build(output_shape)
        self._embedding_metrics.build(self, self.head.prototypes.shape[-1])
        self.built = True

    def call(self, inputs: Tensor, training: bool | None = None) -> Tensor:
        """Computes embeddings (batch, embedding_size), not normalised."""
        check_not_a_row(inputs, self.embedder)
        return self.embedder(inputs, training=training)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Returns (batch, embedding_size)."""
        if self.embedder.built:
            try:
                return tuple(self.embedder.compute_output_shape(input_shape))
            except NotImplementedError:
                pass
        # A subclassed model need not have build and compute_output_shape. Called on a symbol it is built, and shows
        # its output.
        return tuple(self.embedder(keras.KerasTensor(tuple(input_shape), self.embedder.input_dtype)).shape)

    def compute_output_spec(self, inputs: keras.KerasTensor, training: bool | None = None) -> keras.KerasTensor:
        """Returns the symbol of the embeddings, in the backbone's own dtype: by default it would be in the model's."""
        return self.embedder(inputs, training=training)

    # --- Training -------------------------------------------------------------------------------------------------

    def compile(
        self,
        optimizer: Any = "sgd",
        loss: Any = None,
        metrics: Any = None,
        weighted_metrics: Any = None,
        loss_weights: Any = None,
        **kwargs: Any,
    ) -> None:
        """Configures training, as keras.Model.compile does, with the head's loss.

        Args:
            optimizer: Keras optimiser.
            loss: Must be None.
            metrics: Further metrics, in any form that Keras takes for one output. "accuracy" is there already. Those of
                keras_margin.metrics that are an EmbeddingMetric read (labels, embeddings), all others (labels,
                cosines); the latter cost one more (batch, num_classes) product a step.
            weighted_metrics: As metrics, weighted by the sample weights.
            loss_weights: Factor of the loss: a number, or a list or dict with one. What the backbone's layers add is
                not multiplied.
            **kwargs: As in keras.Model.compile.

        Raises:
            ValueError: Where a loss is given, metrics for several outputs, or a head that samples its classes with an
                optimiser that would touch all prototypes.
        """
        if loss is not None:
            raise ValueError(
                "EmbeddingModel trains with its head's loss: compile without loss=. For another loss over the same "
                f"backbone, compile keras.Sequential([backbone, head]). Received: loss={loss!r}."
            )
        self._loss_weight = one_loss_weight(loss_weights)
        metrics, of_embeddings = split_metrics(metrics, "metrics")
        weighted_metrics, weighted_of_embeddings = split_metrics(weighted_metrics, "weighted_metrics")
        self._embedding_metrics = EmbeddingMetrics(of_embeddings, weighted_of_embeddings)
        if self.built:
            self._embedding_metrics.build(self, self.head.prototypes.shape[-1])
        self._has_class_metrics = bool(metrics or weighted_metrics)
        if replicas_of(self) > 1:
            synchronize_batch_norm(self.embedder)
        super().compile(optimizer=optimizer, loss=None, metrics=metrics, weighted_metrics=weighted_metrics, **kwargs)
        check_optimizer(self.head.sample_rate, self.optimizer)
        self.head.margin = self.head.margin.with_accumulation(accumulation_steps(self.optimizer))

    def fit(self, x: Any = None, y: Any = None, *args: Any, validation_data: Any = None, **kwargs: Any) -> Any:
        """Trains, as keras.Model.fit does.

        Raises:
            ValueError: Before the first step, on labels given as an array that the head has no class for. Labels of a
                data set are checked batch by batch.
        """
        owner, num_classes = type(self.head).__name__, self.head.num_classes
        validation.check_all_labels(y, num_classes, owner)
        check_pixel_range(x, self.embedder)
        if isinstance(validation_data, (tuple, list)):
            try:
                validation.check_all_labels(validation_data[1], num_classes, owner)
            except ValueError as error:
                raise ValueError(
                    f"validation_data: {error} If these are people that are not trained on, their loss is undefined: "
                    "measure them by verification instead, with callbacks.Verification or keras_margin.evaluation on "
                    "model.predict(images)."
                ) from error
        try:
            return super().fit(x, y, *args, validation_data=validation_data, **kwargs)
        finally:
            self.loss_schedule.stop()

    def evaluate(self, x: Any = None, y: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Evaluates, as keras.Model.evaluate does."""
        check_pixel_range(x, self.embedder)
        return super().evaluate(x, y, *args, **kwargs)

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
    ) -> Tensor:
        """Computes the head's loss over the batch, and adds what the backbone's layers add; a scalar."""
        if y is None:
            raise ValueError("EmbeddingModel trains on (images, labels). Received no labels.")
        margin, scale = self.loss_schedule.margin_and_scale()
        per_sample, correct = self.head.loss_and_correct(y_pred, y, training=training, margin=margin, scale=scale)
        self.accuracy_tracker.update_state(correct)
        if self._has_class_metrics:
            # Here and not in compute_metrics, where the JAX trainer has taken the weights away.
            _keras.compiled_metrics(self).update_state(y, ops.stop_gradient(self.head(y_pred)), sample_weight)
        if sample_weight is not None:
            per_sample, _ = without_unweighted(per_sample, sample_weight)
            per_sample = per_sample * ops.reshape(ops.cast(sample_weight, per_sample.dtype), (-1,))
        total = self._loss_weight * replicas.batch_mean(per_sample)
        for loss in self.losses:
            total = total + _keras.added_loss(self, ops.cast(loss, total.dtype))
        return total

    def compute_metrics(self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None) -> dict:
        """Returns `loss`, `accuracy` and the compiled metrics; compute_loss updated those on (labels, cosines)."""
        if self._has_class_metrics and not _keras.compiled_metrics(self).built:
            # Keras builds metrics by calling this on symbols; the shapes are all that counts.
            cosines = ops.zeros((ops.shape(y_pred)[0], self.head.num_classes))
            return super().compute_metrics(x, y, cosines, sample_weight)
        self._embedding_metrics.update_state(y, y_pred, sample_weight)
        return self.get_metrics_result()

    @property
    def metrics(self) -> list:
        """All metrics, `accuracy` among them."""
        known = super().metrics
        known = known if self.accuracy_tracker in known else [*known, self.accuracy_tracker]
        return [*known, *self._embedding_metrics.groups(), *self.loss_schedule.metrics()]

    def set_monitor_directions(self, directions: dict[str, str]) -> None:
        """Says which way is better for figures that callbacks add to the logs, for callbacks with mode="auto".

        Args:
            directions: From a figure's name to "up" or "down".

        Example:
            >>> backbone = keras.Sequential([keras.Input((8,)), keras.layers.Dense(4)])
            >>> model = EmbeddingModel(backbone, head=keras_margin.ArcFaceHead(10))
            >>> model.set_monitor_directions({"lfw_accuracy": "up"})
        """
        self._embedding_metrics.set_directions(directions)

    # --- Saving ---------------------------------------------------------------------------------------------------

    def get_compile_config(self) -> dict:
        """Returns what `compile` was called with."""
        config = super().get_compile_config()
        if config:
            config.pop("loss", None)
            config["loss_weights"] = self._loss_weight
            self._embedding_metrics.add_to_config(config)
        return config

    def compile_from_config(self, config: dict) -> None:
        """Compiles with what `get_compile_config` returned."""
        config = keras.saving.deserialize_keras_object(config)
        self.compile(**{name: value for name, value in config.items() if name != "loss"})
        if self.optimizer is not None and self.built:
            self.optimizer.build(self.trainable_variables)

    def get_config(self) -> dict:
        """Returns backbone and head, serialised."""
        serialize = keras.saving.serialize_keras_object
        config = {"name": self.name, "trainable": self.trainable}
        return {**config, "backbone": serialize(self.embedder), "head": serialize(self.head)}

    @classmethod
    def from_config(cls, config: dict, custom_objects: dict | None = None) -> "EmbeddingModel":
        """Builds the model that `get_config` described."""
        config = dict(config)
        for part in ("backbone", "head"):
            config[part] = keras.saving.deserialize_keras_object(config[part], custom_objects=custom_objects)
        trainable = config.pop("trainable", True)
        model = cls(**config)
        # The layers bring their own; setting True would unfreeze those that are frozen.
        if not trainable:
            model.trainable = False
        return model


# Keras's HDF5 format looks a model's class up under its bare name, and so could not read back what it writes.
keras.saving.get_custom_objects().setdefault("EmbeddingModel", EmbeddingModel)
