"""Tables of the study on published weights."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from benchmarks.harness import BRIDGE, ENCODER, LANGUAGES, LEVEL, Results, arrow, markdown
from benchmarks.suites.study_published import E5, PAIRS, STAGES, TINY, WITHOUT_BRIDGE, Place
from benchmarks.suites.study_tables import BASELINES, NAMES
from isthmus.evaluation import paired_bootstrap

TITLES = {TINY: "splade-tiny", ENCODER: "mini-splade-en", E5: "e5-small", BRIDGE: "mini-bridge"}
REFERENCE = "sembridge"
SEEDS = range(3)
# By language, one array a seed.
Measured = dict[str, list[Any]]


class Published:
    """Scores by query of the cells that were measured."""

    def __init__(self, results: Path) -> None:
        self.results = Results(results / "study_published.json")
        self.scores = self.results.scores()

    def of(self, pair: tuple[str, str], method: str, stage: str) -> Measured:
        """Those of a method by language."""
        encoder, bridge = (pair[0], None if method in WITHOUT_BRIDGE else pair[1])
        if method == "bm25":
            # It has no encoder, and is not trained.
            encoder, stage = None, STAGES[0]
        found: Measured = {}
        for language in LANGUAGES:
            names = [str(Place(encoder, bridge, language, method, stage, seed)) for seed in SEEDS]
            scores = [self.scores[name]["ndcg"] for name in names if name in self.results.by_name]
            if scores:
                found[language] = scores
        return found

    def by_query(self, pair: tuple[str, str], method: str, stage: str) -> dict[str, Any]:
        """Means over the seeds by language."""
        return {language: np.mean(scores, axis=0) for language, scores in self.of(pair, method, stage).items()}

    def column(self, pair: tuple[str, str], stage: str) -> bool:
        """Whether a method has been measured with this bridge in all languages."""
        bridged = [name for name in NAMES if name not in WITHOUT_BRIDGE]
        return any(len(self.of(pair, name, stage)) == len(LANGUAGES) for name in bridged)


def means_table(results: Path) -> str:
    """Means over the languages: methods by encoder, bridge and stage, beside the study before."""
    found = Published(results)
    old = {
        (cell["language"], cell["method"], cell["stage"]): cell["ndcg@10"]
        for cell in Results(results / "study.json").cells
    }
    columns: list[tuple[str, tuple[str, str] | None]] = []
    for stage in STAGES:
        columns += [(stage, pair) for pair in PAIRS if found.column(pair, stage)] + [(stage, None)]
    table = []
    for method, name in NAMES.items():
        cells = []
        for stage, pair in columns:
            if pair is not None:
                cells.append(_mean(found, pair, method, stage))
            else:
                at = STAGES[0] if method == "bm25" else stage
                kept = [old[code, method, at] for code in LANGUAGES if (code, method, at) in old]
                cells.append(f"{fmean(kept):.3f}" if len(kept) == len(LANGUAGES) else "")
        table.append([name, *cells])
    header = ["method"]
    for stage, pair in columns:
        names = ", ".join(TITLES[side] for side in pair or (ENCODER, BRIDGE))
        header.append(f"{stage}: {names}{'' if pair else ' (study above)'}")
    sizes = {cell["language"]: cell["documents"] for cell in found.results.cells}
    lines = [
        f"Mean nDCG@10 over {', '.join(LANGUAGES)}; empty where a language was not measured. "
        f"{found.results.cells[0]['queries']} questions a language; passages: "
        + ", ".join(f"{code} {size:,}" for code, size in sorted(sizes.items()))
        + ".",
        f"▲ ▼: above or below sembridge of the same column, paired bootstrap over all questions, p < {LEVEL}. In",
        "brackets the seeds where they are not one. *Study above*: bridge as it comes, 200 more passages.",
        BASELINES,
    ]
    return markdown(header, table, lines)


def _mean(found: Published, pair: tuple[str, str], method: str, stage: str) -> str:
    """The mean over the languages, with an arrow and the number of seeds."""
    own, reference = (found.by_query(pair, name, stage) for name in (method, REFERENCE))
    if len(own) < len(LANGUAGES):
        return ""
    text = f"{fmean(float(scores.mean()) for scores in own.values()):.3f}"
    if method != REFERENCE and len(reference) == len(LANGUAGES):
        sides = [np.concatenate([side[code] for code in LANGUAGES]) for side in (own, reference)]
        text += arrow(paired_bootstrap(*sides).to_dict())
    seeds = min(len(scores) for scores in found.of(pair, method, stage).values())
    return text + (f" ({seeds})" if seeds > 1 else "")


def languages_table(results: Path, *, stage: str) -> str:
    """nDCG@10 by method and language for the first encoder and bridge."""
    found = Published(results)
    table = []
    for method, name in NAMES.items():
        scores = {code: float(own.mean()) for code, own in found.by_query(PAIRS[0], method, stage).items()}
        if scores:
            mean = f"{fmean(scores.values()):.3f}" if len(scores) == len(LANGUAGES) else ""
            table.append([name, *(f"{scores[code]:.3f}" if code in scores else "" for code in LANGUAGES), mean])
    return markdown(["method", *LANGUAGES, "mean"], table)


def cost_table(results: Path) -> str:
    """FLOPS and active dimensions for the first encoder and bridge, means over the languages."""
    found, table = Published(results), []
    for method, name in [one for one in NAMES.items() if one[0] != "bm25"]:
        texts = []
        for stage in STAGES:
            encoder, bridge = PAIRS[0][0], None if method in WITHOUT_BRIDGE else PAIRS[0][1]
            names = [str(Place(encoder, bridge, code, method, stage, 0)) for code in LANGUAGES]
            cells = [found.results.by_name[name] for name in names if name in found.results.by_name]
            if len(cells) < len(LANGUAGES):
                texts += ["", ""]
                continue
            dims = [fmean(cell[f"{role}_active_dims"] for cell in cells) for role in ("query", "document")]
            texts += [f"{fmean(cell['flops'] for cell in cells):.1f}", f"{dims[0]:.0f}, {dims[1]:.0f}"]
        if any(texts):
            table.append([name, *texts])
    return markdown(["method", *(title for stage in STAGES for title in (f"{stage}: FLOPS", "dims"))], table)


TABLES = {
    "study-published": means_table,
    **{f"study-published-{stage}": partial(languages_table, stage=stage) for stage in STAGES},
    "study-published-cost": cost_table,
}
