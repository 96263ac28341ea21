"""Tables of echo and hybrid against BM25 and against rows without meaning."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from isthmus._files import read_json

Markdown = Callable[[Sequence[str], Sequence[Sequence[str]]], str]
LEVEL = 0.05
MAPS = {
    "sembridge": "sembridge", "sembridge-own": "sembridge, own directions", "mean": "mean",
    "gaussian": "Gaussian", "shuffled": "shuffled",
}  # fmt: skip


def identity(results: Path, *, markdown: Markdown, vocabulary: str, stage: str) -> str:
    """nDCG@10 of every arm with sembridge, and of echo and hybrid with shuffled rows, by language."""
    rows = _rows(results)
    languages = _languages(rows, vocabulary=vocabulary, stage=stage)
    table = []
    for language in languages:
        cells = [_number(rows[language, "none", "target", "zero-shot", "bm25"])]
        for arm in ("plain", "calibrated", "echo", "hybrid"):
            cells.append(_marked(rows[language, "sembridge", vocabulary, stage, arm]))
        cells += [_number(rows.get((language, "shuffled", vocabulary, stage, arm))) for arm in ("echo", "hybrid")]
        table.append([language, *cells])
    header = ["", "BM25", "plain", "calibrated", "echo", "hybrid", "echo, shuffled", "hybrid, shuffled"]
    return markdown(header, table) + "\n" + _legend(rows, languages, vocabulary, stage)


def identity_maps(results: Path, *, markdown: Markdown) -> str:
    """Every map with every arm, means over the languages."""
    rows = _rows(results)
    table = []
    for vocabulary in ("target", "keep-source"):
        for name, shown in MAPS.items():
            languages = _languages(rows, vocabulary=vocabulary, stage="zero-shot", token_map=name)
            if not languages:
                continue
            kept = "" if vocabulary == "target" else ", source kept"
            means = [
                _mean(rows[language, name, vocabulary, "zero-shot", arm]["ndcg@10"] for language in languages)
                for arm in ("plain", "calibrated", "echo", "hybrid")
            ]
            table.append([shown + kept, str(len(languages)), *(f"{mean:.3f}" for mean in means)])
    return markdown(["map", "languages", "plain", "calibrated", "echo", "hybrid"], table)


def identity_strata(results: Path, *, markdown: Markdown, stage: str = "zero-shot") -> str:
    """Questions that share few words with their passage, and vectors cut to the same active dimensions."""
    rows = _rows(results)
    table = []
    for vocabulary in ("target", "keep-source"):
        for language in _languages(rows, vocabulary=vocabulary, stage=stage):
            words = rows[language, "none", "target", "zero-shot", "bm25"]
            found = {arm: rows[language, "sembridge", vocabulary, stage, arm] for arm in ("echo", "hybrid")}
            cells = [language + ("" if vocabulary == "target" else ", source kept"), f"{words['low_overlap']:.3f}"]
            cells += [_compared(row["low_overlap"], row, "low_overlap_vs_") for row in found.values()]
            cells.append(f"{words['matched']:.3f}")
            cells += [_compared(row["matched"], row, "matched_vs_") for row in found.values()]
            cells += ["/".join(f"{row['active_dims']:.0f}" for row in (words, *found.values()))]
            table.append(cells)
    header = [
        "", "few shared words: BM25", "echo", "hybrid", "32/128 dims: BM25", "echo", "hybrid", "active dims, documents",
    ]  # fmt: skip
    return markdown(header, table)


def identity_distilled(results: Path, *, markdown: Markdown) -> str:
    """Encoders that learnt an echo's scores, plain and with an echo again, beside the encoder before and its echo."""
    rows = _rows(results)
    known = {place[0] for place in rows if place[3] == "distilled"}
    arms = ("plain", "echo", "hybrid")
    table = []
    for language in sorted(known):
        cells = [_number(rows[language, "none", "target", "zero-shot", "bm25"])]
        dims = []
        for stage in ("zero-shot", "distilled"):
            found = [rows[language, "sembridge", "target", stage, arm] for arm in arms]
            cells += map(_against_words, found)
            dims.append(f"{found[0]['active_dims']:.0f}")
        table.append([language, *cells, ", ".join(dims)])
    header = ["", "BM25", *(f"before: {arm}" for arm in arms), *(f"taught: {arm}" for arm in arms), "dims of a passage"]
    text = "nDCG@10 on the pools above. ▲ ▼: above or below BM25, paired bootstrap over questions, p < 0.05.\n"
    return markdown(header, table) + "\n" + text


def _rows(results: Path) -> dict[tuple[str, str, str, str, str], dict[str, Any]]:
    """Rows by language, map, vocabulary, stage and arm."""
    return {
        (row["language"], row["map"], row["vocabulary"], row["stage"], row["arm"]): row
        for path in sorted((results / "identity").glob("*.*.*.*.json"))
        for row in read_json(path)["rows"]
    }


def _languages(
    rows: Iterable[Sequence[str]], *, vocabulary: str, stage: str, token_map: str = "sembridge"
) -> list[str]:
    return sorted({place[0] for place in rows if tuple(place[1:4]) == (token_map, vocabulary, stage)})


def _number(row: dict[str, Any] | None) -> str:
    return "—" if row is None else f"{row['ndcg@10']:.3f}"


def _marked(row: dict[str, Any]) -> str:
    """Bold where it is above BM25 and above the same with shuffled rows."""
    return _compared(row["ndcg@10"], row, "vs_")


def _against_words(row: dict[str, Any]) -> str:
    return _compared(row["ndcg@10"], {"vs_bm25": row["vs_bm25"]}, "vs_")


def _compared(value: float, row: dict[str, Any], prefix: str) -> str:
    tests = [row.get(f"{prefix}{name}") for name in ("bm25", "shuffled")]
    against = tests[0]
    mark = ""
    if against is not None and against["p_value"] < LEVEL:
        mark = " ▲" if against["difference"] > 0 else " ▼"
    both = all(test is not None and test["p_value"] < LEVEL and test["difference"] > 0 for test in tests)
    return f"**{value:.3f}**{mark}" if both else f"{value:.3f}{mark}"


def _mean(values: Iterable[float]) -> float:
    found = list(values)
    return sum(found) / len(found)


def _legend(rows: dict[Any, dict[str, Any]], languages: Sequence[str], vocabulary: str, stage: str) -> str:
    sizes = []
    for language in languages:
        row = rows[language, "sembridge", vocabulary, stage, "plain"]
        sizes.append(f"{language} {row['collection']} {row['queries']:,} and {row['documents']:,}")
    return (
        "nDCG@10. ▲ ▼: above or below BM25, paired bootstrap over questions, p < 0.05; **bold**: also above the same\n"
        f"with shuffled rows. Questions and passages: {'; '.join(sizes)}.\n"
    )
