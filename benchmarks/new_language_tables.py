"""Tables of a language nobody prepared."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from isthmus.reading.storage import read_json

Markdown = Callable[[Sequence[str], Sequence[Sequence[str]]], str]
NAMES = {
    "bm25": "BM25",
    "base": "base (English encoder untouched)",
    "base-echo": "base, echo",
    "bridge": "the bridge alone (dense)",
    "random": "random",
    "nearest": "nearest",
    "sembridge": "sembridge",
    "sembridge-not-copied": "sembridge, words not copied",
    "sembridge-echo": "sembridge, echo",
    "sembridge-keep-source": "sembridge, source kept",
    "sembridge-keep-source-echo": "sembridge, source kept, echo",
    "nearest-keep-source": "nearest, source kept",
    "random-keep-source": "random, source kept",
}
COLLECTIONS = {
    "xquad": "XQuAD",
    "sections-dev": "sections",
    "en-sections-dev": "English to sections",
    "en-flores-dev": "English to FLORES dev",
}
LEVEL = 0.05
LEVELS = ("error", "warning")


def new_language(results: Path, *, markdown: Markdown, language: str) -> str:
    """nDCG@10 with its interval, by arm and pool; marked where the difference to sembridge is significant."""
    summary = read_json(results / "new-language" / "summary.json")
    cells = [cell for cell in summary["cells"] if cell["settings"]["language"] == language]
    pools = list(dict.fromkeys((cell["collection"], cell["pool"]) for cell in cells))
    pools.sort(key=lambda pool: (list(COLLECTIONS).index(pool[0]), pool[1] != "alone"))
    found = {(cell["collection"], cell["pool"], cell["arm"]): cell for cell in cells}
    p_values = {
        (test["collection"], test["pool"], test["arm"], test["reference"]): test["p_value"]
        for test in summary["comparisons"]
        if test["language"] == language
    }

    def shown(pool: tuple[str, str], arm: str) -> str:
        cell = found.get((*pool, arm))
        if cell is None:
            return ""
        reference = "sembridge" if (*pool, "sembridge") in found else "sembridge-keep-source"
        mark = ""
        if p_values.get((*pool, arm, reference), 1.0) < LEVEL:
            mark = " ▲" if cell["ndcg@10"] > found[(*pool, reference)]["ndcg@10"] else " ▼"
        low, high = cell["ndcg@10_interval"]
        return f"{cell['ndcg@10']:.3f} [{low:.2f}, {high:.2f}]{mark}"

    header = ["", *(title(found, pool) for pool in pools)]
    arms = [arm for arm in NAMES if any((*pool, arm) in found for pool in pools)]
    rows = [[NAMES[arm], *(shown(pool, arm) for pool in pools)] for arm in arms]
    text = (
        "nDCG@10 with its 95 % bootstrap interval; ▲ ▼ above or below sembridge (with the source kept where there is "
        f"no other), paired bootstrap over queries, p < {LEVEL}. Nothing was trained on queries, and nothing chosen by "
        "these numbers."
    )
    return markdown(header, rows) + "\n" + text + "\n"


def title(found: dict[tuple[str, str, str], dict[str, Any]], pool: tuple[str, str]) -> str:
    """Collection, queries and passages of a column."""
    cell = next(cell for place, cell in found.items() if place[:2] == pool)
    return f"{COLLECTIONS[pool[0]]}: {cell['queries']} queries, {cell['documents']:,} passages"


def new_language_ready(results: Path, *, markdown: Markdown) -> str:
    """What the doctor says of the new encoders that is not in order, and the tokenizers that were trained."""
    rows = []
    lines = []
    for language in ("de", "bn"):
        found = read_json(results / "new-language" / f"{language}.ready.json")
        for arm, findings in found["findings"].items():
            wrong = [finding for finding in findings if finding["level"] in LEVELS]
            known = next(finding for finding in findings if finding["check"] == "known-item")
            told = [f"{finding['level']} {finding['check']}" for finding in wrong if finding is not known]
            level = known["level"]
            rows.append([f"{language}, {NAMES[arm]}", f"{level}: {known['message']}", "; ".join(told) or "none"])
        made = found["tokenizer"]
        lines.append(
            f"Tokenizer {language}: {made['vocabulary_size']:,} entries from {made['lines']:,} lines "
            f"({made['characters'] / 1e6:.1f} million characters); on {made['held_out_lines']:,} lines kept out "
            f"{made['fertility']:.2f} tokens per word, {made['unknown_characters']:.2%} of the characters unknown."
        )
    return markdown(["encoder", "known-item", "other findings"], rows) + "\n" + "\n".join(lines) + "\n"
