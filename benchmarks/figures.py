"""Draw the figures of the documentation from the result files: docs/figures/study-*.svg and alignment.svg."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from statistics import fmean
from typing import Any

import matplotlib as mpl

from benchmarks.harness import LANGUAGES, RESULTS, ROOT
from benchmarks.suites.alignment_tables import MODELS, OWN, mean_of, name_of, runs
from benchmarks.suites.study_tables import NAMES, STAGES, SWEEP, Found, read

mpl.use("svg")
# The same file for the same numbers.
mpl.rcParams.update({"svg.hashsalt": "isthmus", "font.size": 9, "axes.spines.top": False, "axes.spines.right": False})

from matplotlib import pyplot as plt  # noqa: E402

COLORS = dict(zip(NAMES, ["#000000", "#9e9e9e", "#bcbd22", "#8c564b", "#e377c2", "#9467bd", "#ff7f0e", "#2ca02c",
                          "#17becf", "#7fb3d5", "#1f77b4", "#0b3c6f", "#d62728"], strict=True))  # fmt: skip
# Title, metric, and whether the question is English.
PANELS = (
    ("mixed pools, English asks", "max@r_norm", True),
    ("mixed pools, the other language asks", "max@r_norm", False),
    ("English first, the other language asks", "english_first", False),
)
# Times as far as all others, a loss is told by a number.
FAR = 4
BETTER = {True: "#1f77b4", False: "#d62728"}


def save(figure: Any, name: str) -> None:
    """Write a figure."""
    folder = ROOT / "docs" / "figures"
    folder.mkdir(exist_ok=True)
    figure.savefig(folder / f"{name}.svg", metadata={"Date": None}, bbox_inches="tight")
    plt.close(figure)


def convergence(found: Found) -> None:
    """Development nDCG@10 by step, one panel per language."""
    figure, panels = plt.subplots(1, len(LANGUAGES), figsize=(12, 3), sharey=True)
    for panel, language in zip(panels, LANGUAGES, strict=True):
        for method, name in NAMES.items():
            row = found.get((method, "fine-tuned"), {}).get(language)
            if row:
                points = row["training"]["development"]["evaluations"]
                panel.plot([p["step"] for p in points], [p["ndcg@10"] for p in points], label=name,
                           color=COLORS[method], marker=".", linewidth=2 if method == "sembridge" else 1)  # fmt: skip
        panel.set_title(language)
        panel.set_xlabel("step")
    panels[0].set_ylabel("nDCG@10, development sections")
    # Not every language has every method.
    handles, labels = max((panel.get_legend_handles_labels() for panel in panels), key=lambda found: len(found[0]))
    figure.legend(handles, labels, loc="lower center", ncols=6, bbox_to_anchor=(0.5, -0.22), frameon=False)
    save(figure, "study-convergence")


def sparsity(found: Found) -> None:
    """nDCG@10 by FLOPS as vectors are cut, means over the languages, one panel per stage."""
    stages = [stage for stage in STAGES if len(found.get(("sembridge", stage), {})) == len(LANGUAGES)]
    figure, panels = plt.subplots(1, len(stages), figsize=(5 * len(stages), 3.6), sharey=True, squeeze=False)
    panels = panels[0]
    for panel, stage in zip(panels, stages, strict=True):
        for method, name in NAMES.items():
            rows = list(found.get((method, stage), {}).values())
            if method != "bm25" and len(rows) == len(LANGUAGES):
                curve = [[*row["pruned"], {"ndcg@10": row["ndcg@10"], "flops": row["flops"]}] for row in rows]
                points = [(fmean(p["flops"] for p in cut), fmean(p["ndcg@10"] for p in cut)) for cut in zip(*curve)]  # noqa: B905
                panel.plot(*zip(*points, strict=True), label=name, color=COLORS[method], marker=".")
        lines = found.get(("bm25", "zero-shot"), {})
        if lines:
            panel.axhline(fmean(row["ndcg@10"] for row in lines.values()), color="black", linestyle=":", label="BM25")
        panel.set_title(stage)
        panel.set_xlabel("FLOPS")
        panel.set_xscale("log")
    panels[0].set_ylabel("nDCG@10, mean of five languages")
    panels[-1].legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
    save(figure, "study-sparsity")


def alphas(found: Found) -> None:
    """nDCG@10 before training by alpha, one line per language."""
    figure, panel = plt.subplots(figsize=(5, 3))
    for language in LANGUAGES:
        rows = {alpha: found.get((f"sembridge-alpha-{alpha}", "zero-shot"), {}).get(language) for alpha in SWEEP}
        known = [(float(alpha), row["ndcg@10"]) for alpha, row in rows.items() if row]
        if known:
            panel.plot(*zip(*known, strict=True), label=language, marker=".")
    panel.set_xlabel("alpha")
    panel.set_ylabel("nDCG@10")
    panel.legend(frameon=False)
    save(figure, "study-alpha")


def alignment() -> None:
    """One row of panels for each encoder: every seed a dot, the encoder before alignment a line."""
    found = runs(RESULTS)
    models = [model for model in MODELS if (model, "infonce") in found]
    figure, panels = plt.subplots(len(models), len(PANELS), figsize=(11, 2.2 * len(models)), squeeze=False, sharey=True)
    losses = [loss for loss in OWN if loss != "none"]
    for line, model in zip(panels, models, strict=True):
        for panel, (title, metric, english) in zip(line, PANELS, strict=True):
            start = mean_of(found[model, "none"][0], metric, "multi", english)
            panel.axvline(start, color="#9e9e9e", linestyle=":")
            seeds = {
                loss: [mean_of(rows, metric, "multi", english) for rows in found.get((model, loss), [])]
                for loss in losses
            }
            away = {loss: abs(fmean(values) - start) for loss, values in seeds.items() if values}
            *_, second, furthest = sorted(away.values())
            for place, (loss, values) in enumerate(seeds.items()):
                if values:
                    far = away[loss] == furthest > FAR * second
                    one_loss(panel, place, values, start, less_is_better=metric == "english_first", far=far)
            panel.set_yticks(range(len(losses)), [name_of(loss) for loss in losses])
            panel.set_xlabel("Max@R norm" if metric == "max@r_norm" else "share of questions")
            panel.set_title(title if model == models[0] else "")
        line[0].set_ylabel(MODELS[model], fontweight="bold")
    panels[0][0].invert_yaxis()
    figure.tight_layout()
    save(figure, "alignment")


def one_loss(panel: Any, place: int, values: list[float], start: float, *, less_is_better: bool, far: bool) -> None:
    """Seeds of a loss as dots, blue where their mean is better than before and red where not; in figures if far off."""
    mean = fmean(values)
    color = BETTER[(mean < start) == less_is_better]
    if far:
        text, side = (f"{mean:.3g} ◂ ", "right") if mean < start else (f" ▸ {mean:.3g}", "left")
        panel.text(start, place, text, color=color, ha=side, va="center", fontsize=8)
    else:
        panel.plot([start, mean], [place, place], color=color, linewidth=1)
        panel.scatter(values, [place] * len(values), color=color, s=14, zorder=2)


def main(argv: Sequence[str] | None = None) -> None:
    """Draw what has been measured."""
    argparse.ArgumentParser(prog="python -m benchmarks figures", description=__doc__).parse_args(argv)
    found = read(RESULTS / "study.json")
    sparsity(found)
    if ("sembridge", "fine-tuned") in found:
        convergence(found)
    if ("sembridge-alpha-4", "zero-shot") in found:
        alphas(found)
    alignment()
