"""Tables of the encoders that keep the source vocabulary."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import fmean

from benchmarks.harness import LANGUAGES, Results, Row, markdown

NAMES = {
    "BM25": "BM25",
    "mini-bridge": "mini-bridge (dense)",
    "target-only": "vocabulary replaced",
    "keep-source": "source kept",
    "keep-source-all": "source kept, five languages",
    "minilm-keep-source": "MiniLM, source kept (dense)",
    "minilm-keep-source-all": "MiniLM, source kept, five languages (dense)",
}
# Those that only English is measured with.
UNTOUCHED = {"mini-splade-en": "mini-splade-en, untouched", "minilm": "MiniLM, untouched (dense)"}
OUTPUTS = ("target", "both", "source", None)
STAGES = ("zero-shot", "trained")


def read(results: Path) -> tuple[Row, list[Row]]:
    """The settings of the last run, and the rows of all cells that share them, by stage, model and language."""
    found = Results(results / "keep_source.json")
    names = [f"{stage}.{model}.{code}" for stage in STAGES for model in (*UNTOUCHED, *NAMES) for code in LANGUAGES]
    cells = [found.by_name[name] for name in names if name in found.by_name]
    run: Row = found.content["run"]
    return run, [row for cell in cells if cell["settings"]["run"] == run for row in cell["rows"]]


def name_of(row: Row) -> str:
    """Model, what it writes and whether it was trained."""
    writes = f", writes {row['output']}" if row["model"].startswith("keep-source") else ""
    return NAMES[row["model"]] + writes + (", trained" if row["stage"] == "trained" else "")


def ordered(rows: Iterable[Row]) -> list[tuple[str, str, list[Row]]]:
    """(language, name, rows) of every model but the untouched ones."""
    groups: dict[tuple[int, int, int, int, str], list[Row]] = {}
    for row in rows:
        if row["model"] in NAMES:
            place = (LANGUAGES.index(row["language"]), STAGES.index(row["stage"]))
            place += (list(NAMES).index(row["model"]), OUTPUTS.index(row["output"]))
            groups.setdefault((*place, name_of(row)), []).append(row)
    return [(LANGUAGES[key[0]], key[-1], groups[key]) for key in sorted(groups)]


def directions(rows: Iterable[Row], collection: str, text: str | Sequence[str] = "") -> str:
    """nDCG@10 by direction, alone / with distractors."""
    table = []
    for language, name, group in ordered(row for row in rows if row["collection"] == collection):
        both = f"en+{language}"
        ways = [("en", language), (language, "en"), (language, language), ("en", both), (language, both)]
        cells = [_pair(group, query, document) for query, document in ways]
        if any(cells):
            table.append([f"{language}, {name}", *cells])
    return markdown(["language, model", "en to L", "L to en", "L to L", "en to en+L", "L to en+L"], table, text)


def _pair(group: Sequence[Row], query: str, document: str) -> str:
    found = [row for row in group if (row["query_language"], row["document_language"]) == (query, document)]
    return " / ".join(f"{row['ndcg@10']:.3f}" for row in sorted(found, key=lambda row: row["pool"]))


def directions_table(results: Path) -> str:
    """XQuAD in four directions and the mixed pool."""
    run, rows = read(results)
    lines = [
        f"nDCG@10, {run['max_queries']} questions drawn with seed {run['seed']}, 240 passages of a language alone /",
        f"with {run['distractors']} off-domain distractors of every language in the pool. Mixed pools (en+L) hold both",
        "languages and have two right passages for a question, one in each: a model that finds only the one in the",
        "language of the question gets at most .613.",
    ]
    return directions(rows, "xquad", lines)


def korean_table(results: Path) -> str:
    """KorQuAD in Korean alone, and the demo collection in four directions."""
    _, rows = read(results)
    demo = directions([row for row in rows if row["language"] == "ko"], "demo")
    told = "The demo collection, 84 questions and passages:"
    return f"KorQuAD, alone / with distractors:\n\n{directions(rows, 'korquad')}\n{told}\n\n{demo}"


def english_table(results: Path) -> str:
    """What English loses."""
    seen: dict[str, list[Row]] = {}
    for row in read(results)[1]:
        place = (row["collection"], row["query_language"], row["document_language"])
        if place == ("xquad", "en", "en") and row["model"] not in ("BM25", "mini-bridge", "target-only"):
            seen.setdefault(UNTOUCHED.get(row["model"]) or name_of(row), []).append(row)
    table = []
    for title, group in seen.items():
        cells = []
        for pool in sorted({row["pool"] for row in group}):
            values = [row["ndcg@10"] for row in group if row["pool"] == pool]
            low, high = f"{min(values):.3f}", f"{max(values):.3f}"
            cells.append(low if low == high else f"{low} to {high}")
        table.append([title, *cells])
    return markdown(["model", "alone", "with distractors"], sorted(table))


def cost_table(results: Path) -> str:
    """Active entries and index size, over the XQuAD passages of the four languages."""
    groups: dict[str, list[Row]] = {}
    alone = [row for row in read(results)[1] if (row["collection"], row["pool"]) == ("xquad", "alone")]
    for _, name, group in ordered(alone):
        own = [row for row in group if row["query_language"] == row["document_language"] == row["language"]]
        groups.setdefault(name, []).extend(own)
    table = []
    for name, group in [one for one in groups.items() if one[1]]:
        sides = ("query_active_dims", "document_active_dims")
        dims = ["" if group[0][side] is None else f"{fmean(row[side] for row in group):.0f}" for side in sides]
        table.append([name, *dims, f"{fmean(row['index_bytes'] / row['documents'] for row in group):.0f}"])
    return markdown(["model", "query active dims", "document active dims", "index bytes a passage"], table)


TABLES = {
    "keep-source": directions_table,
    "keep-source-korean": korean_table,
    "keep-source-english": english_table,
    "keep-source-cost": cost_table,
}
