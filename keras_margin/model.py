"""EmbeddingModel: the model is the embedder, the head lives in its loss."""

import keras
from keras import ops

from keras_margin import backbones, checks, heads, replicas

PACKAGE = "keras_margin"


@keras.saving.register_keras_serializable(package=PACKAGE)
class EmbeddingModel(keras.Model):
    """A backbone that trains under a margin head and predicts embeddings.

    `fit(images, labels)` reports `loss` (margin and regulariser included) and `accuracy` (nearest prototype, no
    margin); `predict(images)` gives the backbone's embeddings, not normalised: no label input, nothing to cut off.

    Batch normalisation under tf.distribute: Keras keeps one set of moving statistics a replica and lets them drift
    apart. Compiled under several replicas, this model switches each BatchNormalization of its backbone to the
    statistics of the global batch, so that two replicas train as one device and every copy predicts the same.

    Args:
        backbone: Keras model from images to embeddings (batch, embedding_size). Any: keras_margin.backbones, your own;
            with a `tail` also one that ends in a feature map (batch, height, width, channels), such as those of
            keras.applications with include_top=False, or keras-hub's.
        head: A MarginHead.
        tail: How a feature map becomes an embedding: "bn-dropout-fc-bn" (ArcFace), "gdc" (MobileFaceNet) or "gap"; None
            for a backbone that ends in embeddings.
        embedding_size: Numbers an image that a tail gives; None for 512.
        **kwargs: As in keras.Model.

    Raises:
        TypeError: Where backbone or head is no such thing.
        ValueError: Where the tail does not fit the backbone, or a size is given without a tail.

    Example:
        >>> model = EmbeddingModel(backbone, head=keras_margin.ArcFaceHead(num_classes))
        >>> model.compile(keras.optimizers.SGD(0.1, momentum=0.9)); model.fit(images, labels)

        >>> maps = keras.applications.MobileNetV2(input_shape=(112, 112, 3), include_top=False, weights=None)
        >>> model = EmbeddingModel(maps, tail="gdc", head=keras_margin.ArcFaceHead(num_classes))
    """

    def __init__(self, backbone, head, tail=None, embedding_size=None, **kwargs):
        super().__init__(**kwargs)
        if not isinstance(backbone, keras.Layer):
            raise TypeError(f"EmbeddingModel needs a Keras model as backbone. Received: {backbone!r}.")
        if not isinstance(head, heads.MarginHead):
            raise TypeError(f"EmbeddingModel needs a MarginHead as head, such as ArcFaceHead(10). Received: {head!r}.")
        if tail is not None:
            backbone = backbones.with_tail(backbone, tail, embedding_size or 512)
        elif embedding_size is not None:
            raise ValueError(
                "embedding_size is the size of what a tail gives; without a tail the backbone has its own. "
                f"Received: embedding_size={embedding_size}, tail=None."
            )
        self.embedder = backbone
        self.head = head
        self.accuracy_tracker = keras.metrics.Mean(name="accuracy")
        self._class_metrics = False
        if backbone.built and len(getattr(backbone, "output_shape", ())) == 2:
            self.build(backbone.input_shape)

    def build(self, input_shape):
        """Builds the backbone for `input_shape` and the head for what comes out of it."""
        if not self.embedder.built:
            self.embedder.build(input_shape)
        if not self.head.built:
            output_shape = self.embedder.compute_output_shape(input_shape)
            self.head.build(output_shape)
            self.head.built = True
        self.built = True

    def call(self, inputs, training=None):
        """Embeddings (batch, embedding_size), not normalised."""
        return self.embedder(inputs, training=training)

    def compute_output_shape(self, input_shape):
        """(batch, embedding_size)."""
        return self.embedder.compute_output_shape(input_shape)

    def compile(self, optimizer="sgd", loss=None, metrics=None, **kwargs):
        """Configures training; as keras.Model.compile, but that the loss is the head's.

        Args:
            optimizer: Keras optimiser.
            loss: Must be None.
            metrics: Further metrics on (labels, cosines); they cost one more (batch, num_classes) product a step.
                "accuracy" is there already.
            **kwargs: As in keras.Model.compile.

        Raises:
            ValueError: Where a loss is given, or a head that samples its classes meets an optimiser that would touch
                all prototypes.
        """
        if loss is not None:
            raise ValueError(
                "EmbeddingModel trains with its head's loss: compile without loss=. For another loss over the same "
                f"backbone, compile keras.Sequential([backbone, head]). Received: loss={loss!r}."
            )
        metrics = [metric for metric in metrics or [] if metric not in ("accuracy", "acc")]
        self._class_metrics = bool(metrics)
        if replicas.count() > 1:
            synchronize_batch_norm(self.embedder)
        super().compile(optimizer=optimizer, loss=None, metrics=metrics or None, **kwargs)
        self.head.check_optimizer(self.optimizer)
        if hasattr(self.head, "gradient_accumulation_steps"):
            self.head.gradient_accumulation_steps = self.optimizer.gradient_accumulation_steps or 1

    def fit(self, x=None, y=None, *args, validation_data=None, **kwargs):
        """Trains; as keras.Model.fit.

        Raises:
            ValueError: Before the first step, on labels given as an array that the head has no class for. Labels of a
                data set meet the head's check batch by batch.
        """
        given = [y, validation_data[1] if isinstance(validation_data, (tuple, list)) else None]
        for labels in given:
            checks.whole_set(labels, self.head.num_classes, type(self.head).__name__)
        return super().fit(x, y, *args, validation_data=validation_data, **kwargs)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """The head's loss over the batch, and what the backbone's layers add; a scalar."""
        if y is None:
            raise ValueError("EmbeddingModel trains on (images, labels). Received no labels.")
        per_sample, hits = self.head.loss_and_hits(y_pred, y, training=training)
        self.accuracy_tracker.update_state(hits, sample_weight=sample_weight)
        if self._class_metrics:
            # Here and not in compute_metrics, where the JAX trainer has taken the weights away.
            self._compile_metrics.update_state(y, ops.stop_gradient(self.head(y_pred)), sample_weight)
        if sample_weight is not None:
            per_sample = per_sample * ops.reshape(ops.cast(sample_weight, per_sample.dtype), (-1,))
        total = replicas.batch_mean(per_sample)
        for loss in self.losses:
            total = total + self._aggregate_additional_loss(ops.cast(loss, total.dtype))
        return total

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        """`loss`, `accuracy`, and the compiled metrics on (labels, cosines), which compute_loss brought up to date."""
        if self._class_metrics and not self._compile_metrics.built:
            # Keras builds metrics by calling this on symbols; the shapes are all that counts.
            cosines = ops.zeros((ops.shape(y_pred)[0], self.head.num_classes))
            return super().compute_metrics(x, y, cosines, sample_weight)
        return self.get_metrics_result()

    @property
    def metrics(self):
        """All metrics, `accuracy` among them."""
        known = super().metrics
        return known if self.accuracy_tracker in known else [*known, self.accuracy_tracker]

    def get_compile_config(self):
        """What `compile` was called with."""
        config = super().get_compile_config()
        if config:
            config.pop("loss", None)
        return config

    def compile_from_config(self, config):
        """Compiles with what `get_compile_config` gave."""
        config = keras.saving.deserialize_keras_object(config)
        self.compile(**{name: value for name, value in config.items() if name != "loss"})
        if self.optimizer is not None and self.built:
            self.optimizer.build(self.trainable_variables)

    def get_config(self):
        """Backbone and head, serialised."""
        serialize = keras.saving.serialize_keras_object
        config = {"name": self.name, "trainable": self.trainable}
        return {**config, "backbone": serialize(self.embedder), "head": serialize(self.head)}

    @classmethod
    def from_config(cls, config, custom_objects=None):
        """The model that `get_config` described."""
        config = dict(config)
        for part in ("backbone", "head"):
            config[part] = keras.saving.deserialize_keras_object(config[part], custom_objects=custom_objects)
        trainable = config.pop("trainable", True)
        model = cls(**config)
        model.trainable = trainable
        return model


def synchronize_batch_norm(model):
    """Makes every BatchNormalization in `model` normalise by the statistics of the global batch under tf.distribute.

    TensorFlow backend only; elsewhere there is one program and nothing to synchronise.
    """
    if keras.backend.backend() != "tensorflow":
        return
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.synchronized = True
