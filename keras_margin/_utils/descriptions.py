"""The metadata of an exported file in words, for `keras-margin inspect` and for model cards."""

import json

from keras_margin._utils import decisions


def described(name, value):
    """Returns an entry of a file's metadata in words; of one that another version wrote, its JSON.

    Args:
        name: Of the entry, one of `DESCRIBED`.
        value: What the metadata have under it.

    Returns:
        str.
    """
    try:
        return DESCRIBED[name](value)
    except (AttributeError, KeyError, TypeError, ValueError):
        return json.dumps(value, ensure_ascii=False)


def entries(values, separator=", "):
    """Returns "name=value" of each entry of a dict that is not None."""
    return separator.join(f"{name}={_plain(value)}" for name, value in values.items() if value is not None)


def _plain(value):
    return f"{value:g}" if isinstance(value, float) else json.dumps(value, ensure_ascii=False).strip('"')


def _image(image):
    batch = "any batch" if image.get("batch") is None else f"batch {image['batch']}"
    return f"{image['dtype']} {image['channels']} {image['height']} x {image['width']}, {batch}"


def _embedding(embedding):
    flip = ", mirror image added" if embedding.get("flip_sum") else ""
    length = "unit length" if embedding.get("unit_length", True) else "not of unit length"
    return f"{embedding['dtype']} x {embedding['size']}, {length}{flip}"


def _length(length):
    return f"{length['dtype']}, the embedding's own length, as a quality"


def _alignment(alignment):
    return "five points at " + " ".join(f"({x:g}, {y:g})" for x, y in alignment["points"])


def _head(head):
    return f"{head['class']}({entries({name: value for name, value in head.items() if name != 'class'})})"


def _threshold(threshold):
    return f"cosine >= {threshold['cosine']:.4f}"


def _calibration(found):
    people = f" of {found['num_people']:,} people" if found.get("num_people") else ""
    zone = found["zone"]
    asks = f"; ask a person between {zone['different_below']:.4f} and {zone['same_from']:.4f}" if zone else ""
    return (
        f"{found['method']}, Cllr {found['cllr']:.4f}, ECE {found['ece']:.2%} at a prior of {found['prior']:g}, on "
        f"{found['num_genuine']:,} genuine and {found['num_impostor']:,} impostor pairs{people}{asks}"
    )


def _search(found):
    return str(decisions.SearchThresholds.from_metadata({"search": found}))


def _accuracy(found):
    pairs = f"{found['num_genuine']:,} genuine, {found['num_impostor']:,} impostor pairs"
    if found.get("photographs"):
        pairs += f" of {found['photographs']:,} photographs, {found['no_face']:,} without a face"
    tar = f"TAR {found['tar']:.2%} (model {found['model_tar']:.2%}) at FAR {found['far']:g}"
    return f"EER {found['eer']:.2%} (model {found['model_eer']:.2%}), {tar}; {pairs}"


def _parity(parity):
    images = f"{parity['images']} images{' of noise' if parity.get('synthetic') else ''}"
    return f"cosine mean {parity['mean_cosine']:.6f}, worst {parity['worst_cosine']:.6f} on {images}"


# In the order in which they are shown.
DESCRIBED = {
    "image": _image,
    "embedding": _embedding,
    "length": _length,
    "alignment": _alignment,
    "quantize": str,
    "threshold": _threshold,
    "no_threshold": str,
    "calibration": _calibration,
    "search": _search,
    "accuracy": _accuracy,
    "parity": _parity,
    "head": _head,
    "recipe": entries,
    "measured": lambda measured: "\n".join(entries(each) for each in measured),
    "about": entries,
    "made_with": entries,
    "keras_margin": str,
}
