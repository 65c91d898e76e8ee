"""Face alignment: five points, a similarity transform, the field's 112x112 landmark template.

Importing this package needs NumPy alone. The detector (`align` without a `detector=`) needs the `align` extra.
"""

from keras_margin.alignment.detector import MTCNNDetector, align
from keras_margin.alignment.transform import (
    LANDMARKS_112,
    align_points,
    landmark_template,
    similarity_transform,
    warp,
)

__all__ = [
    "LANDMARKS_112",
    "MTCNNDetector",
    "align",
    "align_points",
    "landmark_template",
    "similarity_transform",
    "warp",
]
