"""Tables of the alignment benchmark."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from isthmus.reading.storage import read_json

Row = dict[str, Any]
Markdown = Callable[[Sequence[str], Sequence[Sequence[str]]], str]
NAMES = {
    "none": "before",
    "infonce": "InfoNCE",
    "clear": "CLEAR",
    "clear-no-kl": "CLEAR, no divergence",
    "clear-alpha-0.6": "CLEAR, alpha 0.6",
    "clear-beta-0.4": "CLEAR, beta 0.4",
    "proximity": "proximity",
    "proximity-no-nce": "proximity, no contrast",
    "proximity-no-jsd": "proximity, no divergence",
}
MODELS = {"mini-bridge": "mini-bridge", "minilm": "MiniLM, source kept", "splade": "sparse, source kept"}
# Title, metric, and which rows: the pool, and whether the question is English (None: both).
COLUMNS: tuple[tuple[str, str, str, bool | None], ...] = (
    ("mixed: Max@R norm, en asks", "max@r_norm", "multi", True),
    ("L asks", "max@r_norm", "multi", False),
    ("mixed: Complete@10, en asks", "complete@10", "multi", True),
    ("L asks", "complete@10", "multi", False),
    ("mixed: English first, L asks", "english_first", "multi", False),
    ("nDCG@10: en to en", "ndcg@10", "mono-same", True),
    ("L to L", "ndcg@10", "mono-same", False),
    ("en to L", "ndcg@10", "mono-cross", True),
    ("L to en", "ndcg@10", "mono-cross", False),
)


def runs(results: Path) -> dict[tuple[str, str], list[list[Row]]]:
    """Rows of every seed, by model and loss."""
    found: dict[tuple[str, str], list[list[Row]]] = {}
    for path in sorted((results / "alignment").glob("*.*.*.json")):
        rows = read_json(path)["rows"]
        found.setdefault((rows[0]["model"], rows[0]["loss"]), []).append(rows)
    return found


def mean_of(rows: Iterable[Row], metric: str, pool: str, english: bool | None) -> float:
    """Mean over the languages that a column is about."""
    return fmean(
        row[metric]
        for row in rows
        if row["pool"] == pool and (english is None or (row["query_language"] == "en") == english)
    )


def alignment(results: Path, *, markdown: Markdown) -> str:
    """Before and after, means over seven languages and over seeds."""
    found = runs(results)
    table = []
    seeds = 0
    for model, name in MODELS.items():
        for loss, title in NAMES.items():
            by_seed = found.get((model, loss), [])
            if by_seed:
                seeds = max(seeds, len(by_seed))
                table.append([f"{name}: {title}", *(_cell(by_seed, *column[1:]) for column in COLUMNS)])
    one = next(iter(found.values()))[0]
    documents = sorted({row["documents"] for row in one if row["pool"] == "multi"})
    lines = [
        f"XQuAD, {one[0]['queries']} questions; English with each of ar, zh, hi, ru, de, es and vi: a mixed pool has "
        f"{' or '.join(map(str, documents))} passages, two of them relevant. Means over the languages and over {seeds} "
        "seeds, ± their standard deviation over seeds; trainings without it have one seed.",
    ]
    return markdown(["model: loss", *(column[0] for column in COLUMNS)], table) + "\n" + "\n".join(lines) + "\n"


def _cell(by_seed: Sequence[Sequence[Row]], metric: str, pool: str, english: bool | None) -> str:
    values = [mean_of(rows, metric, pool, english) for rows in by_seed]
    digits = 1 if metric in ("max@r_norm", "complete@10") else 3
    spread = f" ±{stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{fmean(values):.{digits}f}{spread}"


def alignment_languages(results: Path, *, markdown: Markdown) -> str:
    """Max@R_norm of the mixed pools by language, questions in that language."""
    found = runs(results)
    table = []
    languages: list[str] = []
    for model, name in MODELS.items():
        for loss, title in NAMES.items():
            by_seed = found.get((model, loss), [])
            if by_seed:
                asked = [
                    row for rows in by_seed for row in rows if row["pool"] == "multi" and row["query_language"] != "en"
                ]
                languages = languages or list(dict.fromkeys(row["query_language"] for row in asked))
                cells = [
                    f"{fmean(row['max@r_norm'] for row in asked if row['query_language'] == language):.1f}"
                    for language in languages
                ]
                table.append([f"{name}: {title}", *cells])
    return markdown(["model: loss", *languages], table)
