"""Figure of the alignment benchmark, from its results.

python benchmarks/alignment_figures.py       writes docs/figures/alignment.svg
"""

from __future__ import annotations

from statistics import fmean
from typing import Any

from alignment_tables import MODELS, NAMES, mean_of, runs
from study_figures import ROOT, plt, save

# Title, metric, and whether the question is English.
PANELS = (
    ("mixed pools, English asks", "max@r_norm", True),
    ("mixed pools, the other language asks", "max@r_norm", False),
    ("English first, the other language asks", "english_first", False),
)
# Times as far as all others, a loss is told by a number.
FAR = 4
COLORS = {True: "#1f77b4", False: "#d62728"}


def main() -> None:
    """One row of panels for each encoder: every seed a dot, the encoder before alignment a line."""
    found = runs(ROOT / "benchmarks" / "results")
    models = [model for model in MODELS if (model, "infonce") in found]
    figure, panels = plt.subplots(len(models), len(PANELS), figsize=(11, 2.2 * len(models)), squeeze=False, sharey=True)
    losses = [loss for loss in NAMES if loss != "none"]
    for line, model in zip(panels, models, strict=True):
        for panel, (title, metric, english) in zip(line, PANELS, strict=True):
            before = found[model, "none"][0]
            start = mean_of(before, metric, "multi", english)
            panel.axvline(start, color="#9e9e9e", linestyle=":")
            seeds = {
                loss: [mean_of(rows, metric, "multi", english) for rows in found.get((model, loss), [])]
                for loss in losses
            }
            away = {loss: abs(fmean(values) - start) for loss, values in seeds.items() if values}
            *_, second, furthest = sorted(away.values())
            for place, (loss, values) in enumerate(seeds.items()):
                if values and away[loss] == furthest > FAR * second:
                    number(panel, place, fmean(values), start, less_is_better=metric == "english_first")
                elif values:
                    dots(panel, place, values, start, less_is_better=metric == "english_first")
            panel.set_yticks(range(len(losses)), [NAMES[loss] for loss in losses])
            panel.set_xlabel("Max@R norm" if metric == "max@r_norm" else "share of questions")
            panel.set_title(title if model == models[0] else "")
        line[0].set_ylabel(MODELS[model], fontweight="bold")
    panels[0][0].invert_yaxis()
    figure.tight_layout()
    save(figure, "alignment")


def dots(panel: Any, place: int, values: list[float], start: float, *, less_is_better: bool) -> None:
    """Seeds of one loss, blue where their mean is better than before and red where it is worse."""
    mean = fmean(values)
    color = COLORS[(mean < start) == less_is_better]
    panel.plot([start, mean], [place, place], color=color, linewidth=1)
    panel.scatter(values, [place] * len(values), color=color, s=14, zorder=2)


def number(panel: Any, place: int, mean: float, start: float, *, less_is_better: bool) -> None:
    """A loss that is far off the axis, in figures."""
    color = COLORS[(mean < start) == less_is_better]
    text, side = (f"{mean:.3g} ◂ ", "right") if mean < start else (f" ▸ {mean:.3g}", "left")
    panel.text(start, place, text, color=color, ha=side, va="center", fontsize=8)


if __name__ == "__main__":
    main()
