"""An evaluation as files: JSON for programs, Markdown for people, arrays for pictures; and bounds on it for CI."""

import dataclasses
import difflib
import json
import operator
import pathlib
import re
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from keras_margin import __version__
from keras_margin._typing import PathLike
from keras_margin._utils import files

_COMPARISONS = {">=": operator.ge, "<=": operator.le, "==": operator.eq, ">": operator.gt, "<": operator.lt}

# How a value is called and shown; the first pattern that fits. {} is the rest of its name.
_SHOWN = (
    (r"num_(genuine|impostor)", "{} pairs", "{:,.0f}"),
    (r"num_pairs_without_face", "pairs without a face", "{:,.0f}"),
    (r"accuracy", "accuracy", "{:.2%}"),
    (r"accuracy_faces_found", "accuracy, pairs with both faces", "{:.2%}"),
    (r"accuracy_(.+)", "accuracy, {}", "{:.2%}"),
    (r"auc", "AUC", "{:.5f}"),
    (r"eer", "EER", "{:.2%}"),
    (r"tar_at_far_(.+)", "TAR@FAR={}", "{:.2%}"),
    (r"threshold_at_far_(.+)", "threshold, FAR={}", "{:.4f}"),
    (r"tpir_at_fpir_(.+)", "TPIR@FPIR={}", "{:.2%}"),
    (r"rank_(\d+)", "rank-{}", "{:.2%}"),
    (r"edc_fnmr", "FNMR of all images", "{:.2%}"),
    (r"edc_fnmr_without_(.+)", "FNMR without the worst {} of images", "{:.2%}"),
    (r"edc_area", "mean FNMR over 0 to 30 % discarded", "{:.2%}"),
    (r"groups\.(.+)\.people", "{}, people", "{:,.0f}"),
    (r"groups\.(.+)\.fnmr_gap", "{}, largest gap of FNMR", "{:.2%}"),
    (r"groups\.(.+)\.fmr_gap", "{}, largest gap of FMR", "{:.4%}"),
    (r"groups\.(.+)\.(fnmr|fmr)_ratio", "{}, ratio of {}", "{:.2f}"),
    (r"groups\.(.+)\.fmr_(within|across)", "{}, FMR {} groups", "{:.4%}"),
    (r"groups\.(.+)\.fnmr", "{}, FNMR", "{:.2%}"),
    (r"groups\.(.+)\.tar", "{}, TAR", "{:.2%}"),
    (r"groups\.(.+)\.fmr", "{}, FMR", "{:.4%}"),
    (r"(.+)_angle", "{} angle, degrees", "{:.2f}"),
    (r"angular_fisher_score", "angular Fisher score", "{:.4f}"),
    (r"(.+)", "{}", "{:.4g}"),
)
_HIDDEN = "too few impostors"
_ATTACHED = ("_std", "_low", "_high")


@dataclasses.dataclass(frozen=True)
class Requirement:
    """A bound such as `lfw.accuracy>=0.99`.

    Attributes:
        text: As it was given.
        set_name: The set.
        value_name: The value.
        comparison: ">=", "<=", ">", "<" or "==".
        bound: The number.

    Example:
        >>> bound = Requirement.parse("lfw.accuracy>=0.99", ["lfw"])
        >>> bound.judge({"accuracy": 0.98})[0]
        False
    """

    text: str
    set_name: str
    value_name: str
    comparison: str
    bound: float

    @classmethod
    def parse(cls, text: str, set_names: Collection[str]) -> "Requirement":
        """Reads a bound; ValueError where it is none, or of a set that is not evaluated."""
        match = re.fullmatch(r"\s*(.+?)\s*(>=|<=|==|>|<)\s*(\S+)\s*", text)
        try:
            bound = float(match[3])
        except (TypeError, ValueError):
            raise ValueError(
                f"A requirement is SET.VALUE>=NUMBER, such as lfw.accuracy>=0.99. Received: {text!r}."
            ) from None
        name = next((each for each in set_names if match[1].startswith(f"{each}.")), None)
        if name is None:
            raise ValueError(
                f"A requirement begins with a set that is evaluated and a dot: {', '.join(set_names)}. "
                f"Received: {text!r}."
            )
        return cls(text, name, match[1][len(name) + 1 :], match[2], bound)

    def judge(self, values: Mapping[str, float], unmeasurable: Collection[str] = ()) -> tuple[bool, str]:
        """(whether it holds, sentence); ValueError where there is no such value, or one the set cannot show."""
        names = {_plain(name): name for name in values}
        name = names.get(_plain(self.value_name))
        if name is None:
            near = difflib.get_close_matches(self.value_name, values, n=3, cutoff=0.3)
            raise ValueError(
                f"{self.set_name} has no value {self.value_name!r}. Did you mean {' or '.join(near or list(values))}?"
            )
        if name in unmeasurable:
            raise ValueError(
                f"{self.set_name} is too small to show {name}: that FAR lets fewer than 10 of its "
                f"{values['num_impostor']:,} impostor pairs pass, so the value is a guess. Require one that it can "
                "show."
            )
        holds = bool(_COMPARISONS[self.comparison](values[name], self.bound))
        said = f"{self.text}: {'met' if holds else 'NOT MET'}, {name} is {values[name]:.6g}"
        return holds, said


