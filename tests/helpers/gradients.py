"""Values and gradients under whichever backend the tests run on, and the float64 differences they are held against."""

import functools

import keras
import numpy as np
from keras import ops


def value_and_gradients(function, *arrays, jit=True):
    """`function` of float32 tensors, and the gradients of the sum of what it returns, as float64 arrays.

    `jit` is JAX's. Without it each operation is compiled once for all tests of the same shapes: sooner done where many
    functions see the same few shapes.
    """
    arrays = [np.asarray(array, "float32") for array in arrays]
    backend = keras.backend.backend()
    value, gradients = (_jax_eagerly if backend == "jax" and not jit else _BACKENDS[backend])(function, arrays)
    return np.asarray(value, "float64"), [np.asarray(gradient, "float64") for gradient in gradients]


def of_head(head, call):
    """`call(embeddings)` as a function of embeddings and prototypes, the prototypes stood in for the head's weight."""

    def function(embeddings, prototypes):
        with keras.StatelessScope(state_mapping=[(head.prototypes, prototypes)]):
            return call(embeddings)

    return function


def differences(function, *arrays, step=1e-6):
    """Central differences of the sum of a float64 NumPy function, by every entry of every array."""
    arrays = [np.array(array, "float64") for array in arrays]
    gradients = []
    for array in arrays:
        gradient = np.zeros_like(array)
        for index in np.ndindex(array.shape):
            kept = array[index]
            array[index] = kept + step
            above = np.sum(function(*arrays))
            array[index] = kept - step
            below = np.sum(function(*arrays))
            array[index] = kept
            gradient[index] = (above - below) / (2 * step)
        gradients.append(gradient)
    return gradients


def relative_error(found, wanted):
    """Largest difference over the largest wanted value, for gradients, whose small entries are differences of large."""
    return np.max(np.abs(found - wanted)) / max(np.max(np.abs(wanted)), 1e-12)


def _tensorflow(function, arrays):
    import tensorflow as tf

    tensors = [tf.constant(array) for array in arrays]
    with tf.GradientTape() as tape:
        tape.watch(tensors)
        value = function(*tensors)
        total = ops.sum(value)
    zero = tf.UnconnectedGradients.ZERO
    gradients = tape.gradient(total, tensors, unconnected_gradients=zero)
    return value, [tf.convert_to_tensor(gradient) for gradient in gradients]


def _jax(function, arrays):
    return _jax_program()(function, *arrays)


def _jax_eagerly(function, arrays):
    import jax

    value, pull = jax.vjp(function, *map(jax.numpy.asarray, arrays))
    return value, pull(jax.numpy.ones_like(value))


@functools.cache
def _jax_program():
    import jax

    # One program: operation by operation, JAX compiles each operation for each new shape. It is kept by the function.
    @functools.partial(jax.jit, static_argnums=0)
    def both(function, *arrays):
        value, pull = jax.vjp(function, *arrays)
        return value, pull(jax.numpy.ones_like(value))

    return both


def _torch(function, arrays):
    import torch

    tensors = [torch.tensor(array, requires_grad=True) for array in arrays]
    value = function(*tensors)
    gradients = torch.autograd.grad(value.sum(), tensors, allow_unused=True)
    zeros = [torch.zeros_like(tensor) for tensor in tensors]
    found = [zero if gradient is None else gradient for gradient, zero in zip(gradients, zeros, strict=True)]
    return value.detach().cpu(), [gradient.detach().cpu() for gradient in found]


_BACKENDS = {"tensorflow": _tensorflow, "jax": _jax, "torch": _torch}
