"""A model card: what an exported file's metadata and the reports on it say, as Markdown for people."""

import json
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from keras_margin._utils import decisions
from keras_margin._utils.descriptions import described, entries

_UNSAID = 'Not stated. Say it at export, --about={0}=..., or with a preset, metadata={{"about": {{"{0}": ...}}}}.'
# Of the recipe and the head, what tells a reader how the network was trained; the metadata have the rest.
_TRAINED_WITH = ("name", "head", "auxiliary_losses", "backbone", "weights", "image_size", "batch_size", "steps")


class _Report(Protocol):
    """What a card shows of a `Report`."""

    @property
    def sets(self) -> Mapping[str, Any]:
        """Dict from a set's name to what was found on it."""

    def table(self) -> tuple[list[str], list[list[str]]]:
        """Returns (header, rows)."""


def model_card(metadata: Mapping[str, Any], name: str, reports: Iterable[_Report] = ()) -> str:
    """Writes a model card of what was measured; what nobody measured or said is called so, not left out.

    Args:
        metadata: Dict as keras_margin.runtime.read_metadata gives it; `about` may have intended_use, limits and
            training_data.
        name: What the card is called, usually the file's name.
        reports: `Report`s of `keras-margin evaluate` on the file, whose tables go in, groups included.

    Returns:
        str, Markdown.

    Example:
        >>> print(model_card({"about": {"intended_use": "the door of our office"}}, "face.tflite").splitlines()[4])
        the door of our office

    Reference: Mitchell et al., Model cards for model reporting, FAT* 2019.
    """
    about = metadata.get("about") or {}
    sections = [
        ("Intended use", [about.get("intended_use") or _UNSAID.format("intended_use")]),
        ("Limits", _paragraphs([about.get("limits") or _UNSAID.format("limits"), *_few(metadata)])),
        ("The file", _file(metadata)),
        ("Training", _training(metadata, about)),
        ("Accuracy", _accuracy(metadata)),
        ("Decisions", _decisions(metadata)),
        ("Evaluations and groups", _evaluations(reports)),
    ]
    others = {key: value for key, value in about.items() if key not in ("intended_use", "limits", "training_data")}
    if others:
        sections.append(("More", _list(others)))
    lines = [f"# {name}", *_summary(metadata)]
    for title, body in sections:
        lines += ["", f"## {title}", "", *body]
    return "\n".join([*lines, "", f"keras-margin {metadata.get('keras_margin', '')}".rstrip(), ""])


def preset_card(metadata: Mapping[str, Any], name: str, reports: Iterable[_Report] = ()) -> str:
    """Writes the model card of a preset, the README.md of a model hub: settings in YAML, then `model_card`, then use.

    Args:
        metadata: Dict of the preset's metadata.json; `about` may have a license.
        name: The preset's name.
        reports: As in `model_card`.

    Returns:
        str, Markdown.

    Example:
        >>> print(preset_card({"about": {"license": "cc-by-4.0"}}, "door").splitlines()[3])
        license: "cc-by-4.0"
    """
    license_ = (metadata.get("about") or {}).get("license")
    settings = ["library_name: keras-margin", "pipeline_tag: image-feature-extraction"]
    settings += [f"license: {json.dumps(license_)}"] if license_ else []
    arguments = json.dumps(name) + ("" if metadata.get("tasks") else ", head=km.ArcFaceHead(num_classes)")
    use = ["## Use", "", "```python", "import keras_margin as km", ""]
    use += [f"model = km.EmbeddingModel.from_preset({arguments})", "model.predict(images)", "```"]
    return "\n".join(["---", *settings, "---", "", model_card(metadata, name, reports).rstrip(), "", *use, ""])


def _list(values):
    return [f"- {key.replace('_', ' ')}: {_plain(value)}" for key, value in values.items() if value is not None]


def _plain(value):
    if isinstance(value, dict):
        return ", ".join(f"{key} {_plain(each)}" for key, each in value.items() if each is not None)
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_plain, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def _few(metadata):
    """Yields what the numbers themselves say of their limits."""
    for key in ("no_threshold", "no_accuracy"):
        if metadata.get(key):
            yield metadata[key]
    if (metadata.get("threshold") or {}).get("basis"):
        yield f"The threshold rests on {metadata['threshold']['basis']}."
    if (metadata.get("calibration") or {}).get("no_zone"):
        yield metadata["calibration"]["no_zone"]


def _paragraphs(texts):
    return "\n\n".join(texts).split("\n")


