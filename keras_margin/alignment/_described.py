"""How a file's metadata say where the five points of a face lie in its images."""

from keras_margin.alignment import transform

_ALIGNED_SIZES = {(112, 112), (112, 96)}


def describe_template(height: int, width: int, aligned: bool | None = None) -> dict | None:
    """Returns where the five points of a face lie in the image, or None where faces are not aligned by them.

    Args:
        height: Of the image, in pixels.
        width: Of the image, in pixels.
        aligned: Whether faces lie on the template; None where the size tells, 112x112 and 112x96.
    """
    if aligned is None:
        aligned = (height, width) in _ALIGNED_SIZES
    if not aligned:
        return None
    points = transform.landmark_template((height, width)).round(4).tolist()
    names = ["eye at smaller x", "eye at larger x", "nose tip", "mouth corner at smaller x", "mouth corner at larger x"]
    return {"transform": "similarity", "points": points, "order": names}
