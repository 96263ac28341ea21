"""Tables of echo and hybrid against BM25 and against rows without meaning."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from itertools import product
from pathlib import Path
from statistics import fmean

from benchmarks.harness import LEVEL, Results, Row, arrow, markdown

LEXICAL = ("echo", "hybrid")
TRIMMED = ("echo-trimmed", "hybrid-trimmed")
VOCABULARIES = {"target": "", "keep-source": ", source kept"}
STAGES = {"zero-shot": "", "fine-tuned": ", trained", "distilled": ", taught"}
MAPS = {
    "sembridge": "sembridge", "sembridge-own": "sembridge, own directions", "mean": "mean",
    "gaussian": "Gaussian", "shuffled": "shuffled",
}  # fmt: skip
# Rows by language (and collection, of large pools), map, vocabulary, stage and arm.
Rows = dict[tuple[str, str, str, str, str], Row]
MARKS = "nDCG@10. ▲ ▼: above or below BM25, **bold**: "


def read(results: Path, *, large: bool = False) -> Rows:
    """All rows of small pools, or of large ones."""
    cells = [cell for path in sorted(results.glob("exact_matching.*.json")) for cell in Results(path).cells]
    found = {}
    for cell in cells:
        if cell["cell"].split(".")[1].endswith("-large") == large:
            for row in cell["rows"]:
                place = f"{row['language']} {row['collection']}" if large else row["language"]
                found[place, row["map"], row["vocabulary"], row["stage"], row["arm"]] = row
    return found


def scores_table(results: Path, *, vocabulary: str, stage: str) -> str:
    """nDCG@10 of every arm with sembridge, and of echo and hybrid with shuffled rows, by language."""
    rows = read(results)
    table, sizes = [], []
    for language in _languages(rows, vocabulary, stage):
        cells = [_marked(rows[language, "sembridge", vocabulary, stage, a]) for a in ("plain", "calibrated", *LEXICAL)]
        cells += [_number(rows.get((language, "shuffled", vocabulary, stage, arm))) for arm in LEXICAL]
        table.append([language, _number(_words(rows, language)), *cells])
        row = rows[language, "sembridge", vocabulary, stage, "plain"]
        sizes.append(f"{language} {row['collection']} {row['queries']:,} and {row['documents']:,}")
    header = ["", "BM25", "plain", "calibrated", *LEXICAL, *(f"{arm}, shuffled" for arm in LEXICAL)]
    text = (
        "nDCG@10. ▲ ▼: above or below BM25, paired bootstrap over questions, p < 0.05; **bold**: also above the same\n"
        f"with shuffled rows. Questions and passages: {'; '.join(sizes)}."
    )
    return markdown(header, table, text)


def maps_table(results: Path) -> str:
    """Every map with every arm, means over the languages."""
    rows = read(results)
    columns = [*((arm, "ndcg@10") for arm in ("plain", "calibrated", *LEXICAL)), *((arm, "matched") for arm in LEXICAL)]
    table = []
    for (vocabulary, kept), (name, shown) in product(VOCABULARIES.items(), MAPS.items()):
        languages = _languages(rows, vocabulary, "zero-shot", name)
        if languages:
            place = (name, vocabulary, "zero-shot")
            means = [fmean(rows[(code, *place, arm)][metric] for code in languages) for arm, metric in columns]
            table.append([shown + kept, str(len(languages)), *(f"{mean:.3f}" for mean in means)])
    return markdown(["map", "languages", "plain", "calibrated", "echo", "hybrid", "echo, cut", "hybrid, cut"], table)


def strata_table(results: Path, *, stage: str = "zero-shot") -> str:
    """Questions that share few words with their passage, and vectors cut to their largest entries."""
    rows = read(results)
    table = []
    for vocabulary, kept in VOCABULARIES.items():
        for language in _languages(rows, vocabulary, stage):
            words = _words(rows, language)
            found = [rows[language, "sembridge", vocabulary, stage, arm] for arm in LEXICAL]
            cells = [language + kept, f"{words['low_overlap']:.3f}"]
            cells += [_against_both(row["low_overlap"], row, "low_overlap_vs_") for row in found]
            cells += [_number(words), *(_against_both(row["matched"], row, "matched_vs_") for row in found)]
            table.append(cells + _dims(words, *found))
    header = ["", "few shared words: BM25", "echo", "hybrid", "BM25 whole", "echo cut to 32/128", "hybrid cut"]
    text = (
        "nDCG@10. ▲ ▼: above or below BM25, † above the same with shuffled rows, paired bootstrap over questions, "
        "p < 0.05.\nDims: BM25/echo/hybrid, uncut."
    )
    return markdown([*header, "dims of passages", "of questions"], table, text)


def trimmed_table(results: Path) -> str:
    """Echo and hybrid with few of the encoder's own entries, before and after training, beside BM25."""
    rows = read(results)
    table = []
    for (vocabulary, kept), (stage, trained) in product(VOCABULARIES.items(), STAGES.items()):
        for language in _languages(rows, vocabulary, stage):
            found = [row for arm in TRIMMED if (row := rows.get((language, "sembridge", vocabulary, stage, arm)))]
            if found:
                words = _words(rows, language)
                shuffled = [rows.get((language, "shuffled", vocabulary, stage, arm)) for arm in TRIMMED]
                cells = [f"{language}{kept}{trained}", _number(words), *map(_marked, found), *map(_number, shuffled)]
                cells.append(f"{words['low_overlap']:.3f}")
                cells += [_compared(row["low_overlap"], row, "low_overlap_vs_") for row in found]
                table.append(cells + _dims(words, *found))
    header = ["", "BM25", "echo", "hybrid", "echo, shuffled", "hybrid, shuffled", "few shared words: BM25", "echo"]
    text = MARKS + "above BM25 and the same with shuffled rows, paired bootstrap\nover questions, p < 0.05. "
    return markdown([*header, "hybrid", "dims of passages", "of questions"], table, text + "Dims: BM25/echo/hybrid.")