def _summary(metadata):
    """What the file does, for a reader who has not met an embedding; nothing where the metadata do not tell."""
    image, embedding = metadata.get("image") or {}, metadata.get("embedding") or {}
    if not {"height", "width"} <= image.keys() or "size" not in embedding:
        return []
    return [
        "",
        f"A network that turns the photograph of a face, {image['height']} x {image['width']} pixels, into "
        f"{embedding['size']} numbers. The cosine of two photographs' numbers, from -1 to 1, says how much alike the "
        "faces are; a threshold makes it a decision. FAR is the share of pairs of two people that such a decision "
        "calls one person, TAR the share of pairs of one person that it calls so, EER the error where both go wrong "
        "equally often.",
    ]


def _file(metadata):
    names = ("image", "embedding", "length", "alignment", "quantize", "parity", "made_with")
    lines = [f"- {_TITLES.get(name, name)}: {described(name, metadata[name])}" for name in names if metadata.get(name)]
    return lines or ["The metadata do not say."]


_TITLES = {
    "image": "takes",
    "embedding": "gives",
    "length": "gives as well",
    "alignment": "faces aligned to",
    "quantize": "quantized",
    "parity": "compared with its model",
    "made_with": "made with",
}


def _training(metadata, about):
    people = (metadata.get("head") or {}).get("num_classes")
    lines = [f"- data: {about.get('training_data') or _UNSAID.format('training_data')}"]
    if people:
        lines.append(f"- people in training: {people:,}, as many as the head has classes")
    if metadata.get("head"):
        lines.append(f"- head: {described('head', metadata['head'])}")
    recipe = metadata.get("recipe") or {}
    shown = {name: recipe[name] for name in _TRAINED_WITH if recipe.get(name)}
    if shown:
        lines.append(f"- recipe: {entries(shown)}")
    return lines + _measured(metadata.get("measured") or ())


def _measured(found):
    """A table of what the training run measured, errors and accuracies in per cent."""
    columns = list(dict.fromkeys(name for each in found for name, value in each.items() if value is not None))
    if not columns:
        return []
    rows = [[_cell(each.get(name)) for name in columns] for each in found]
    titles = [name.replace("_", " ") for name in columns]
    lines = ["", "Measured in the training run:", "", f"| {' | '.join(titles)} |", "|---" * len(columns) + "|"]
    return lines + [f"| {' | '.join(row)} |" for row in rows]


def _cell(value):
    return "" if value is None else f"{value:.2%}" if isinstance(value, float) and 0 <= value <= 1 else _plain(value)


def _accuracy(metadata):
    if not metadata.get("accuracy"):
        return ["Not measured at export."]
    accuracy = metadata["accuracy"]
    rows = [("EER", "eer"), (f"TAR at FAR {accuracy['far']:g}", "tar")]
    lines = ["| | file | model |", "|---|---|---|"]
    lines += [f"| {label} | {accuracy[name]:.2%} | {accuracy[f'model_{name}']:.2%} |" for label, name in rows]
    pairs = f"{accuracy['num_genuine']:,} genuine and {accuracy['num_impostor']:,} impostor pairs"
    people = f" of {accuracy['num_people']:,} people" if accuracy.get("num_people") else ""
    if accuracy.get("photographs"):
        people += (
            f": {accuracy['photographs']:,} whole photographs, whose faces the file finds itself; "
            f"{accuracy['no_face']:,} show none to it, and their pairs count as of two people"
        )
    return [*lines, "", f"On {pairs}{people}."]


def _decisions(metadata):
    lines = []
    if metadata.get("threshold"):
        lines.append(f"- threshold: cosine {metadata['threshold']['cosine']:.4f}, FAR {metadata['threshold']['far']:g}")
    calibration, search = metadata.get("calibration"), decisions.SearchThresholds.from_metadata(metadata)
    if calibration:
        lines.append(
            f"- probability: {calibration['method']}, Cllr {calibration['cllr']:.4f} of at best "
            f"{calibration['min_cllr']:.4f}, ECE {calibration['ece']:.2%} at a prior of {calibration['prior']:g}, on "
            f"{calibration['num_genuine']:,} genuine and {calibration['num_impostor']:,} impostor pairs"
        )
        zone = calibration.get("zone")
        if zone:
            lines.append(
                f"- ask a person: from cosine {zone['different_below']:.4f} (FRR {zone['frr']:g}) to "
                f"{zone['same_from']:.4f} (FAR {zone['far']:g})"
            )
    else:
        lines.append("- probability: not calibrated; keras-margin calibrate FILE PAIRS")
    if search is not None:
        lines.append(f"- threshold {search}")
    return lines


def _evaluations(reports):
    lines = []
    for report in reports:
        header, rows = report.table()
        lines += [f"| {' | '.join(header)} |", "|---" * len(header) + "|"]
        lines += [f"| {' | '.join(row)} |" for row in rows] + [""]
        lines += [f"- {name}: {note}" for name, found in report.sets.items() for note in found["notes"]] + [""]
    return lines[:-1] or ["None given. Groups of people were not compared: keras-margin evaluate --groups=FILE.csv."]
