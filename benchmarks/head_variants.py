"""What `benchmarks.head` measures: a head's loss and gradients, ours and others', on the Keras backend in use.

A variant is a function of (embeddings, prototypes, labels) to a sequence of arrays, the loss and both gradients.
"""

import math

import keras
import numpy as np

SCALE, MARGIN = 64.0, 0.5


def variants():
    """Name -> variant; the first is the three bare matrix products."""
    return {"tensorflow": _tensorflow, "jax": _jax, "torch": _torch}[keras.backend.backend()]()


def inputs(batch, classes, size):
    """Embeddings, prototypes and labels on the backend's default device."""
    generator = np.random.default_rng(0)
    embeddings = generator.standard_normal((batch, size), "float32")
    prototypes = 0.05 * generator.standard_normal((classes, size), "float32")
    labels = generator.integers(0, classes, batch).astype("int32")
    return tuple(keras.ops.convert_to_tensor(array) for array in (embeddings, prototypes, labels))


def wait(results):
    """Returns when all results are computed, on whatever device."""
    backend = keras.backend.backend()
    if backend == "jax":
        import jax

        jax.block_until_ready(results)
    elif backend == "torch":
        import torch

        if torch.cuda.is_available():
            torch.cuda.synchronize()
    else:
        for result in results:
            result[:1].numpy() if result.shape.rank else result.numpy()


def use_threads(count):
    """Lets the backend compute with so many threads."""
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        tf.config.threading.set_intra_op_parallelism_threads(count)
    elif backend == "torch":
        import torch

        torch.set_num_threads(count)


def margin_loss(implementation, qamface=False):
    """ArcFace's loss by an implementation; or QAMFace's, whose every logit is a parabola of the angle."""
    from keras_margin import margins
    from keras_margin.ops import margin_softmax

    margin, scale = (margins.QAMFace(MARGIN), 6.0) if qamface else (margins.ArcFace(MARGIN), SCALE)

    def loss(embeddings, prototypes, labels):
        out = margin_softmax(embeddings, prototypes, labels, margin, scale=scale, implementation=implementation)
        return out.loss

    return loss


def _losses():
    return {
        "reference": margin_loss("reference"),
        "fused": margin_loss("fused"),
        "streaming": margin_loss("streaming"),
        "QAMFace, reference": margin_loss("reference", qamface=True),
        "QAMFace, fused": margin_loss("fused", qamface=True),
    }


# --- TensorFlow -------------------------------------------------------------------------------------------------------


def _tensorflow():
    import tensorflow as tf

    def bare(embeddings, prototypes, labels):
        products = tf.matmul(embeddings, prototypes, transpose_b=True)
        by_rows = tf.matmul(products, embeddings, transpose_a=True)
        return tf.reduce_sum(products[:1]), tf.matmul(products, prototypes), by_rows

    def cosines_of(embeddings, prototypes):
        return tf.matmul(tf.nn.l2_normalize(embeddings, 1), tf.nn.l2_normalize(prototypes, 1), transpose_b=True)

    def usual_script(embeddings, prototypes, labels):
        """arccos of the whole matrix and one-hot labels, as most scripts have it."""
        cosines = cosines_of(embeddings, prototypes)
        theta = tf.acos(tf.clip_by_value(cosines, -1 + 1e-7, 1 - 1e-7))
        one_hot = tf.one_hot(labels, tf.shape(prototypes)[0])
        logits = SCALE * tf.where(one_hot > 0, tf.cos(theta + MARGIN), cosines)
        return tf.nn.softmax_cross_entropy_with_logits(one_hot, logits)

    def target_only(embeddings, prototypes, labels):
        """The margin on the target alone, sparse cross-entropy, autodiff."""
        cosines = cosines_of(embeddings, prototypes)
        index = tf.stack([tf.range(tf.shape(labels)[0]), labels], axis=1)
        theta = tf.acos(tf.clip_by_value(tf.gather_nd(cosines, index), -1 + 1e-7, 1 - 1e-7))
        logits = SCALE * tf.tensor_scatter_nd_update(cosines, index, tf.cos(theta + MARGIN))
        return tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)

    def step(loss, **options):
        @tf.function(**options)
        def compiled(embeddings, prototypes, labels):
            with tf.GradientTape() as tape:
                tape.watch([embeddings, prototypes])
                value = tf.reduce_mean(loss(embeddings, prototypes, labels))
            return value, *tape.gradient(value, [embeddings, prototypes])

        return compiled

    def head_step():
        """Two training steps of a head with its variable, outside of any function, as a notebook has them."""
        heads = {}

        def steps(embeddings, prototypes, labels):
            from keras_margin import ArcFaceHead

            shape = tuple(prototypes.shape)
            if shape not in heads:
                heads[shape] = ArcFaceHead(shape[0])
                heads[shape].build((None, shape[1]))
            head = heads[shape]
            for _ in range(2):
                gradients = None  # The last step's would be in memory during this one.
                with tf.GradientTape() as tape:
                    tape.watch(embeddings)
                    value = tf.reduce_mean(head.compute_loss(embeddings, labels, training=True))
                gradients = tape.gradient(value, [embeddings, head.prototypes.value])
            return value, *gradients

        return steps

    return {
        "bare products": tf.function(bare),
        "bare products, XLA": tf.function(bare, jit_compile=True),
        "usual script": step(usual_script),
        "usual script, XLA": step(usual_script, jit_compile=True),
        "target-only autodiff": step(target_only),
        **{name: step(loss) for name, loss in _losses().items()},
        "fused, all XLA": step(margin_loss("fused"), jit_compile=True),
        "streaming, all XLA": step(margin_loss("streaming"), jit_compile=True),
        "ArcFaceHead, eager": head_step(),
    }


