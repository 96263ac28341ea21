"""Figures of the study, from its summary.

python benchmarks/study_figures.py       writes docs/figures/study-*.svg
"""

from __future__ import annotations

from pathlib import Path
from statistics import fmean
from typing import Any

import matplotlib as mpl
from study_tables import LANGUAGES, NAMES, SWEEP, read

mpl.use("svg")
# The same file for the same numbers.
mpl.rcParams.update({"svg.hashsalt": "isthmus", "font.size": 9, "axes.spines.top": False, "axes.spines.right": False})

from matplotlib import pyplot as plt  # noqa: E402

ROOT = Path(__file__).parent.parent
COLORS = dict(zip(NAMES, ["#000000", "#9e9e9e", "#bcbd22", "#8c564b", "#e377c2", "#9467bd", "#ff7f0e", "#2ca02c",
                          "#17becf", "#7fb3d5", "#1f77b4", "#0b3c6f", "#d62728"], strict=True))  # fmt: skip
Found = dict[tuple[str, str], dict[str, Any]]


def save(figure: Any, name: str) -> None:
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
    stages = [
        stage for stage in ("zero-shot", "fine-tuned") if len(found.get(("sembridge", stage), {})) == len(LANGUAGES)
    ]
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
        points = [
            (float(alpha), found.get((f"sembridge-alpha-{alpha}", "zero-shot"), {}).get(language)) for alpha in SWEEP
        ]
        known = [(alpha, row["ndcg@10"]) for alpha, row in points if row]
        if known:
            panel.plot(*zip(*known, strict=True), label=language, marker=".")
    panel.set_xlabel("alpha")
    panel.set_ylabel("nDCG@10")
    panel.legend(frameon=False)
    save(figure, "study-alpha")


def main() -> None:
    """Draw what has been measured."""
    found = read(ROOT / "benchmarks" / "results")["found"]
    sparsity(found)
    if ("sembridge", "fine-tuned") in found:
        convergence(found)
    if ("sembridge-alpha-4", "zero-shot") in found:
        alphas(found)


if __name__ == "__main__":
    main()
