"""The `mtcnn` package's three networks, with an image pyramid that honours the smallest face looked for."""

import numpy as np

from keras_margin._utils.messages import install_hint
from keras_margin.detection.pyramid_scales import pyramid_scales


def load():
    """Builds the package's detector with the weights inside its wheel.

    Returns:
        mtcnn.MTCNN.

    Raises:
        ImportError: The package is not installed; the message names the extra.
    """
    try:
        import mtcnn
        from mtcnn.stages import StageONet, StageRNet

        stages = _proposal_stage(), StageRNet, StageONet
    except ImportError as error:
        raise ImportError(
            f"Face detection needs the mtcnn package: {install_hint('align')} "
            f"(or pass a detector= of your own). The import failed with: {error}"
        ) from error
    from importlib.resources import files

    # A bare file name is looked for in the current folder before the package, and is a pickle: name the package's own.
    weights = files("mtcnn") / "assets" / "weights"
    names = ("pnet.lz4", "rnet.lz4", "onet.lz4")
    built = [stage(weights=str(weights / name)) for stage, name in zip(stages, names, strict=True)]
    for stage, side in zip(built, (None, 24, 48), strict=True):
        stage._model = _compiled(stage._model, side)
    return mtcnn.MTCNN(stages=built)


def _compiled(network, side):
    """Returns a stage's network as one graph, for any number of images.

    Layer by layer, Keras's own work takes four fifths of the detector's time: the networks are tiny.

    Args:
        network: Keras model from images (n, side, side, 3) to a tuple of tensors.
        side: Pixels; None where each image has its own height and width.
    """
    from mtcnn.mtcnn import tf  # The package's own; this one imports no framework.

    return tf.function(
        lambda images: network(images), input_signature=[tf.TensorSpec((None, side, side, 3), tf.float32)]
    )


def _proposal_stage():
    """The package's first stage, with `pyramid_scales` in the place of its own count of levels."""
    from mtcnn.stages import StagePNet
    from mtcnn.utils.bboxes import generate_bounding_box, resize_to_square, smart_nms_from_bboxes, upscale_bboxes
    from mtcnn.utils.images import scale_images

    class ProposalStage(StagePNet):
        """`StagePNet.__call__` for one image; thresholds are the package's."""

        def __call__(self, images_normalized, images_oshapes, min_face_size, **_):
            height, width = images_oshapes[0][:2]
            levels = [np.empty((0, 6))]
            for scale in pyramid_scales(height, width, min_face_size):
                boxes = generate_bounding_box(*self._model(scale_images(images_normalized, scale)), 0.6)
                boxes = upscale_bboxes(boxes, np.array([scale]))
                levels.append(smart_nms_from_bboxes(boxes, threshold=0.5, method="union", initial_sort=False))
            boxes = smart_nms_from_bboxes(np.concatenate(levels), threshold=0.7, method="union", initial_sort=True)
            return resize_to_square(boxes)

    return ProposalStage
