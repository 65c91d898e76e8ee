"""Sets of real faces for `benchmarks.real_faces`: which people train, which are tested, by fixed rules.

CFP's people 001 to 400 train, 401 to 500, its folds 9 and 10, never do. Of LFW the people of View 2's folds 3 to 10
with two images or more train, folds 1 and 2 are tested; nobody of LFW whose name is in CFP trains, and no tested pair
has a person whose name is among CFP's 400. Names are compared without case, spaces and signs.
"""

import os
import pathlib
import shutil

from keras_margin.data import pair_lists
from keras_margin.evaluation.lists import read_lfw_people

TRAINED_CFP, CFP_PEOPLE = 400, 500
TESTED_CFP_FOLDS = ("09", "10")
TESTED_LFW_FOLDS = (0, 1)


def part(folder, name, what):
    """Returns folder/name; raises FileNotFoundError that says what belongs there."""
    path = pathlib.Path(folder, name)
    if not path.exists():
        raise FileNotFoundError(f"No such file or directory: {str(path)!r}. {what} See docs/real-faces.md.")
    return path


def cfp_names(faces):
    """Returns the names of CFP's 500 people, in the order of their folders 001 to 500."""
    listing = part(faces, "cfp/Data/list_name.txt", "CFP as distributed belongs into cfp/.")
    return [line.strip() for line in pair_lists.read_text(listing).splitlines() if line.strip()]


def plain(name):
    """Returns a name without case, spaces and signs."""
    return "".join(letter for letter in name.lower() if letter.isalpha())


def lfw_people(faces):
    """Returns {name: fold} of LFW's people, folds from 0."""
    people = read_lfw_people(part(faces, "lists/lfw/people.txt", "It is LFW's list of people."))
    return dict(zip(people.names.tolist(), people.folds.tolist(), strict=True))


def write_training_set(faces, crops, out):
    """Links the training images into out/PERSON/, CFP's as c001 to c400; returns (people, images) of either set."""
    out = pathlib.Path(out)
    counts = {}
    images = part(crops, "cfp/Data/Images", "`keras-margin align cfp CROPS/cfp` writes it.")
    found = 0
    for person in range(1, TRAINED_CFP + 1):
        for path in sorted((images / f"{person:03d}").glob("*/*.jpg")):
            found += _link(path, out / f"c{person:03d}" / f"{path.parent.name}_{path.name}")
    counts["cfp"] = (TRAINED_CFP, found)
    known = {plain(name) for name in cfp_names(faces)}
    aligned = part(faces, "lfw_aligned", "LFW aligned to 112 x 112 belongs there.")
    people = found = 0
    for name, fold in sorted(lfw_people(faces).items()):
        paths = sorted((aligned / name).glob("*.jpg"))
        if fold in TESTED_LFW_FOLDS or plain(name) in known or len(paths) < 2:
            continue
        people += 1
        found += sum(_link(path, out / name / path.name) for path in paths)
    counts["lfw"] = (people, found)
    return counts


def _link(path, target):
    target.parent.mkdir(parents=True, exist_ok=True)
    if not target.exists():
        target.symlink_to(path.resolve())
    return 1


def write_unseen_cfp(faces, crops, out):
    """Writes out/ with CFP's folds 9 and 10, people 401 to 500, and a link to the crops; returns out."""
    out = pathlib.Path(out)
    lists = part(faces, "cfp/Protocol", "CFP as distributed belongs into cfp/.")
    for kind in ("FF", "FP"):
        for fold in TESTED_CFP_FOLDS:
            shutil.copytree(lists / "Split" / kind / fold, out / "Protocol/Split" / kind / fold, dirs_exist_ok=True)
    for letter in "FP":
        shutil.copy(lists / f"Pair_list_{letter}.txt", out / "Protocol")
    crops = part(crops, "cfp", "`keras-margin align cfp CROPS/cfp` writes it.")
    _link(crops / "Data", out / "Data")
    _link(crops / "alignment.json", out / "alignment.json")
    return out


def write_lfw_folds(listing, images, out):
    """Writes out/ with a copy of a pairs.txt and a link to the folder of its images; returns out."""
    out = pathlib.Path(out)
    out.mkdir(parents=True, exist_ok=True)
    shutil.copy(listing, out / "pairs.txt")
    _link(pathlib.Path(images), out / "lfw")
    if (pathlib.Path(images) / "alignment.json").exists():
        _link(pathlib.Path(images) / "alignment.json", out / "alignment.json")
    return out


def write_unseen_lfw(faces, out):
    """Writes out/ with LFW's folds 1 and 2 without the pairs of CFP's training people; returns (out, pairs left out).

    pairs.csv names images of lfw_aligned, to which out/lfw links.
    """
    out = pathlib.Path(out)
    out.mkdir(parents=True, exist_ok=True)
    listing = part(faces, "lfw_photos/pairs.txt", "It is LFW's pairs.txt of the folds 1 and 2.")
    trained = {plain(name) for name in cfp_names(faces)[:TRAINED_CFP]}
    lines = [line.split("\t") for line in pair_lists.read_text(listing).splitlines() if line.strip()]
    folds, size = map(int, lines[0])
    names, same, fold_of, left_out = [], [], [], 0
    for number, fields in enumerate(lines[1:]):
        sides = (fields[0], fields[1]), (fields[-2] if len(fields) == 4 else fields[0], fields[-1])
        if any(plain(who) in trained for who, _ in sides):
            left_out += 1
            continue
        names.append([f"lfw/{who}/{who}_{int(image):04d}.jpg" for who, image in sides])
        same.append(len(fields) == 3)
        fold_of.append(number // (2 * size))
    _link(part(faces, "lfw_aligned", "LFW aligned to 112 x 112 belongs there."), out / "lfw")
    pair_lists.write_pair_list(out / "pairs.csv", names, same, fold_of)
    if len(lines) - 1 != 2 * folds * size:
        raise ValueError(f"{listing} announces {2 * folds * size} pairs. Received: {len(lines) - 1}.")
    return out, left_out


def cpu_seconds():
    """Returns the processor time of this process and its children so far."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system
