"""RecordIO files, written by the format's specification and by no code of ours; JPEGs to put into them."""

import io
import struct

import numpy as np
from PIL import Image

MAGIC = struct.pack("<I", 0xCED7230A)


def jpeg(seed, size=24):
    """A smooth colour image, bytes of a JPEG file."""
    coarse = np.random.default_rng(seed).integers(0, 256, (3, 3, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(coarse).resize((size, size), Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=60)
    return buffer.getvalue()


def payload(label, image, key=0):
    """IfQQ (flag, label, id, id2), the labels if there are several, the image."""
    if np.ndim(label):
        return struct.pack("<IfQQ", len(label), 0.0, key, 0) + np.array(label, "<f4").tobytes() + image
    return struct.pack("<IfQQ", 0, label, key, 0) + image


def frame(data, cflag=0):
    """Magic, cflag and length, the data, zeros up to a multiple of 4."""
    return MAGIC + struct.pack("<I", cflag << 29 | len(data)) + data + bytes(-len(data) % 4)


def record(data):
    """One record: a frame, or several where the data have the magic at a multiple of 4."""
    cuts = [place for place in range(0, len(data) - 3, 4) if data[place : place + 4] == MAGIC]
    if not cuts:
        return frame(data)
    starts, ends = [0, *(cut + 4 for cut in cuts)], [*cuts, len(data)]
    flags = [1, *[2] * (len(cuts) - 1), 3]
    return b"".join(frame(data[a:b], flag) for a, b, flag in zip(starts, ends, flags, strict=True))


def write_records(folder, payloads, keys=None, name="train"):
    """Writes `train.rec` and `train.idx`.

    Returns:
        The offset of every record.
    """
    folder.mkdir(parents=True, exist_ok=True)
    records = [record(data) for data in payloads]
    offsets = np.cumsum([0, *map(len, records)])[:-1].tolist()
    keys = range(len(records)) if keys is None else keys
    (folder / f"{name}.rec").write_bytes(b"".join(records))
    (folder / f"{name}.idx").write_text("".join(f"{key}\t{at}\n" for key, at in zip(keys, offsets, strict=True)))
    return offsets
