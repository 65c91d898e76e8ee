"""One update of all replicas, as one program: forward, backward, clipping, optimiser, running mean."""

import keras
import tensorflow as tf

from keras_margin.ops import replicas
from keras_margin.training import _ramps


class Step:
    """Callable (images, labels) -> (float32 tensor (2,) of the batch's loss and accuracy, embeddings).

    Both numbers are of the whole batch, however it was split. The embeddings are each replica's own.

    Args:
        model: EmbeddingModel, compiled, its optimiser built.
        recipe: recipes.Recipe.
        strategy: tf.distribute strategy under which the model was built.
        averages: Averages, or None.
    """

    def __init__(self, model, recipe, strategy, averages=None):
        self.model, self.recipe, self.strategy, self.averages = model, recipe, strategy, averages
        ramped, scheduled = _ramps.fractions(recipe, 0), model.loss_schedule
        if scheduled.uses_margin and ramped[0] is not None or scheduled.uses_scale and ramped[1] is not None:
            raise ValueError(
                "A margin and a scale have one schedule each. Received: MarginSchedule or ScaleSchedule in callbacks, "
                f"and a recipe with margin_warmup_steps={recipe.schedule.margin_warmup_steps}, "
                f"scale_warmup_steps={recipe.schedule.scale_warmup_steps}. Leave one of them out."
            )
        self._clipped = {id(variable) for variable in model.embedder.trainable_variables}
        self._run = tf.function(self._once, autograph=False, jit_compile=bool(model.jit_compile))
        self.traces = 0

    def __call__(self, images, labels):
        return self._run(images, labels)

    def _once(self, images, labels):
        self.traces += 1  # Python runs while the program is traced, and never again.
        step = tf.cast(tf.convert_to_tensor(self.model.optimizer.iterations), tf.float32)
        ramps = _ramps.fractions_of_tensor(self.recipe, step)
        numbers, embeddings = self.strategy.run(self._replica, args=(images, labels, *ramps))
        if self.averages is not None:
            self.averages.update(step)
        return self.strategy.experimental_local_results(numbers)[0], embeddings

    @tf.autograph.experimental.do_not_convert
    def _replica(self, images, labels, margin_fraction, scale_fraction):
        model, optimizer = self.model, self.model.optimizer
        # uint8 comes to the device as it is, a quarter of the bytes; float32 has every value of it.
        images = tf.cast(images, tf.float32)
        margin, scale = _ramps.margin_and_scale(self.recipe, model.head, margin_fraction, scale_fraction)
        scheduled_margin, scheduled_scale = model.loss_schedule.margin_and_scale()
        margin = scheduled_margin if margin is None else margin
        scale = scheduled_scale if scale is None else scale
        variables = model.trainable_variables
        loss, correct, embeddings, gradients = self._in_parts(images, labels, margin, scale)
        optimizer.apply_gradients(zip(self._limited(gradients, variables), variables, strict=True))
        numbers = tf.stack([loss, replicas.batch_mean(correct)]) * replicas.count()
        return numbers, embeddings

    def _in_parts(self, images, labels, margin, scale):
        """(loss, correct, embeddings, gradients) of the batch, computed in the recipe's number of equal parts."""
        parts = self.recipe.data.accumulate
        if parts == 1:
            return self._part(images, labels, margin, scale)
        found, before = [], []
        for part in zip(tf.split(images, parts), tf.split(labels, parts), strict=True):
            # One after the other, or all of them would be in memory at once.
            with tf.control_dependencies(before):
                loss, correct, embeddings, gradients = self._part(*map(tf.identity, part), margin, scale)
            before = [gradient for gradient in gradients if gradient is not None]
            if found:
                gradients = [
                    gradient if total is None else total + gradient
                    for total, gradient in zip(found[-1][3], gradients, strict=True)
                ]
            found.append((loss, correct, embeddings, gradients))
        losses, correct, embeddings, gradients = zip(*found, strict=True)
        mean = [None if gradient is None else gradient / parts for gradient in gradients[-1]]
        return tf.add_n(losses) / parts, tf.concat(correct, 0), tf.concat(embeddings, 0), mean

    def _part(self, images, labels, margin, scale):
        """(loss, correct, embeddings, gradients) of one part of the batch."""
        model = self.model
        with tf.GradientTape() as tape:
            embeddings = model(images, training=True)
            per_sample, correct = model.head.loss_and_correct(
                embeddings, labels, training=True, margin=margin, scale=scale
            )
            loss = replicas.batch_mean(per_sample)
            for added in model.losses:
                loss = loss + tf.cast(added, tf.float32) / replicas.count()
            scaled = model.optimizer.scale_loss(loss)
        return loss, correct, embeddings, tape.gradient(scaled, model.trainable_variables)

    def _limited(self, gradients, variables):
        """The gradients, the backbone's part no longer than `clip_norm` as one vector of the whole batch."""
        scales = isinstance(self.model.optimizer, keras.optimizers.LossScaleOptimizer)
        count = replicas.count()
        if not self.recipe.optimizer.clip_norm and not (scales and count > 1):
            return gradients
        # Keras adds the replicas' gradients up after it has clipped each, and looks for inf in one replica's alone.
        gradients = [
            replicas.total(gradient) if isinstance(gradient, tf.Tensor) else gradient for gradient in gradients
        ]
        factor = tf.constant(1.0)
        if self.recipe.optimizer.clip_norm:
            own = [
                gradient
                for gradient, variable in zip(gradients, variables, strict=True)
                if id(variable) in self._clipped and gradient is not None
            ]
            norm = tf.linalg.global_norm(own) / self.model.optimizer.scale_loss(tf.constant(1.0))
            # An inf or NaN must stay one: the loss scaling, and the user, are to see it.
            limit = self.recipe.optimizer.clip_norm / tf.maximum(norm, self.recipe.optimizer.clip_norm)
            factor = tf.where(tf.math.is_finite(norm), limit, 1.0)

        def limited(gradient, variable):
            if not isinstance(gradient, tf.Tensor):
                return gradient
            gradient = gradient * tf.cast(factor, gradient.dtype) if id(variable) in self._clipped else gradient
            return gradient / count  # The optimiser adds the replicas' up once more.

        return [limited(gradient, variable) for gradient, variable in zip(gradients, variables, strict=True)]


