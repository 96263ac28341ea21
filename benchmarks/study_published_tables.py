"""Tables of the study on published weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from study_published import E5, LANGUAGES, MINI, MINI_BRIDGE, PAIRS, STAGES, TINY, TUNED_ON, WITHOUT_BRIDGE, Place
from study_tables import BASELINES, LEVEL, NAMES

from isthmus.evaluation import paired_bootstrap
from isthmus.reading.storage import read_json

Markdown = Callable[[Sequence[str], Sequence[Sequence[str]]], str]
TITLES = {TINY: "splade-tiny", MINI: "mini-splade-en", E5: "e5-small", MINI_BRIDGE: "mini-bridge"}
REFERENCE = "sembridge"


class Results:
    """The cells of the study, with their scores by query."""

    def __init__(self, results: Path) -> None:
        self.content = read_json(results / "study_published.json")
        with np.load(results / "study_published.npz") as scores:
            self.scores = dict(scores)

    def seeds(self, pair: tuple[str, str], method: str, stage: str) -> dict[str, list[dict[str, Any]]]:
        """Cells of a method by language, one for every seed."""
        place = {"encoder": pair[0], "bridge": None if method in WITHOUT_BRIDGE else pair[1], "stage": stage}
        if method == "bm25":
            # It has no encoder, and is not trained.
            place = {"encoder": None, "bridge": None, "stage": STAGES[0]}
        found: dict[str, list[dict[str, Any]]] = {}
        for language in LANGUAGES:
            key = place | {"language": language, "method": method}
            cells = [row for row in self.content["rows"] if key.items() <= row.items()]
            if cells:
                found[language] = cells
        return found

    def by_query(self, pair: tuple[str, str], method: str, stage: str) -> dict[str, Any]:
        """nDCG@10 of every question by language, averaged over seeds."""
        return {
            language: np.mean([self.scores[_name(row)] for row in rows], axis=0)
            for language, rows in self.seeds(pair, method, stage).items()
        }


def _name(row: dict[str, Any]) -> str:
    return str(Place(**{field.name: row[field.name] for field in fields(Place)}))


def study_published(results: Path, *, markdown: Markdown) -> str:
    """Means over the languages: methods by encoder, bridge and stage, beside the study before."""
    found = Results(results)
    old = {
        (row["language"], row["method"], row["stage"]): row["ndcg@10"]
        for row in read_json(results / "study" / "summary.json")["rows"]
    }
    columns: list[tuple[str, tuple[str, str] | None]] = []
    for stage in STAGES:
        columns += [(stage, pair) for pair in PAIRS if _measured(found, pair, stage)] + [(stage, None)]
    table = []
    for method, name in NAMES.items():
        cells = []
        for stage, pair in columns:
            if pair is not None:
                cells.append(_mean(found, pair, method, stage))
            else:
                kept = [old.get((code, method, "zero-shot" if method == "bm25" else stage)) for code in LANGUAGES]
                cells.append("" if None in kept else f"{fmean(value for value in kept if value is not None):.3f}")
        table.append([name, *cells])
    header = ["method"]
    for stage, pair in columns:
        names = (TITLES[side] for side in pair or (MINI, MINI_BRIDGE))
        header.append(f"{stage}: {', '.join(names)}{'' if pair else ' (study above)'}")
    sizes = {row["language"]: row["documents"] for row in found.content["rows"]}
    trained = [row for row in found.content["rows"] if row["stage"] == STAGES[1]]
    lines = [
        "Mean nDCG@10 over ar, hi, ko, ru and zh; empty where a language was not measured. "
        f"{found.content['rows'][0]['queries']} questions a language; passages: "
        + ", ".join(f"{language} {sizes[language]}" for language in sorted(sizes))
        + ".",
        f"▲ ▼: above or below sembridge of the same column, paired bootstrap over all questions, p < {LEVEL}. In "
        "brackets the seeds",
        f"where they are not one. {len(trained)} encoders were trained. *Study above*: bridge as it comes, "
        "200 more passages.",
        BASELINES,
    ]
    return markdown(header, table) + "\n" + "\n".join(lines) + "\n"


def _measured(found: Results, pair: tuple[str, str], stage: str) -> bool:
    """Whether any method has been measured with a bridge in all languages."""
    return any(len(found.seeds(pair, name, stage)) == len(LANGUAGES) for name in NAMES if name not in WITHOUT_BRIDGE)


def _mean(found: Results, pair: tuple[str, str], method: str, stage: str) -> str:
    """The mean over the languages, with an arrow and the number of seeds."""
    own = found.by_query(pair, method, stage)
    if len(own) < len(LANGUAGES):
        return ""
    seeds = min(len(rows) for rows in found.seeds(pair, method, stage).values())
    text = f"{fmean(float(scores.mean()) for scores in own.values()):.3f}"
    reference = found.by_query(pair, REFERENCE, stage)
    if method != REFERENCE and len(reference) == len(LANGUAGES):
        test = paired_bootstrap(*(np.concatenate([side[code] for code in LANGUAGES]) for side in (own, reference)))
        if test.p_value < LEVEL:
            text += " ▲" if test.difference > 0 else " ▼"
    return text + (f" ({seeds})" if seeds > 1 else "")


def study_published_languages(results: Path, *, markdown: Markdown, pair: tuple[str, str], stage: str) -> str:
    """nDCG@10 by method and language for one encoder and bridge."""
    found = Results(results)
    table = []
    for method, name in NAMES.items():
        scores = {code: float(own.mean()) for code, own in found.by_query(pair, method, stage).items()}
        if scores:
            mean = f"{fmean(scores.values()):.3f}" if len(scores) == len(LANGUAGES) else ""
            table.append([name, *(f"{scores[code]:.3f}" if code in scores else "" for code in LANGUAGES), mean])
    return markdown(["method", *LANGUAGES, "mean"], table)


def study_published_rates(results: Path, *, markdown: Markdown) -> str:
    """Development nDCG@10 by learning rate."""
    rows = Results(results).content["rates"]
    rates = sorted({row["learning_rate"] for row in rows})
    table = []
    for method in dict.fromkeys(row["method"] for row in rows):
        by_rate = {row["learning_rate"]: row["development"] for row in rows if row["method"] == method}
        before = next(iter(by_rate.values()))["before"]
        table.append([NAMES[method], f"{before:.3f}", *(f"{by_rate[rate]['best']:.3f}" for rate in rates)])
    means = [fmean(row["development"]["best"] for row in rows if row["learning_rate"] == rate) for rate in rates]
    table.append(["mean", "", *(f"**{mean:.3f}**" if mean == max(means) else f"{mean:.3f}" for mean in means)])
    return markdown(["method", "before", *(f"{rate:g}" for rate in rates)], table) + (
        f"\nnDCG@10 on development sections ({TUNED_ON}), splade-tiny with e5-small.\n"
    )
