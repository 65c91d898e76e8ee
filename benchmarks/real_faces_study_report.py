"""Tables, orders and figure of `benchmarks.real_faces_study`, from its runs alone."""

import pathlib
import statistics

from benchmarks import study_report
from benchmarks.real_faces_study_methods import METHODS
from keras_margin._utils import files
from keras_margin.plots import _figure

SETS = {"lfw": "LFW", "cfp_ff": "CFP-FF", "cfp_fp": "CFP-FP"}
BEGIN = "<!-- written by benchmarks/real_faces_study.py: begin -->"
END = "<!-- written by benchmarks/real_faces_study.py: end -->"
SEEDS, LONGER = (0, 1, 2), 4

# Orders in the papers' tables: of the first method above the second, on their sets of faces.
PAPERS = (
    ("ArcFace, table 2", "arcface", "normsoftmax"),
    ("ArcFace, table 2", "arcface", "softmax"),
    ("ArcFace, table 2", "arcface", "cosface"),
    ("ArcFace, table 2", "arcface", "sphereface"),
    ("ArcFace, table 2", "arcface", "combined_cm1"),
    ("ArcFace, table 2", "cosface", "sphereface"),
    ("ArcFace, table 2", "softmax", "normsoftmax"),
    ("ArcFace, table 2", "normsoftmax+intra", "normsoftmax"),
    ("ArcFace, table 2", "normsoftmax+inter", "normsoftmax"),
    ("IAM, tables 3 and 5", "normsoftmax+iam", "normsoftmax"),
    ("IAM, tables 4 and 5", "cosface+iam", "cosface"),
    ("IAM, table 5", "arcface+iam", "arcface"),
    ("IAM, table 5", "cosface", "normsoftmax"),
    ("QAMFace, table 3", "qamface", "arcface"),
    ("QAMFace, table 3", "qamface", "cosface"),
    ("AdaFace", "adaface", "curricularface"),
    ("AdaFace", "adaface", "magface"),
    ("MagFace", "magface", "arcface"),
    ("CurricularFace", "curricularface", "arcface"),
)


def summarize(runs, seeds=SEEDS, times=1):
    """Returns {method: its chosen settings, family and the values of each test figure, a seed each}.

    "mean" is the mean EER of the three sets. A method is left out until all its configurations and all seeds of the
    chosen one are there, at `times` the steps of the choice.
    """
    rows, shortest = {}, min((run["steps"] for run in runs), default=0)
    for method, known in METHODS.items():
        own = [run for run in runs if run["method"] == method]
        tried = [run for run in own if (run["seed"], run["steps"]) == (seeds[0], shortest)]
        best = study_report.chosen(tried) if len(tried) == len(known.grid) else None
        if best is None:
            continue
        wanted = best["configuration"], times * shortest
        final = {run["seed"]: run for run in own if (run["configuration"], run["steps"]) == wanted}
        if all(final.get(seed, {}).get("test") for seed in seeds):
            values = {name: [final[seed]["test"][name] for seed in seeds] for name in best["test"]}
            eers = zip(*(values[f"{name}_eer"] for name in SETS), strict=True)
            values["mean"] = [statistics.fmean(each) for each in eers]
            rows[method] = {"settings": best["settings"], "family": known.family, "values": values}
    return rows


def _sorted(rows):
    return sorted(rows.items(), key=lambda item: statistics.fmean(item[1]["values"]["mean"]))


def _cell(values):
    mean, spread = study_report.mean_and_spread(values)
    return f"{mean:.1f}" if spread is None else f"{mean:.1f} ± {spread:.1f}"


