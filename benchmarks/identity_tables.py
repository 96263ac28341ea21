"""Tables of echo and hybrid against BM25 and against rows without meaning."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import product
from pathlib import Path
from typing import Any

from isthmus.reading.storage import read_json

LEXICAL = ("echo", "hybrid")
TRIMMED = ("echo-trimmed", "hybrid-trimmed")
VOCABULARIES = {"target": "", "keep-source": ", source kept"}
STAGES = {"zero-shot": "", "fine-tuned": ", trained", "distilled": ", taught"}
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
        for arm in ("plain", "calibrated", *LEXICAL):
            cells.append(_marked(rows[language, "sembridge", vocabulary, stage, arm]))
        cells += [_number(rows.get((language, "shuffled", vocabulary, stage, arm))) for arm in LEXICAL]
        table.append([language, *cells])
    header = ["", "BM25", "plain", "calibrated", *LEXICAL, *(f"{arm}, shuffled" for arm in LEXICAL)]
    return markdown(header, table) + "\n" + _legend(rows, languages, vocabulary, stage)


def identity_maps(results: Path, *, markdown: Markdown) -> str:
    """Every map with every arm, means over the languages."""
    rows = _rows(results)
    table = []
    for vocabulary, kept in VOCABULARIES.items():
        for name, shown in MAPS.items():
            languages = _languages(rows, vocabulary=vocabulary, stage="zero-shot", token_map=name)
            if not languages:
                continue
            means = [
                _mean(rows[language, name, vocabulary, "zero-shot", arm][metric] for language in languages)
                for arm, metric in (
                    *((arm, "ndcg@10") for arm in ("plain", "calibrated", "echo", "hybrid")),
                    *((arm, "matched") for arm in ("echo", "hybrid")),
                )
            ]
            table.append([shown + kept, str(len(languages)), *(f"{mean:.3f}" for mean in means)])
    return markdown(["map", "languages", "plain", "calibrated", "echo", "hybrid", "echo, cut", "hybrid, cut"], table)


def identity_strata(results: Path, *, markdown: Markdown, stage: str = "zero-shot") -> str:
    """Questions that share few words with their passage, and vectors cut to their largest entries."""
    rows = _rows(results)
    table = []
    for vocabulary, kept in VOCABULARIES.items():
        for language in _languages(rows, vocabulary=vocabulary, stage=stage):
            words = rows[language, "none", "target", "zero-shot", "bm25"]
            found = [rows[language, "sembridge", vocabulary, stage, arm] for arm in LEXICAL]
            cells = [language + kept, f"{words['low_overlap']:.3f}"]
            cells += [_against_both(row["low_overlap"], row, "low_overlap_vs_") for row in found]
            cells.append(_number(words))
            cells += [_against_both(row["matched"], row, "matched_vs_") for row in found]
            table.append(cells + _dims(words, *found))
    header = [
        "", "few shared words: BM25", "echo", "hybrid", "BM25 whole", "echo cut to 32/128", "hybrid cut",
        "dims of passages", "of questions",
    ]  # fmt: skip
    text = (
        "nDCG@10. ▲ ▼: above or below BM25, † above the same with shuffled rows, paired bootstrap over questions, "
        "p < 0.05.\nDims: BM25/echo/hybrid, uncut.\n"
    )
    return markdown(header, table) + "\n" + text


def identity_trimmed(results: Path, *, markdown: Markdown) -> str:
    """Echo and hybrid with few of the encoder's own entries, before and after training, beside BM25."""
    rows = _rows(results)
    table = []
    for (vocabulary, kept), (stage, trained) in product(VOCABULARIES.items(), STAGES.items()):
        for language in _languages(rows, vocabulary=vocabulary, stage=stage):
            found = [row for arm in TRIMMED if (row := rows.get((language, "sembridge", vocabulary, stage, arm)))]
            if not found:
                continue
            words = rows[language, "none", "target", "zero-shot", "bm25"]
            shuffled = [rows.get((language, "shuffled", vocabulary, stage, arm)) for arm in TRIMMED]
            cells = [f"{language}{kept}{trained}", _number(words), *map(_marked, found), *map(_number, shuffled)]
            cells.append(f"{words['low_overlap']:.3f}")
            cells += [_compared(row["low_overlap"], row, "low_overlap_vs_") for row in found]
            table.append(cells + _dims(words, *found))
    header = [
        "", "BM25", "echo", "hybrid", "echo, shuffled", "hybrid, shuffled", "few shared words: BM25", "echo", "hybrid",
        "dims of passages", "of questions",
    ]  # fmt: skip
    text = (
        "nDCG@10. ▲ ▼: above or below BM25, **bold**: above BM25 and the same with shuffled rows, paired bootstrap\n"
        "over questions, p < 0.05. Dims: BM25/echo/hybrid.\n"
    )
    return markdown(header, table) + "\n" + text


