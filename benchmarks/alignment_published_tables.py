"""Tables of the benchmark that aligns a published model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from alignment_published import ABLATIONS, ARMS, BEFORE, DEVELOPED, LANGUAGES, LOSSES

from isthmus.reading.storage import read_json

Row = dict[str, Any]
Markdown = Callable[[Sequence[str], Sequence[Sequence[str]]], str]
NAMES = {
    "none": "as published",
    "none-prompts": "as published, prompts",
    "infonce": "InfoNCE",
    "clear": "CLEAR",
    "proximity": "proximity",
}
PARTS = {
    "no-kl": "no divergence",
    "no-jsd": "no divergence",
    "no-nce": "no contrast",
    "scale-1": "scale 1",
    "prompts": "prompts",
    "negatives": "1 negative",
}
# Title, metric, pool, whether the question is English.
MIXED: tuple[tuple[str, str, str, bool], ...] = (
    ("mixed: Complete@10, en asks", "complete@10", "multi", True),
    ("L asks", "complete@10", "multi", False),
    ("mixed: Max@R norm, en asks", "max@r_norm", "multi", True),
    ("L asks", "max@r_norm", "multi", False),
    ("mixed: English first, L asks", "english_first", "multi", False),
)
DIRECTIONS = (
    ("nDCG@10: en to en", "ndcg@10", "mono-same", True),
    ("L to L", "ndcg@10", "mono-same", False),
    ("en to L", "ndcg@10", "mono-cross", True),
    ("L to en", "ndcg@10", "mono-cross", False),
)
COPIES = (
    *MIXED[:4],
    ("mixed: Max@R, en asks", "max@r", "multi", True),
    ("L asks", "max@r", "multi", False),
)
# Cells of arXiv 2604.05684 on XQuAD that are known at second hand: by language and model, in the order of COPIES.
PAPER = (
    ("ar", "paper, e5-base as published", ("", "8.91", "", "", "", "")),
    ("ar", "paper, e5-base aligned by its proximity", ("", "53.53", "", "", "", "")),
    ("zh", "paper, e5-base as published", ("", "0.50", "", "", "", "650.95")),
    ("zh", "paper, e5-base aligned by its proximity", ("", "55.88", "", "", "", "23.10")),
    ("es", "paper, jina-v3 as published", ("68.32", "", "", "", "", "")),
    ("es", "paper, jina-v3 aligned by its proximity", ("75.63", "", "", "", "", "")),
)


def name_of(arm: str) -> str:
    """What an arm is called in tables."""
    if arm in NAMES:
        return NAMES[arm]
    loss, _, part = arm.partition("-")
    return f"{NAMES[loss]}, {PARTS[part]}"


def runs(results: Path) -> dict[tuple[str, str], list[list[Row]]]:
    """Rows of every seed, by language and arm."""
    found: dict[tuple[str, str], list[list[Row]]] = {}
    for path in sorted((results / "alignment_published").glob("*.*.*.json")):
        rows = read_json(path)["rows"]
        found.setdefault((rows[0]["language"], rows[0]["arm"]), []).append(rows)
    return found


def cell(by_seed: Sequence[Sequence[Row]], copies: bool, metric: str, pool: str, english: bool) -> str:
    """Mean over the seeds, with its standard deviation where there are several."""
    values = [
        row[metric]
        for rows in by_seed
        for row in rows
        if row["keep_copies"] == copies and row["pool"] == pool and (row["query_language"] == "en") == english
    ]
    digits = 3 if metric in ("ndcg@10", "english_first") else 1
    spread = f" ±{stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{fmean(values):.{digits}f}{spread}"


def table(
    results: Path,
    markdown: Markdown,
    languages: Sequence[str],
    arms: Sequence[str],
    columns: Sequence[tuple[str, str, str, bool]],
    *,
    copies: bool = False,
    paper: Sequence[tuple[str, str, Sequence[str]]] = (),
) -> str:
    """A row for each language and arm that was measured, those of ``paper`` after their language's."""
    found = runs(results)
    rows = []
    for language in languages:
        measured = [arm for arm in arms if (language, arm) in found]
        for arm in measured:
            by_seed = found[language, arm]
            seeds = f" ({len(by_seed)} seeds)" if len(by_seed) > 1 else ""
            rows.append([f"en-{language}: {name_of(arm)}{seeds}", *(cell(by_seed, copies, *c[1:]) for c in columns)])
        if measured:
            rows += [[f"en-{language}: {name}", *cells] for code, name, cells in paper if code == language]
    return markdown(["languages: loss", *(column[0] for column in columns)], rows)


def alignment_published(results: Path, *, markdown: Markdown) -> str:
    """Mixed pools, before and after, each language."""
    return table(results, markdown, LANGUAGES, ("none", *LOSSES), MIXED) + _pool(results, copies=False)


def alignment_published_directions(results: Path, *, markdown: Markdown) -> str:
    """English alone, the language alone, and across."""
    return table(results, markdown, LANGUAGES, ("none", *LOSSES), DIRECTIONS)


def alignment_published_copies(results: Path, *, markdown: Markdown) -> str:
    """Mixed pools that keep copies, beside what is known of the paper's."""
    found = table(results, markdown, LANGUAGES, ("none", *LOSSES), COPIES, copies=True, paper=PAPER)
    return found + _pool(results, copies=True)


def alignment_published_arms(results: Path, *, markdown: Markdown) -> str:
    """Ablations, scales, prompts and negatives on one language."""
    others = [arm for arm in ARMS if arm not in LOSSES and arm not in ABLATIONS]
    arms = (*BEFORE, *LOSSES, *ABLATIONS, *others)
    return table(results, markdown, (DEVELOPED,), arms, (*MIXED, *DIRECTIONS))


def _pool(results: Path, *, copies: bool) -> str:
    """What was searched, in words."""
    rows = [row for found in runs(results).values() for row in found[0]]
    row = next(row for row in rows if row["pool"] == "multi" and row["keep_copies"] == copies)
    kind = "a copy of its passage for each question in each language" if copies else "each distinct text once"
    return (
        f"\nXQuAD, all {row['queries']:,} questions in each language; a mixed pool has {row['documents']:,} passages, "
        f"{kind}, {row['golds']:.0f} of them relevant. L is the other language.\n"
    )