class Averages:
    """Running means of a network's weights and batch-norm statistics.

    mean = m mean + (1 - m) weight,  m = min(momentum, (1 + step) / (10 + step))

    The early m forgets the random start, as tf.train.ExponentialMovingAverage's num_updates does.

    Args:
        network: Keras model, built.
        momentum: (0, 1).
        strategy: Its strategy; make this under its scope.
    """

    def __init__(self, network, momentum, strategy):
        self.momentum, self.strategy = momentum, strategy
        self.sources = [weight for weight in network.weights if weight.dtype.startswith(("float", "bfloat"))]
        self.variables = [
            tf.Variable(tf.zeros(weight.shape, weight.dtype), trainable=False, name=f"mean_{number}")
            for number, weight in enumerate(self.sources)
        ]
        for mean, weight in zip(self.variables, self.sources, strict=True):
            mean.assign(weight.numpy())

    def update(self, step):
        """Takes in the present weights; inside a program, outside the replicas."""
        momentum = tf.minimum(self.momentum, (1.0 + step) / (10.0 + step))

        def take(mean, weight):
            return mean.assign(mean + (1.0 - tf.cast(momentum, mean.dtype)) * (weight - mean))

        for mean, weight in zip(self.variables, self.sources, strict=True):
            self.strategy.extended.update(mean, take, args=(weight.value,))

    def swap(self):
        """Exchanges the means and the weights; twice is as before."""
        for mean, weight in zip(self.variables, self.sources, strict=True):
            kept = weight.numpy()
            weight.assign(mean.numpy())
            mean.assign(kept)
