"""Tables of alignment, of encoders made here and of a published model."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from benchmarks.harness import Results, Row, markdown

# Of the published model; learning rates are chosen in the first one.
LANGUAGES = ("ar", "zh", "ru", "de", "es", "hi", "vi")
DEVELOPED = "ar"
LOSSES = ("infonce", "clear", "proximity")
# Neither prompts nor negatives unless an arm has them; cosines times 20.
PLAIN: dict[str, Any] = {"negatives": 0, "query_prompt": "", "passage_prompt": ""}
# The encoder's own prompts, "query: " and "passage: ".
PROMPTED: dict[str, Any] = {"negatives": 0}
ABLATIONS: dict[str, dict[str, Any]] = {
    "clear-no-kl": {"loss": "clear", "kl": False},
    "proximity-no-jsd": {"loss": "proximity", "jsd_weight": 0.0},
    "proximity-no-nce": {"loss": "proximity", "nce_weight": 0.0},
    **{f"{loss}-scale-1": {"loss": loss, "scale": 1.0} for loss in ("proximity", "clear", "infonce")},
}
ARMS: dict[str, dict[str, Any]] = {
    **{loss: {"loss": loss, **PLAIN} for loss in LOSSES},
    **{arm: {**PLAIN, **options} for arm, options in ABLATIONS.items()},
    **{f"{loss}-prompts": {"loss": loss, **PROMPTED} for loss in LOSSES},
    **{f"{loss}-negatives": {"loss": loss, **PLAIN, "negatives": 1} for loss in LOSSES},
}
# The model as it is, with its prompts and without.
BEFORE = ("none", "none-prompts")
NAMES = {"none": "before", "infonce": "InfoNCE", "clear": "CLEAR", "proximity": "proximity"}
PARTS = {
    "no-kl": "no divergence", "no-jsd": "no divergence", "no-nce": "no contrast", "alpha-0.6": "alpha 0.6",
    "beta-0.4": "beta 0.4", "scale-1": "scale 1", "prompts": "prompts", "negatives": "1 negative",
}  # fmt: skip
MODELS = {"mini-bridge": "mini-bridge", "minilm": "MiniLM, source kept", "splade": "sparse, source kept"}
# Losses in the order of the tables, of encoders made here.
OWN = (
    "none", "infonce", "clear", "clear-no-kl", "clear-alpha-0.6", "clear-beta-0.4", "proximity", "proximity-no-nce",
    "proximity-no-jsd",
)  # fmt: skip
# Title, metric, and which rows: the pool, and whether the question is English.
Column = tuple[str, str, str, bool]
COMPLETE: tuple[Column, ...] = (
    ("mixed: Complete@10, en asks", "complete@10", "multi", True),
    ("L asks", "complete@10", "multi", False),
)
NORMED: tuple[Column, ...] = (
    ("mixed: Max@R norm, en asks", "max@r_norm", "multi", True),
    ("L asks", "max@r_norm", "multi", False),
)
FIRST: Column = ("mixed: English first, L asks", "english_first", "multi", False)
DIRECTIONS: tuple[Column, ...] = (
    ("nDCG@10: en to en", "ndcg@10", "mono-same", True),
    ("L to L", "ndcg@10", "mono-same", False),
    ("en to L", "ndcg@10", "mono-cross", True),
    ("L to en", "ndcg@10", "mono-cross", False),
)
MIXED = (*COMPLETE, *NORMED, FIRST)
COPIES: tuple[Column, ...] = (
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
Runs = dict[tuple[str, str], list[list[Row]]]


def name_of(arm: str) -> str:
    """What a loss or arm is called in tables."""
    loss, _, part = arm.partition("-")
    return f"{NAMES[loss]}, {PARTS[part]}" if part else NAMES[loss]


def runs(results: Path) -> Runs:
    """Rows of every seed, by model and loss."""
    cells = [cell for model in MODELS for cell in Results(results / f"alignment.{model}.json").cells]
    return _by(cells, "model", "loss")


def published_runs(results: Path) -> Runs:
    """Rows of every seed, by language and arm."""
    return _by(Results(results / "alignment_published.json").cells, "language", "arm")


def _by(cells: Iterable[Row], *keys: str) -> Runs:
    found: Runs = {}
    for cell in cells:
        first, second = (cell["rows"][0][key] for key in keys)
        found.setdefault((first, second), []).append(cell["rows"])
    return found


def mean_of(rows: Iterable[Row], metric: str, pool: str, english: bool) -> float:
    """Mean over the languages that a column is about."""
    asked = [row for row in rows if row["pool"] == pool and (row["query_language"] == "en") == english]
    return fmean(row[metric] for row in asked)


def _cell(by_seed: Iterable[Iterable[Row]], metric: str, pool: str, english: bool) -> str:
    """Mean over the seeds, with its standard deviation where there are several."""
    values = [mean_of(rows, metric, pool, english) for rows in by_seed]
    digits = 3 if metric in ("ndcg@10", "english_first") else 1
    spread = f" ±{stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{fmean(values):.{digits}f}{spread}"


def own_table(results: Path) -> str:
    """Before and after, means over seven languages and over seeds."""
    found = runs(results)
    columns = (*NORMED, *COMPLETE, FIRST, *DIRECTIONS)
    table = [
        [f"{name}: {name_of(loss)}", *(_cell(found[model, loss], *column[1:]) for column in columns)]
        for model, name in MODELS.items()
        for loss in OWN
        if (model, loss) in found
    ]
    one = next(iter(found.values()))[0]
    documents = sorted({row["documents"] for row in one if row["pool"] == "multi"})
    text = (
        f"XQuAD, {one[0]['queries']} questions; English with each of ar, zh, hi, ru, de, es and vi: a mixed pool has "
        f"{' or '.join(map(str, documents))} passages, two of them relevant. Means over the languages and over "
        f"{max(map(len, found.values()))} seeds, ± their standard deviation over seeds; trainings without it have one "
        "seed."
    )
    return markdown(["model: loss", *(column[0] for column in columns)], table, text)


def languages_table(results: Path) -> str:
    """Max@R_norm of the mixed pools by language, questions in that language."""
    table = []
    languages: list[str] = []
    for (model, loss), by_seed in sorted(runs(results).items(), key=lambda run: _place(*run[0])):
        asked = [row for rows in by_seed for row in rows if row["pool"] == "multi" and row["query_language"] != "en"]
        languages = languages or list(dict.fromkeys(row["query_language"] for row in asked))
        means = [fmean(row["max@r_norm"] for row in asked if row["query_language"] == code) for code in languages]
        table.append([f"{MODELS[model]}: {name_of(loss)}", *(f"{mean:.1f}" for mean in means)])
    return markdown(["model: loss", *languages], table)


def _place(model: str, loss: str) -> tuple[int, int]:
    return list(MODELS).index(model), OWN.index(loss)


def _published(
    results: Path,
    arms: Sequence[str],
    columns: Sequence[Column],
    languages: Sequence[str] = LANGUAGES,
    *,
    copies: bool = False,
    paper: Sequence[tuple[str, str, Sequence[str]]] = (),
) -> str:
    """A row for each language and arm that was measured, those of ``paper`` after their language's."""
    found = published_runs(results)
    rows = []
    for language in languages:
        measured = [arm for arm in arms if (language, arm) in found]
        for arm in measured:
            by_seed = [[row for row in one if row["keep_copies"] == copies] for one in found[language, arm]]
            seeds = f" ({len(by_seed)} seeds)" if len(by_seed) > 1 else ""
            named = name_of(arm).replace("before", "as published")
            rows.append([f"en-{language}: {named}{seeds}", *(_cell(by_seed, *column[1:]) for column in columns)])
        if measured:
            rows += [[f"en-{language}: {name}", *cells] for code, name, cells in paper if code == language]
    return markdown(["languages: loss", *(column[0] for column in columns)], rows)


