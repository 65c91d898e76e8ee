"""Face alignment: five points, a similarity transform, the field's 112x112 landmark template.

Importing this package needs NumPy alone. The detector (`align` without a `detector=`) and image files (`read_image`,
`align_folder`) need the `align` extra.
"""

from keras_margin.alignment.detector import MTCNNDetector, align, align_all
from keras_margin.alignment.folder import align_folder
from keras_margin.alignment.images import read_image
from keras_margin.alignment.photographs import prepare_photograph
from keras_margin.alignment.transform import align_points

__all__ = [
    "MTCNNDetector",
    "align",
    "align_all",
    "align_folder",
    "align_points",
    "prepare_photograph",
    "read_image",
]
