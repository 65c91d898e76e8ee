"""PyTorch's DataLoader over the sets that benchmarks/input.py wrote, for its comparison; needs torch and Pillow alone.

Started by `python -m benchmarks.input --torch=PYTHON`: answers each line of standard input, the name of a set, with the
seconds that a pass over it takes. Its worker processes stay, and are started before the first answer.
"""

import io
import os
import random
import struct
import sys
import time

import torch
from PIL import Image


class Decoded(torch.utils.data.Dataset):
    """Decoded, flipped uint8 images and their labels, out of (label, where the bytes are)."""

    def __init__(self, places):
        self.places = places

    def __len__(self):
        return len(self.places)

    def __getitem__(self, number):
        label, place = self.places[number]
        image = Image.open(io.BytesIO(self.read(place))).convert("RGB")
        if random.random() < 0.5:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        pixels = torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8)
        return pixels.view(image.height, image.width, 3), label


class Folder(Decoded):
    """One file an image, as torchvision's ImageFolder has them."""

    def __init__(self, root):
        names = sorted(os.listdir(root))
        super().__init__(
            [
                (label, os.path.join(root, name, file))
                for label, name in enumerate(names)
                for file in sorted(os.listdir(os.path.join(root, name)))
            ]
        )

    def read(self, place):
        with open(place, "rb") as file:
            return file.read()


class Records(Decoded):
    """A .rec file by its .idx, as insightface's loader reads it."""

    def __init__(self, root):
        self.path, self.file = os.path.join(root, "train.rec"), None
        places = []
        with open(os.path.join(root, "train.idx")) as index, open(self.path, "rb") as file:
            for line in index:
                at = int(line.split("\t")[1])
                file.seek(at)
                _, length, _, label = struct.unpack("<IIIf", file.read(16))
                places.append((int(label), (at + 32, length - 24)))
        super().__init__(places)

    def read(self, place):
        if self.file is None:  # Each worker opens its own.
            self.file = os.open(self.path, os.O_RDONLY)
        return os.pread(self.file, place[1], place[0])


def seconds_of(loader):
    started = time.perf_counter()
    for images, _ in loader:
        assert images.dtype == torch.uint8
    return time.perf_counter() - started


def main(folder, batch_size, workers):
    loaders = {
        name: torch.utils.data.DataLoader(
            kind(os.path.join(folder, name)), batch_size, shuffle=True, num_workers=workers, persistent_workers=True
        )
        for name, kind in (("folder", Folder), ("rec", Records))
    }
    for loader in loaders.values():
        seconds_of(loader)
    print("ready", flush=True)
    for line in sys.stdin:
        print(seconds_of(loaders[line.strip()]), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