def published_table(results: Path) -> str:
    """Mixed pools, before and after, each language."""
    return _published(results, ("none", *LOSSES), MIXED) + _pool(results, copies=False)


def directions_table(results: Path) -> str:
    """English alone, the language alone, and across."""
    return _published(results, ("none", *LOSSES), DIRECTIONS)


def copies_table(results: Path) -> str:
    """Mixed pools that keep copies, beside what is known of the paper's."""
    return _published(results, ("none", *LOSSES), COPIES, copies=True, paper=PAPER) + _pool(results, copies=True)


def arms_table(results: Path) -> str:
    """Ablations, scales, prompts and negatives on one language."""
    others = [arm for arm in ARMS if arm not in LOSSES and arm not in ABLATIONS]
    arms = (*BEFORE, *LOSSES, *ABLATIONS, *others)
    return _published(results, arms, (*MIXED, *DIRECTIONS), (DEVELOPED,))


def _pool(results: Path, *, copies: bool) -> str:
    """What was searched, in words."""
    rows = [row for found in published_runs(results).values() for row in found[0]]
    row = next(row for row in rows if row["pool"] == "multi" and row["keep_copies"] == copies)
    kind = "a copy of its passage for each question in each language" if copies else "each distinct text once"
    return (
        f"\nXQuAD, all {row['queries']:,} questions in each language; a mixed pool has {row['documents']:,} passages, "
        f"{kind}, {row['golds']:.0f} of them relevant. L is the other language.\n"
    )


TABLES = {
    "alignment": own_table,
    "alignment-languages": languages_table,
    "alignment-published": published_table,
    "alignment-published-directions": directions_table,
    "alignment-published-copies": copies_table,
    "alignment-published-arms": arms_table,
}
