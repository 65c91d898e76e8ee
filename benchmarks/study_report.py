"""Tables and figure of the study, from its runs alone."""

import pathlib
import statistics

from benchmarks.study_methods import METHODS
from keras_margin._utils import files
from keras_margin.plots import _figure

MEASURES = {"eer": "EER", "accuracy": "accuracy", "tar": "TAR", "rank1": "rank 1"}
TITLES = {
    "glyphs": "Glyphs (type, not faces): 300 unseen kanji, TAR at FAR 0.1 %",
    "orl_open": "ORL, open set: 12 unseen people, TAR at FAR 1 %",
    "orl_closed": "ORL, closed set: 40 known people, TAR at FAR 1 %",
}
BEGIN, END = "<!-- written by benchmarks/study.py: begin -->", "<!-- written by benchmarks/study.py: end -->"
COLORS = {"softmax": 6, "margins": 0, "auxiliary losses": 1}

# Orders in the papers' tables: of the first method above the second, on their sets of faces.
PAPERS = (
    ("ArcFace, table 2", "arcface", "normsoftmax"),
    ("ArcFace, table 2", "arcface", "softmax"),
    ("ArcFace, table 2", "arcface", "cosface"),
    ("ArcFace, table 2", "arcface", "sphereface_arccos"),
    ("ArcFace, table 2", "arcface", "combined_cm1"),
    ("ArcFace, table 2", "arcface", "combined_cm2"),
    ("ArcFace, table 2", "cosface", "sphereface_arccos"),
    ("ArcFace, table 2", "softmax", "normsoftmax"),
    ("ArcFace, table 2", "normsoftmax+intra", "normsoftmax"),
    ("ArcFace, table 2", "normsoftmax+inter", "normsoftmax"),
    ("IAM, tables 3 and 5", "normsoftmax+iam", "normsoftmax"),
    ("IAM, tables 4 and 5", "cosface+iam", "cosface"),
    ("IAM, table 5", "arcface+iam", "arcface"),
    ("IAM, table 5", "cosface", "normsoftmax"),
    ("IAM, table 5", "l2softmax", "normsoftmax"),
    ("SphereFace, table 4", "sphereface", "lsoftmax"),
    ("SphereFace, table 4", "lsoftmax", "softmax"),
    ("SphereFace, table 4", "softmax+center", "softmax"),
    ("SphereFace, table 4", "softmax+contrastive", "softmax"),
    ("QAMFace, table 3", "qamface", "arcface"),
    ("QAMFace, table 3", "qamface", "cosface"),
)


def chosen(tried):
    """Of the configurations' runs the one with the lowest EER on validation classes; None where all diverged."""
    usable = [run for run in tried if run.get("validation") and run.get("test")]
    return min(usable, key=lambda run: (run["validation"]["eer"], run["configuration"]), default=None)


def summarize(runs, seeds):
    """What the tables show: by task and method, the chosen settings and each measure's value for each seed.

    A method is left out of a task until all its configurations and all seeds of the chosen one are there.
    """
    report = {}
    for task in TITLES:
        rows = {}
        for method, known in METHODS.items():
            own = [run for run in runs if (run["task"], run["method"]) == (task, method)]
            tried = [run for run in own if run["seed"] == seeds[0]]
            best = chosen(tried) if len(tried) == len(known.grid) else None
            if best is None:
                continue
            final = {run["seed"]: run for run in own if run["configuration"] == best["configuration"]}
            if all(final.get(seed, {}).get("test") for seed in seeds):
                values = {name: [final[seed]["test"][name] for seed in seeds] for name in MEASURES}
                rows[method] = {"settings": best["settings"], "family": known.family, "values": values}
        if rows:
            report[task] = rows
    return report


def mean_and_spread(values):
    """(mean, standard deviation of the sample); the second is None for one value."""
    return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None


def _cell(values):
    mean, spread = mean_and_spread(values)
    return f"{mean:.2f}" if spread is None else f"{mean:.2f} ± {spread:.2f}"


def _settings(settings):
    flat = {**settings, **{f"its {name}": value for name, value in settings.get("auxiliary_loss", {}).items()}}
    shown = {name.replace("_", " "): value for name, value in flat.items() if name not in _NOT_SHOWN}
    return ", ".join(f"{name} {value}" for name, value in shown.items())


# The same in all configurations of a method; benchmarks/study_methods.py has them.
_NOT_SHOWN = ("auxiliary_loss", "gamma", "base", "power", "lambda_min", "lower_norm", "upper_norm")


