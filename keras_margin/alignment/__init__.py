"""Face alignment: five points, a similarity transform, the field's 112x112 landmark template.

Importing this package needs NumPy alone. The detector (`align` without a `detector=`) and image files (`read_image`,
`align_folder`) need the `align` extra.
"""

from keras_margin.alignment.detector import MTCNNDetector, align, align_all
from keras_margin.alignment.folder import AlignmentReport, align_folder
from keras_margin.alignment.images import ImageError, read_image
from keras_margin.alignment.photographs import prepare_photograph
from keras_margin.alignment.transform import (
    LANDMARKS_112,
    align_points,
    landmark_template,
    similarity_transform,
    warp,
)

__all__ = [
    "LANDMARKS_112",
    "AlignmentReport",
    "ImageError",
    "MTCNNDetector",
    "align",
    "align_all",
    "align_folder",
    "align_points",
    "landmark_template",
    "prepare_photograph",
    "read_image",
    "similarity_transform",
    "warp",
]
