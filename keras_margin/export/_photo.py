"""One file from the photograph to the embedding: detection, alignment and the network as signatures of one model."""

import copy
import dataclasses
from typing import Any

import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from keras_margin._typing import Size
from keras_margin._utils.canvas import check_photograph, checked_canvas
from keras_margin.detection import build, graph
from keras_margin.export import _graph, _warp

ALIGNED = "embed_aligned"
# While it is converted: the converter sorts signatures by name, and readers of one graph take the first.
_FIRST = "aligned"

# Every quantize= that the photograph's signatures have.
QUANTIZE = (None, "float16")


@dataclasses.dataclass(frozen=True)
class Photo:
    """Which photographs a file takes.

    Attributes:
        canvases: Tuple of (height, width), pixels: the sizes that photographs are placed on. Each adds the signatures
            `detect` and `embed`; those of the second and further ones are named `detect_HEIGHTxWIDTH`.
        min_face_size: Smallest face looked for, pixels of the canvas, >= 12.
        faces: Most faces of a photograph, >= 1; the largest are kept.

    Raises:
        TypeError: A canvas is not two integers.
        ValueError: A number is out of range, a canvas is there twice or smaller than the smallest face.

    Example:
        >>> Photo().canvases
        ((480, 640),)
    """

    canvases: tuple[Size, ...] = ((480, 640),)
    min_face_size: float = 20
    faces: int = 8

    def __post_init__(self):
        object.__setattr__(self, "canvases", tuple(checked_canvas(each) for each in self.canvases))
        if not self.canvases or len(set(self.canvases)) < len(self.canvases):
            raise ValueError(f"photo needs different canvases, at least one. Received: {self.canvases}.")
        if not 12 <= self.min_face_size <= min(map(min, self.canvases)):
            raise ValueError(
                "photo needs min_face_size from 12 pixels to the shortest side of its canvases. "
                f"Received: min_face_size={self.min_face_size}, canvases={self.canvases}."
            )
        if not 1 <= self.faces <= graph.Slots().output:
            raise ValueError(f"photo needs faces from 1 to {graph.Slots().output}. Received: faces={self.faces}.")

    @classmethod
    def of(cls, given: Any) -> "Photo":
        """The Photo of an argument photo=: a Photo, True, (height, width), or a list of these."""
        if isinstance(given, cls):
            return given
        if given is True:
            return cls()
        if not isinstance(given, (list, tuple)) or not given:
            raise TypeError(
                f"photo must be True, (height, width), a list of these, or export.Photo. Received: photo={given!r}."
            )
        return cls(tuple(given) if isinstance(given[0], (list, tuple)) else (tuple(given),))

    def names(self, canvas: Size) -> tuple[str, str]:
        """(name of the signature that detects, name of the one that embeds) of a canvas."""
        end = "" if canvas == self.canvases[0] else f"_{canvas[0]}x{canvas[1]}"
        return f"detect{end}", f"embed{end}"


def check_quantize(quantize):
    """Raises ValueError where the photograph's signatures have no such precision."""
    if quantize not in QUANTIZE:
        raise ValueError(
            f"photo= needs quantize=None or 'float16'. Received: quantize={quantize!r}. With eight bits the detector "
            "misses most faces, and the converter quantises a whole file: export the embedder alone, without photo=."
        )


def checked(photo, photographs, quantize):
    """The Photo of photo= and photographs=, or None where there is none.

    Raises:
        TypeError, ValueError: On a precision that photographs do not have, or arguments that make no sense.
    """
    if photo is None or photo is False:
        if photographs is not None:
            raise ValueError("photographs= are for a file that takes them. Pass photo=True too, or leave them out.")
        return None
    check_quantize(quantize)
    for each in photographs or ():
        check_photograph(each)
    return Photo.of(photo)


def converted(network, options, quantize, photo):
    """Converts the network, and what leads from a photograph to it, to one model.

    Args:
        network: Keras model.
        options: Options.
        quantize: One of QUANTIZE.
        photo: Photo.

    Returns:
        bytes of the model: the signatures `embed_aligned` and `serving_default`, which are the same, and for each
        canvas `detect` and `embed`.
    """
    cascade = graph.Cascade(photo.min_face_size, slots=graph.Slots(faces=photo.faces))
    shape = network.input_shape[1:3]

    def embed_aligned(image):
        return _graph.answers(network, image, options)

    def embed(photo, size, points):
        face = _warp.crop(photo, size, points, shape)
        return {"embedding": embed_aligned(face[None])["embedding"], "face": tf.cast(face, tf.uint8)}

    image = tf.TensorSpec((options.batch_size, *shape, 3), tf.uint8, name="image")
    signatures = {_FIRST: (_frozen(embed_aligned, [image]), [image])}
    for canvas in photo.canvases:
        specs = build.input_specs(canvas)
        points = [*specs, tf.TensorSpec((5, 2), tf.float32, name="points")]
        detect_name, embed_name = photo.names(canvas)
        signatures[detect_name] = cascade.detect, specs
        signatures[embed_name] = _frozen(embed, points), points

    def prepare(converter):
        if quantize == "float16":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter.target_spec.supported_types = [tf.float16]

    with tf.device("/CPU:0"):
        return _with_alias(build.convert(signatures, prepare))


def _frozen(function, specs):
    """The function with its weights as constants.

    Several signatures over the same variables would become VAR_HANDLE and READ_VARIABLE, whose values the converter
    leaves out without a word; as constants they are stored once.
    """
    concrete = tf.function(function, autograph=False).get_concrete_function(*specs)
    names = sorted(concrete.structured_outputs)
    constant = convert_variables_to_constants_v2(concrete, lower_control_flow=False)
    return lambda *inputs: dict(zip(names, constant(*inputs), strict=True))


def _with_alias(content):
    """The model with its first graph under the names `embed_aligned` and `serving_default`."""
    from tensorflow.lite.tools import flatbuffer_utils

    model = flatbuffer_utils.convert_bytearray_to_object(bytearray(content))
    (aligned,) = [each for each in model.signatureDefs if each.signatureKey == _FIRST.encode()]
    if aligned.subgraphIndex != 0:
        raise RuntimeError(f"The converter put the embedder into graph {aligned.subgraphIndex} instead of the first.")
    alias = copy.copy(aligned)
    aligned.signatureKey, alias.signatureKey = ALIGNED.encode(), _graph.SIGNATURE.encode()
    model.signatureDefs.append(alias)
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))
