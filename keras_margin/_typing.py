"""Names for annotations that hold on every backend."""

from collections.abc import Sequence
from typing import Any, TypeAlias

# A tensor of the Keras backend in use, a Keras variable, or what `keras.ops.convert_to_tensor` takes.
Tensor: TypeAlias = Any
# A nested structure of tensors: a tuple, NamedTuple, list or dict of them, or ().
State: TypeAlias = Any
Shape: TypeAlias = Sequence[int | None]