def _plain(name):
    """One spelling of 1e-03 and 1e-3."""
    return re.sub(r"e-0+(\d)", r"e-\1", name)


@dataclasses.dataclass(frozen=True, eq=False)
class Report:
    """One embedder on some sets.

    Attributes:
        model: Dict of what was evaluated and how it was fed.
        sets: Dict from a set's name to a dict of path, protocol, images, values, unmeasurable, notes.
        findings: List of dicts of the checks: set, check, level, text.
        requirements: List of dicts: text, met.
        arrays: Dict from "set/what" to arrays, for pictures.

    Example:
        >>> values = {"values": {"accuracy": 0.98}, "unmeasurable": []}
        >>> found = Report({"path": "face.tflite"}, {"lfw": values}, findings=[], requirements=[], arrays={})
        >>> found.table()
        (['', 'lfw'], [['accuracy', '98.00%']])
    """

    model: dict
    sets: dict
    findings: list
    requirements: list
    arrays: dict

    def write(self, path: PathLike) -> None:
        """Writes path (JSON), and beside it the same name with .md and .npz; each whole or not at all."""
        path = pathlib.Path(path)
        # The JSON last: where it is, the others are.
        with files.atomic_write(path.with_suffix(".npz")) as temporary, temporary.open("wb") as file:
            np.savez(file, **self.arrays)
        with files.atomic_write(path.with_suffix(".md")) as temporary:
            temporary.write_text(self.markdown(), encoding="utf-8")
        with files.atomic_write(path) as temporary:
            temporary.write_text(json.dumps(self.as_dict(), indent=2) + "\n", encoding="utf-8")

    def as_dict(self) -> dict[str, Any]:
        """What the JSON holds."""
        return {
            "keras_margin": __version__,
            "model": self.model,
            "sets": self.sets,
            "findings": self.findings,
            "requirements": self.requirements,
        }

    def table(self) -> tuple[list[str], list[list[str]]]:
        """(header, rows): a row a value that a set can show, a column a set, all text."""
        columns = {name: shown(found["values"], found["unmeasurable"]) for name, found in self.sets.items()}
        labels = list(dict.fromkeys(label for column in columns.values() for label in column))
        rows = [[label, *(column.get(label, "") for column in columns.values())] for label in labels]
        return ["", *columns], [row for row in rows if not set(row[1:]) <= {"", _HIDDEN}]

    def markdown(self) -> str:
        """The report as a page."""
        header, rows = self.table()
        lines = [f"# {self.model['path']}", ""]
        lines += [f"- {name}: {value}" for name, value in self.model.items() if name != "path" and value is not None]
        lines += [f"- {name}: {found['path']}, {found['protocol']}, {found['images']:,} images"
                  for name, found in self.sets.items()]  # fmt: skip
        lines += ["", f"| {' | '.join(header)} |", "|---" * len(header) + "|"]
        lines += [f"| {' | '.join(row)} |" for row in rows] + [""]
        lines += [f"- {name}: {note}" for name, found in self.sets.items() for note in found["notes"]]
        lines += [f"- {found['set']}, {found['check']}, {found['level']}: {found['text']}" for found in self.findings]
        lines += [f"- {found['text']}: {'met' if found['met'] else 'NOT MET'}" for found in self.requirements]
        return "\n".join([*lines, "", f"keras-margin {__version__}", ""])


def read(path: PathLike) -> "Report":
    """Reads a `Report` that `Report.write` wrote.

    Args:
        path: The JSON file.

    Raises:
        OSError: It, or the .npz beside it, cannot be read.
        ValueError: It is something else.

    Example:
        >>> import pathlib
        >>> Report({"path": "face.tflite"}, {}, [], [], {}).write(pathlib.Path("report.json"))
        >>> read(pathlib.Path("report.json")).model
        {'path': 'face.tflite'}
    """
    path = pathlib.Path(path)
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        parts = [found[name] for name in ("model", "sets", "findings", "requirements")]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is no report of keras-margin evaluate. {error}") from error
    with np.load(path.with_suffix(".npz"), allow_pickle=False) as arrays:
        return Report(*parts, arrays={name: arrays[name] for name in arrays.files})  # type: ignore[misc]


def shown(values: Mapping[str, float], unmeasurable: Collection[str] = ()) -> dict[str, str]:
    """Dict from a label to text: a value with its deviation or interval, in the order of `values`."""
    cells = {}
    for name, value in values.items():
        if name.endswith(_ATTACHED):
            continue
        pattern, label, form = next(row for row in _SHOWN if re.fullmatch(row[0], name))
        rest = re.fullmatch(pattern, name).groups()
        text = form.format(value)
        if f"{name}_std" in values:
            text += f" ± {form.format(values[f'{name}_std'])}"
        if f"{name}_low" in values:
            text += f" [{form.format(values[f'{name}_low'])}, {form.format(values[f'{name}_high'])}]"
        cells[label.format(*(_plain(part) for part in rest))] = _HIDDEN if name in unmeasurable else text
    return cells
