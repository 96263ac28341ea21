"""Tables of training without labels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from isthmus.reading.storage import read_json

Markdown = Callable[[Sequence[str], Sequence[Sequence[str]]], str]
NAMES = {
    "bm25": "BM25",
    "zero-shot": "sembridge, not trained",
    "heading": "sembridge, headings",
    "snippet": "sembridge, snippets",
    "snippet-negative": "sembridge, snippets, a hard negative",
    "heading-own": "own directions, headings",
    "snippet-own": "own directions, snippets",
}
POOLS = ("in-domain", "other")
COLLECTIONS = {"korquad": "KorQuAD", "xquad": "XQuAD"}
LEVEL = 0.05


def domain(results: Path, *, markdown: Markdown) -> str:
    """nDCG@10 in the domain of the text and outside of it, by what was trained on."""
    summary = read_json(results / "domain" / "summary.json")
    cells = {(c["settings"]["language"], c["pool"], c["arm"]): c for c in summary["cells"]}
    languages = list(dict.fromkeys(language for language, *_ in cells))
    places = [(language, pool) for language in languages for pool in POOLS]
    rows = [
        [name, *(_scored(summary, cells[(*place, arm)]) if (*place, arm) in cells else "" for place in places)]
        for arm, name in NAMES.items()
        if any((*place, arm) in cells for place in places)
    ]
    header, sizes, apart = ["model"], [], []
    for language, pool in places:
        cell = cells[language, pool, "zero-shot"]
        collection = COLLECTIONS.get(cell["collection"].split("-")[0], "sections")
        header.append(f"{language}: {collection}")
        sizes.append(f"{language} {collection} {cell['queries']:,} and {cell['documents']:,}")
        if test := _compared(summary, language, pool, "heading", "snippet"):
            interval = f"[{test['low']:+.3f}, {test['high']:+.3f}]"
            apart.append(f"{language} {collection} {test['difference']:+.3f} {interval}")
    training = summary["run"]["training"]
    lines = [
        "nDCG@10 and its 95 % interval (bootstrap over questions). ▲ ▼: above or below sembridge without training,",
        f"paired bootstrap, p < {LEVEL}. Questions and passages: {'; '.join(sizes)}.",
        *([f"Headings minus snippets: {'; '.join(apart)}."] if apart else []),
        f"{training['steps']} steps of {training['batch_size']} pairs, {training['max_length']} tokens, one seed.",
        *(_made(cell) for (_, pool, _), cell in cells.items() if pool == POOLS[0] and cell["settings"]["choices"]),
    ]
    return markdown(header, rows) + "\n" + "\n".join(lines) + "\n"


def _scored(summary: dict[str, Any], cell: dict[str, Any]) -> str:
    low, high = cell["ndcg@10_interval"]
    place = (cell["settings"]["language"], cell["pool"], cell["arm"], "zero-shot")
    test = _compared(summary, *place)
    mark = "" if test is None or test["p_value"] >= LEVEL else " ▲" if test["difference"] > 0 else " ▼"
    return f"{cell['ndcg@10']:.3f} [{low:.2f}, {high:.2f}]{mark}"


def _compared(summary: dict[str, Any], *place: str) -> dict[str, Any] | None:
    """The paired test of (language, pool, arm, reference)."""
    keys = ("language", "pool", "arm", "reference")
    return next((test for test in summary["comparisons"] if tuple(test[key] for key in keys) == place), None)


def _made(cell: dict[str, Any]) -> str:
    """How an arm was trained."""
    settings = cell["settings"]
    chosen = ", ".join(f"{name.replace('_', ' ')} {value:g}" for name, value in settings["choices"].items())
    return f"{settings['language']} {settings['arm']}: {cell['transfer']['pairs']:,} pairs; {chosen}."


def domain_choices(results: Path, *, markdown: Markdown) -> str:
    """What was tried on development sections."""
    found = read_json(results / "domain" / "tuning.json")
    rows = []
    for row in sorted(found["rows"], key=lambda row: row["arm"] != "none"):
        choices = row["choices"]
        rows.append(
            [
                NAMES.get(row["arm"], "not trained").removeprefix("sembridge, "),
                *(f"{choices[name]:g}" if name in choices else "" for name in ("learning_rate", "keep_snippet")),
                f"{row['seconds']:.0f}" if "seconds" in row else "",
                f"{row['ndcg@10']:.3f}",
            ]
        )
    header = ["queries", "learning rate", "keep snippet", "seconds", "nDCG@10"]
    lines = [
        f"Korean, {found['queries']} development sections asked by their headings, none of them in the table above;",
        "one run each. Seconds are of one thread of a machine that was busy otherwise.",
    ]
    return markdown(header, rows) + "\n" + "\n".join(lines) + "\n"