# --- JAX --------------------------------------------------------------------------------------------------------------


def _jax():
    import jax
    import jax.numpy as jnp

    def bare(embeddings, prototypes, labels):
        products = embeddings @ prototypes.T
        return products[0].sum(), products @ prototypes, products.T @ embeddings

    def usual_script(embeddings, prototypes, labels):
        unit = [rows / jnp.linalg.norm(rows, axis=1, keepdims=True) for rows in (embeddings, prototypes)]
        cosines = unit[0] @ unit[1].T
        theta = jnp.arccos(jnp.clip(cosines, -1 + 1e-7, 1 - 1e-7))
        one_hot = jax.nn.one_hot(labels, len(prototypes))
        logits = SCALE * jnp.where(one_hot > 0, jnp.cos(theta + MARGIN), cosines)
        return -jnp.sum(one_hot * jax.nn.log_softmax(logits), axis=1)

    def step(loss):
        def mean(embeddings, prototypes, labels):
            return jnp.mean(loss(embeddings, prototypes, labels))

        both = jax.jit(jax.value_and_grad(mean, argnums=(0, 1)))
        return lambda *arguments: jax.tree.leaves(both(*arguments))

    found = {"bare products": jax.jit(bare), "usual script": step(usual_script)}
    return found | {name: step(loss) for name, loss in _losses().items()}


# --- PyTorch ----------------------------------------------------------------------------------------------------------


def _torch():
    import torch

    functional = torch.nn.functional

    def bare(embeddings, prototypes, labels):
        products = embeddings @ prototypes.T
        return products[0].sum(), products @ prototypes, products.T @ embeddings

    def from_the_paper(embeddings, prototypes, labels):
        """ArcFace's Algorithm 1: cosines, the target's angle plus m, cross-entropy."""
        cosines = functional.linear(functional.normalize(embeddings), functional.normalize(prototypes))
        rows = torch.arange(len(labels), device=cosines.device)
        theta = torch.arccos(cosines[rows, labels.long()].clamp(-1 + 1e-7, 1 - 1e-7))
        logits = cosines.clone()
        logits[rows, labels.long()] = torch.cos(theta + MARGIN)
        return functional.cross_entropy(SCALE * logits, labels.long(), reduction="none")

    def step(loss):
        def both(embeddings, prototypes, labels):
            leaves = [embeddings.detach().requires_grad_(), prototypes.detach().requires_grad_()]
            value = loss(*leaves, labels).mean()
            return value.detach(), *torch.autograd.grad(value, leaves)

        return both

    found = {"bare products": bare, "margin + cross-entropy": step(from_the_paper)}
    found |= {name: step(loss) for name, loss in _losses().items()}
    try:
        from pytorch_metric_learning.losses import ArcFaceLoss
    except ImportError:
        return found

    def metric_learning(embeddings, prototypes, labels):
        # Its weight is (size, classes); made without a copy, and outside of what is measured.
        made = ArcFaceLoss(2, 2, margin=math.degrees(MARGIN), scale=SCALE)
        made.num_classes = len(prototypes)
        del made.W
        made.W = prototypes.T
        return made(embeddings, labels.long())[None]

    return found | {"pytorch-metric-learning": step(metric_learning)}
