"""The contact sheet of a folder's alignment: one page that shows what was cropped, and lists what was not."""

import base64
import html
import io
import os

from keras_margin._utils import files
from keras_margin.alignment.images import ImageError, read_image, thumbnail

# A page, not a picture: under the crops' folder an image file would be taken for a face by whatever reads it next.
NAME = "alignment.html"

# Crops shown, and names in each list. All names are in alignment.json.
CROPS, NAMES = 100, 200

_SIDE = 112
_STYLE = (
    "body{font:14px sans-serif;margin:1em;color-scheme:light dark}"
    "main{display:flex;flex-wrap:wrap;gap:8px}"
    "figure{margin:0;width:112px;font-size:11px;overflow-wrap:anywhere}"
    "li{overflow-wrap:anywhere}"
)


def write(out, report, crops):
    """Writes the contact sheet.

    Args:
        out: Folder of the crops.
        report: AlignmentReport.
        crops: Names of the crops below `out`, in the order in which they are shown; the first CROPS are.
    """
    shown = [(crop, _picture(os.path.join(out, crop))) for crop in crops[:CROPS]]
    figures = [
        f'<figure><img src="data:image/jpeg;base64,{data}" alt=""><figcaption>{_text(crop)}</figcaption></figure>'
        for crop, data in shown
        if data is not None
    ]
    title = f"{report.crops:,} faces from {report.images:,} images"
    body = [
        f"<h1>{title}</h1>",
        f"<p>The first {len(figures):,}:</p>" if len(figures) < report.crops else "",
        f"<main>{''.join(figures)}</main>",
        _list("No face", report.no_face),
        _list("Refused", [f"{name}: {reason}" for name, reason in report.refused.items()]),
        _list("Several faces", [f"{name} ({count})" for name, count in report.several.items()]),
    ]
    page = f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title><style>{_STYLE}</style>'
    with files.atomic_write(os.path.join(out, NAME)) as temporary:
        temporary.write_text(page + "".join(body) + "\n", encoding="utf-8")


def _picture(path):
    """A crop as a small JPEG in base64, or None where it cannot be read."""
    try:
        image = read_image(path)
    except ImageError:
        return None
    buffer = io.BytesIO()
    thumbnail(image, _SIDE).save(buffer, "JPEG", quality=85)
    return base64.b64encode(buffer.getvalue()).decode("ascii")


def _list(title, names):
    if not names:
        return ""
    items = "".join(f"<li>{_text(name)}</li>" for name in names[:NAMES])
    more = f"<li>and {len(names) - NAMES:,} more, in alignment.json</li>" if len(names) > NAMES else ""
    return f"<h2>{title}: {len(names):,}</h2><ul>{items}{more}</ul>"


def _text(name):
    # File names may hold bytes that are not characters.
    return html.escape(name.encode("utf-8", "backslashreplace").decode("utf-8"))