def distilled_table(results: Path) -> str:
    """Encoders that learnt an echo's scores, plain and with an echo again, beside the encoder before and its echo."""
    rows = read(results)
    arms = ("plain", *LEXICAL)
    table = []
    for vocabulary, kept in VOCABULARIES.items():
        for language in _languages(rows, vocabulary, "distilled"):
            cells = [_number(_words(rows, language))]
            plain = []
            for stage in ("zero-shot", "distilled"):
                found = [rows[language, "sembridge", vocabulary, stage, arm] for arm in arms]
                cells += [_marked(row) for row in found]
                plain.append(found[0])
            cells += [_number(rows.get((language, "shuffled", vocabulary, "distilled", arm))) for arm in arms]
            table.append([language + kept, *cells, *(f"{row['matched']:.3f}" for row in plain), *_dims(*plain)])
    header = [f"{when}: {arm}" for when in ("before", "taught", "taught, shuffled") for arm in arms]
    header = ["", "BM25", *header, "before: plain, cut", "taught: plain, cut", "dims of a passage", "of a question"]
    text = (
        "nDCG@10 on the pools above. ▲ ▼: above or below BM25, **bold**: also above the same with shuffled rows,\n"
        "paired bootstrap over questions, p < 0.05. Dims of the plain encoder before and after; cut: to the 32 and\n"
        "128 largest entries of questions and passages."
    )
    return markdown(header, table, text)


def large_table(results: Path) -> str:
    """Echo and hybrid on every collection of a language whole, with all distractors."""
    rows = read(results, large=True)
    table = []
    for (vocabulary, kept), (stage, trained) in product(VOCABULARIES.items(), STAGES.items()):
        for pool in _languages(rows, vocabulary, stage):
            words = _words(rows, pool)
            arms = ("plain", *LEXICAL, "echo-trimmed")
            found = [rows.get((pool, "sembridge", vocabulary, stage, arm)) for arm in arms]
            cells = [f"{pool}{kept}{trained}", f"{words['queries']:,}", f"{words['documents']:,}", _number(words)]
            cells += ["—" if row is None else _marked(row) for row in found]
            cells += [_number(rows.get((pool, "shuffled", vocabulary, stage, arm))) for arm in LEXICAL]
            table.append(cells)
    header = ["", "questions", "passages", "BM25", "plain", *LEXICAL, "echo, trimmed"]
    text = MARKS + "also above the same with shuffled rows, paired bootstrap over\nquestions, p < 0.05."
    return markdown([*header, "echo, shuffled", "hybrid, shuffled"], table, text)


def _languages(rows: Iterable[Sequence[str]], vocabulary: str, stage: str, token_map: str = "sembridge") -> list[str]:
    return sorted({place[0] for place in rows if tuple(place[1:4]) == (token_map, vocabulary, stage)})


def _words(rows: Rows, place: str) -> Row:
    """What BM25 reached."""
    return rows[place, "none", "target", "zero-shot", "bm25"]


def _number(row: Row | None) -> str:
    return "—" if row is None else f"{row['ndcg@10']:.3f}"


def _marked(row: Row) -> str:
    """Bold where it is above BM25 and above the same with shuffled rows."""
    return _compared(row["ndcg@10"], row, "vs_")


def _compared(value: float, row: Row, prefix: str) -> str:
    bold = _above(row.get(f"{prefix}bm25")) and _above(row.get(f"{prefix}shuffled"))
    return (f"**{value:.3f}**" if bold else f"{value:.3f}") + arrow(row.get(f"{prefix}bm25"))


def _against_both(value: float, row: Row, prefix: str) -> str:
    return f"{value:.3f}{arrow(row.get(f'{prefix}bm25'))}{' †' if _above(row.get(f'{prefix}shuffled')) else ''}"


def _above(test: Row | None) -> bool:
    return test is not None and bool(test["p_value"] < LEVEL and test["difference"] > 0)


def _dims(*rows: Row) -> list[str]:
    return ["/".join(f"{row[dims]:.0f}" for row in rows) for dims in ("active_dims", "query_active_dims")]


TABLES = {
    **{
        f"exact-matching-{vocabulary}-{stage}": partial(scores_table, vocabulary=vocabulary, stage=stage)
        for vocabulary, stage in product(VOCABULARIES, ("zero-shot", "fine-tuned"))
    },
    "exact-matching-maps": maps_table,
    "exact-matching-strata": strata_table,
    "exact-matching-trimmed": trimmed_table,
    "exact-matching-distilled": distilled_table,
    "exact-matching-large": large_table,
}