def identity_distilled(results: Path, *, markdown: Markdown) -> str:
    """Encoders that learnt an echo's scores, plain and with an echo again, beside the encoder before and its echo."""
    rows = _rows(results)
    arms = ("plain", "echo", "hybrid")
    table = []
    for vocabulary, kept in VOCABULARIES.items():
        for language in _languages(rows, vocabulary=vocabulary, stage="distilled"):
            cells = [_number(rows[language, "none", "target", "zero-shot", "bm25"])]
            plain = []
            for stage in ("zero-shot", "distilled"):
                found = [rows[language, "sembridge", vocabulary, stage, arm] for arm in arms]
                cells += [_marked(row) for row in found]
                plain.append(found[0])
            cells += [_number(rows.get((language, "shuffled", vocabulary, "distilled", arm))) for arm in arms]
            cells += [f"{row['matched']:.3f}" for row in plain]
            table.append([language + kept, *cells, *_dims(*plain)])
    header = [
        "", "BM25", *(f"before: {arm}" for arm in arms), *(f"taught: {arm}" for arm in arms),
        *(f"taught, shuffled: {arm}" for arm in arms),
        "before: plain, cut", "taught: plain, cut", "dims of a passage", "of a question",
    ]  # fmt: skip
    text = (
        "nDCG@10 on the pools above. ▲ ▼: above or below BM25, **bold**: also above the same with shuffled rows,\n"
        "paired bootstrap over questions, p < 0.05. Dims of the plain encoder before and after; cut: to the 32 and\n"
        "128 largest entries of questions and passages.\n"
    )
    return markdown(header, table) + "\n" + text


def identity_large(results: Path, *, markdown: Markdown) -> str:
    """Echo and hybrid on every collection of a language whole, with all distractors."""
    rows = _rows(results, large=True)
    table = []
    for (vocabulary, kept), (stage, trained) in product(VOCABULARIES.items(), STAGES.items()):
        for pool in _languages(rows, vocabulary=vocabulary, stage=stage):
            words = rows[pool, "none", "target", "zero-shot", "bm25"]
            arms = [("sembridge", arm) for arm in ("plain", "echo", "hybrid", "echo-trimmed")]
            found = [rows.get((pool, name, vocabulary, stage, arm)) for name, arm in arms]
            shuffled = [rows.get((pool, "shuffled", vocabulary, stage, arm)) for arm in ("echo", "hybrid")]
            cells = [f"{pool}{kept}{trained}", f"{words['queries']:,}", f"{words['documents']:,}", _number(words)]
            cells += ["—" if row is None else _marked(row) for row in found]
            table.append(cells + [_number(row) for row in shuffled])
    header = [
        "", "questions", "passages", "BM25", "plain", "echo", "hybrid", "echo, trimmed", "echo, shuffled",
        "hybrid, shuffled",
    ]  # fmt: skip
    text = (
        "nDCG@10. ▲ ▼: above or below BM25, **bold**: also above the same with shuffled rows, paired bootstrap over\n"
        "questions, p < 0.05.\n"
    )
    return markdown(header, table) + "\n" + text


def _rows(results: Path, *, large: bool = False) -> dict[tuple[str, str, str, str, str], dict[str, Any]]:
    """Rows by language (and collection, of large pools), map, vocabulary, stage and arm."""
    found = {}
    for path in sorted((results / "identity").glob("*.json")):
        if path.name.partition(".")[2].partition(".")[0].endswith("-large") == large:
            for row in read_json(path)["rows"]:
                place = f"{row['language']} {row['collection']}" if large else row["language"]
                found[place, row["map"], row["vocabulary"], row["stage"], row["arm"]] = row
    return found


def _languages(
    rows: Iterable[Sequence[str]], *, vocabulary: str, stage: str, token_map: str = "sembridge"
) -> list[str]:
    return sorted({place[0] for place in rows if tuple(place[1:4]) == (token_map, vocabulary, stage)})


def _number(row: dict[str, Any] | None) -> str:
    return "—" if row is None else f"{row['ndcg@10']:.3f}"


def _marked(row: dict[str, Any]) -> str:
    """Bold where it is above BM25 and above the same with shuffled rows."""
    return _compared(row["ndcg@10"], row, "vs_")


def _compared(value: float, row: dict[str, Any], prefix: str) -> str:
    bold = _above(row.get(f"{prefix}bm25")) and _above(row.get(f"{prefix}shuffled"))
    return f"**{value:.3f}**{_mark(row, prefix)}" if bold else f"{value:.3f}{_mark(row, prefix)}"


def _against_both(value: float, row: dict[str, Any], prefix: str) -> str:
    return f"{value:.3f}{_mark(row, prefix)}{' †' if _above(row.get(f'{prefix}shuffled')) else ''}"


def _mark(row: dict[str, Any], prefix: str) -> str:
    against = row.get(f"{prefix}bm25")
    return " ▼" if _above(against, -1) else " ▲" if _above(against) else ""


def _above(test: dict[str, Any] | None, sign: int = 1) -> bool:
    return test is not None and bool(test["p_value"] < LEVEL and sign * test["difference"] > 0)


def _dims(*rows: dict[str, Any]) -> list[str]:
    return ["/".join(f"{row[dims]:.0f}" for row in rows) for dims in ("active_dims", "query_active_dims")]


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