def tables(rows):
    """Markdown: EER with its interval over people; accuracy and TAR; the lowest mean EER first."""
    lines = ["### EER, per cent", "", f"| method | chosen | mean of the three | {' | '.join(SETS.values())} |"]
    lines.append("|---|---|---|" + "---|" * len(SETS))
    for method, row in _sorted(rows):
        values = row["values"]
        cells = [f"**{_cell(values['mean'])}**"]
        for name in SETS:
            low, high = (statistics.fmean(values[f"{name}_eer_{end}"]) for end in ("low", "high"))
            cells.append(f"{_cell(values[f'{name}_eer'])} ({low:.0f} to {high:.0f})")
        lines.append(f"| {method} | {study_report._settings(row['settings'])} | {' | '.join(cells)} |")
    heads = [f"{title}: {what}" for title in SETS.values() for what in ("accuracy", "TAR")]
    lines += ["", "### Accuracy, and TAR at FAR 2 %, per cent", "", f"| method | {' | '.join(heads)} |"]
    lines.append("|---|" + "---|" * len(heads))
    for method, row in _sorted(rows):
        cells = []
        for name in SETS:
            values = row["values"]
            low, high = (statistics.fmean(values[f"{name}_tar_{end}"]) for end in ("low", "high"))
            cells += [_cell(values[f"{name}_accuracy"]), f"{_cell(values[f'{name}_tar'])} ({low:.0f} to {high:.0f})"]
        lines.append(f"| {method} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def longer_table(short, long):
    """Markdown: the EERs of what ran longer, next to the mean that the same configuration had before."""
    lines = [f"| method | mean, as above | mean of the three | {' | '.join(SETS.values())} |"]
    lines.append("|---|---|---|" + "---|" * len(SETS))
    for method, row in _sorted(long):
        cells = [_cell(row["values"][f"{name}_eer"]) for name in SETS]
        means = f"{_cell(short[method]['values']['mean'])} | **{_cell(row['values']['mean'])}**"
        lines.append(f"| {method} | {means} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def verdict(better, worse):
    """How the mean EERs of two methods compare with the paper's order, in words.

    A difference no larger than the larger of the two standard deviations over seeds is called that.
    """
    gain = statistics.fmean(worse) - statistics.fmean(better)
    if abs(gain) <= max(statistics.stdev(better), statistics.stdev(worse)):
        return f"within a deviation ({gain:+.2f})"
    return f"as there ({gain:+.2f})" if gain > 0 else f"**the other way** ({gain:+.2f})"


def orders(rows):
    """Markdown: each order of the papers, and what became of it here; nothing of methods that did not run."""
    lines = ["| paper | order there | mean EER here |", "|---|---|---|"]
    for paper, better, worse in PAPERS:
        if better in rows and worse in rows:
            found = verdict(*(rows[name]["values"]["mean"] for name in (better, worse)))
            lines.append(f"| {paper} | {better} before {worse} | {found} |")
    return "\n".join(lines) + "\n"


def write_page(page, runs, seeds=SEEDS):
    """Puts origin, tables and orders between the page's two marks; nothing else of it changes."""
    page, rows = pathlib.Path(page), summarize(runs, seeds)
    text = page.read_text(encoding="utf-8")
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        raise ValueError(f"{page} needs one line {BEGIN} and one line {END}, between which the tables go.")
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    parts = [study_report.made_by(runs), tables(rows), "### The papers' orders", "", orders(rows)]
    long = summarize(runs, seeds, times=LONGER)
    if long:
        parts += [f"### At {LONGER} times the budget, EER", "", longer_table(rows, long), orders(long)]
    with files.atomic_write(page) as temporary:
        temporary.write_text(f"{before}{BEGIN}\n\n" + "\n".join(parts) + f"\n{END}{after}", encoding="utf-8")


def draw(rows, path):
    """A panel a set: each seed's EER and their mean, the lowest mean of all sets on top."""
    order = [method for method, _ in reversed(_sorted(rows))]
    figure, panels = _figure.panels(path, 1, len(SETS), (3.2, 1 + 0.23 * max(len(order), 6)))
    for axes, (name, title) in zip(panels[0], SETS.items(), strict=True):
        for height, method in enumerate(order):
            values = rows[method]["values"][f"{name}_eer"]
            color = _figure.COLORS[study_report.COLORS[rows[method]["family"]]]
            axes.plot([min(values), max(values)], [height, height], color=color, linewidth=1.2, alpha=0.6)
            axes.plot(values, [height] * len(values), "o", color=color, markersize=3, alpha=0.6)
            axes.plot(statistics.fmean(values), height, "|", color=color, markersize=12, markeredgewidth=2.2)
        axes.set_yticks(range(len(order)), order if axes is panels[0][0] else [""] * len(order), fontsize=8)
        axes.set_ylim(-0.7, len(order) - 0.3)
        axes.set_title(title, fontsize=10, color=_figure.INK)
        axes.set_xlabel("EER on unseen people, %")
    handles = [
        panels[0][0].plot([], [], "o-", color=_figure.COLORS[place], markersize=4, label=family)[0]
        for family, place in study_report.COLORS.items()
    ]
    _figure.legend_above(figure, handles, list(study_report.COLORS))
    return _figure.finish(figure, path)
