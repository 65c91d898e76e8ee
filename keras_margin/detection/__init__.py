"""Face detection on LiteRT: boxes, five points and scores, without TensorFlow.

The networks are MTCNN's, with the weights inside the wheel of the `mtcnn` package. They are converted once, by
TensorFlow, to one LiteRT model of static shapes, which is kept in the user's cache folder; from then on a detector
needs NumPy and LiteRT alone. Importing this package needs NumPy alone.
"""

from keras_margin.detection.detector import FaceDetector

__all__ = ["FaceDetector"]