def tables(report):
    """Markdown: a table a task, the lowest EER first."""
    lines = []
    for task, rows in report.items():
        lines += [f"### {TITLES[task]}", "", f"| method | chosen | {' | '.join(MEASURES.values())} |"]
        lines += ["|---|---|" + "---|" * len(MEASURES)]
        for method, row in sorted(rows.items(), key=lambda item: mean_and_spread(item[1]["values"]["eer"])[0]):
            cells = " | ".join(_cell(row["values"][name]) for name in MEASURES)
            lines.append(f"| {method} | {_settings(row['settings'])} | {cells} |")
        lines.append("")
    return "\n".join(lines)


def verdict(better, worse):
    """How two methods' EER compare, seed by seed: the difference, and in words."""
    differences = [two - one for one, two in zip(better, worse, strict=True)]
    gain = statistics.fmean(differences)
    if min(differences) > 0:
        return f"as there ({gain:+.2f})"
    if max(differences) < 0:
        return f"**the other way** ({gain:+.2f})"
    return f"seeds differ ({gain:+.2f})"


def orders(report):
    """Markdown: each order of the papers, and what became of it here."""
    lines = [f"| paper | order there | {' | '.join(report)} |", "|---|---|" + "---|" * len(report)]
    for paper, better, worse in PAPERS:
        cells = []
        for rows in report.values():
            known = better in rows and worse in rows
            cells.append(verdict(*(rows[name]["values"]["eer"] for name in (better, worse))) if known else "not run")
        lines.append(f"| {paper} | {better} before {worse} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def made_by(runs):
    """The machines and the time, in words."""
    if not runs:
        return "Not yet measured.\n"
    seconds = sum(run.get("processor_seconds", 0) for run in runs)
    diverged = sum("diverged" in run for run in runs)
    machines = "; ".join(sorted({run["machine"] for run in runs}))
    return f"{len(runs)} runs, {seconds / 60:.0f} minutes of processor time, {diverged} of them diverged. {machines}.\n"


def write_page(page, report, runs):
    """Puts tables, orders and origin between the page's two marks; nothing else of it changes."""
    page = pathlib.Path(page)
    text = page.read_text(encoding="utf-8")
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        raise ValueError(f"{page} needs one line {BEGIN} and one line {END}, between which the tables go.")
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    parts = [made_by(runs)]
    if report:
        parts += [tables(report), "### The papers' orders", "", orders(report)]
    with files.atomic_write(page) as temporary:
        temporary.write_text(f"{before}{BEGIN}\n\n" + "\n".join(parts) + f"\n{END}{after}", encoding="utf-8")


def draw(report, path, measure="eer"):
    """A panel a task: each seed's EER and their mean, methods in the order of the first panel."""
    made = {method for rows in report.values() for method in rows}
    order = sorted(made, key=lambda name: (_place(report, name, measure), name), reverse=True)
    figure, panels = _figure.panels(path, 1, len(report), (3.6, 1 + 0.23 * max(len(order), 6)))
    for axes, (task, rows) in zip(panels[0], report.items(), strict=True):
        for height, method in enumerate(order):
            if method not in rows:
                continue
            values = rows[method]["values"][measure]
            color = _figure.COLORS[COLORS[rows[method]["family"]]]
            axes.plot([min(values), max(values)], [height, height], color=color, linewidth=1.2, alpha=0.6)
            axes.plot(values, [height] * len(values), "o", color=color, markersize=3, alpha=0.6)
            axes.plot(statistics.fmean(values), height, "|", color=color, markersize=12, markeredgewidth=2.2)
        names = order if axes is panels[0][0] else [""] * len(order)
        axes.set_yticks(range(len(order)), names, fontsize=8)
        axes.set_ylim(-0.7, len(order) - 0.3)
        axes.set_title(TITLES[task].split(":")[0], fontsize=10, color=_figure.INK)
        axes.set_xlabel("EER on unseen images, %")
    handles = [
        panels[0][0].plot([], [], "o-", color=_figure.COLORS[place], markersize=4, label=family)[0]
        for family, place in COLORS.items()
    ]
    _figure.legend_above(figure, handles, list(COLORS))
    return _figure.finish(figure, path)


def _place(report, method, measure):
    """The mean in the first task that has the method."""
    rows = next(rows for rows in report.values() if method in rows)
    return statistics.fmean(rows[method]["values"][measure])
