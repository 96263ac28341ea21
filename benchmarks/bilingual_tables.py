"""Tables of the encoders that keep the source vocabulary."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from isthmus.reading.storage import read_json

Row = dict[str, Any]
Markdown = Callable[[Sequence[str], Sequence[Sequence[str]]], str]
LANGUAGES = ("ar", "hi", "ko", "ru", "zh")
NAMES = {
    "BM25": "BM25",
    "mini-bridge": "mini-bridge (dense)",
    "target-only": "vocabulary replaced",
    "keep-source": "source kept",
    "keep-source-all": "source kept, five languages",
    "minilm-keep-source": "MiniLM, source kept (dense)",
    "minilm-keep-source-all": "MiniLM, source kept, five languages (dense)",
}
OUTPUTS = ("target", "both", "source", None)


def name_of(row: Row) -> str:
    """Model, what it writes and whether it was trained."""
    writes = f", writes {row['output']}" if row["model"].startswith("keep-source") else ""
    trained = ", trained" if row["stage"] == "trained" else ""
    return NAMES[row["model"]] + writes + trained


def ordered(rows: Iterable[Row]) -> list[tuple[str, str, list[Row]]]:
    """(language, name, rows) of every model but the untouched ones."""
    groups: dict[tuple[int, int, int, int, str], list[Row]] = {}
    for row in rows:
        if row["model"] in NAMES:
            place = (
                LANGUAGES.index(row["language"]),
                ("zero-shot", "trained").index(row["stage"]),
                list(NAMES).index(row["model"]),
                OUTPUTS.index(row["output"]),
            )
            groups.setdefault((*place, name_of(row)), []).append(row)
    return [(LANGUAGES[key[0]], key[-1], groups[key]) for key in sorted(groups)]


def directions(markdown: Markdown, rows: Sequence[Row], collections: Sequence[str]) -> str:
    """nDCG@10 by direction, alone / with distractors."""
    found = [row for row in rows if row["collection"] in collections]
    table = []
    for language, name, group in ordered(found):
        both = f"en+{language}"
        ways = [("en", language), (language, "en"), (language, language), ("en", both), (language, both)]
        cells = [_pair(group, query, document) for query, document in ways]
        if any(cells):
            table.append([f"{language}, {name}", *cells])
    header = ["language, model", "en to L", "L to en", "L to L", "en to en+L", "L to en+L"]
    return markdown(header, table)


def _pair(group: Sequence[Row], query: str, document: str) -> str:
    found = [row for row in group if (row["query_language"], row["document_language"]) == (query, document)]
    return " / ".join(f"{row['ndcg@10']:.3f}" for row in sorted(found, key=lambda row: row["pool"]))


def bilingual(results: Path, markdown: Markdown) -> str:
    """XQuAD in four directions and the mixed pool."""
    summary = read_json(results / "bilingual" / "summary.json")
    run = summary["run"]
    lines = [
        f"nDCG@10, {run['max_queries']} questions drawn with seed {run['seed']}, 240 passages of a language alone /",
        f"with {run['distractors']} off-domain distractors of every language in the pool. Mixed pools (en+L) hold both",
        "languages and have two right passages for a question, one in each: a model that finds only the one in the",
        "language of the question gets at most .613.",
    ]
    return directions(markdown, summary["rows"], ["xquad"]) + "\n" + "\n".join(lines) + "\n"


def bilingual_korean(results: Path, markdown: Markdown) -> str:
    """KorQuAD in Korean alone, and the demo collection in four directions."""
    rows = read_json(results / "bilingual" / "summary.json")["rows"]
    korquad = directions(markdown, rows, ["korquad"])
    demo = directions(markdown, [row for row in rows if row["language"] == "ko"], ["demo"])
    return f"KorQuAD, alone / with distractors:\n\n{korquad}\nThe demo collection, 84 questions and passages:\n\n{demo}"


def bilingual_english(results: Path, markdown: Markdown) -> str:
    """What English loses."""
    rows = read_json(results / "bilingual" / "summary.json")["rows"]
    english = [
        row
        for row in rows
        if row["collection"] == "xquad" and (row["query_language"], row["document_language"]) == ("en", "en")
    ]
    names = NAMES | {"mini-splade-en": "mini-splade-en, untouched", "minilm": "MiniLM, untouched (dense)"}
    seen: dict[str, list[Row]] = {}
    for row in english:
        if row["model"] not in ("BM25", "mini-bridge", "target-only"):
            title = name_of(row) if row["model"] in NAMES else names[row["model"]]
            seen.setdefault(title, []).append(row)
    table = []
    for title, group in seen.items():
        cells = []
        for pool in sorted({row["pool"] for row in group}):
            values = [row["ndcg@10"] for row in group if row["pool"] == pool]
            low, high = f"{min(values):.3f}", f"{max(values):.3f}"
            cells.append(low if low == high else f"{low} to {high}")
        table.append([title, *cells])
    return markdown(["model", "alone", "with distractors"], sorted(table))


def bilingual_cost(results: Path, markdown: Markdown) -> str:
    """Active entries and index size, over the XQuAD passages of the four languages."""
    rows = read_json(results / "bilingual" / "summary.json")["rows"]
    groups: dict[str, list[Row]] = {}
    for _, name, group in ordered(row for row in rows if row["collection"] == "xquad" and row["pool"] == "alone"):
        own = [row for row in group if row["query_language"] == row["document_language"] == row["language"]]
        groups.setdefault(name, []).extend(own)
    table = [
        [
            name,
            *(
                "" if group[0][key] is None else f"{fmean(row[key] for row in group):.0f}"
                for key in ("query_active_dims", "document_active_dims")
            ),
            f"{fmean(row['index_bytes'] / row['documents'] for row in group):.0f}",
        ]
        for name, group in groups.items()
        if group
    ]
    return markdown(["model", "query active dims", "document active dims", "index bytes a passage"], table)


def crowding(results: Path, markdown: Markdown) -> str:
    """Remedies against crowding, means over languages and development pools."""
    rows = read_json(results / "crowding.json")["rows"]
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row["output"], row["remedy"]), []).append(row)
    ways = ("en-en", "en-l", "l-en", "l-l")
    table = []
    for output in ("source", "both", "target"):
        for (written, remedy), group in groups.items():
            if written == output:
                means = [fmean(row[way] for row in group) for way in ways]
                dims = fmean(row["passage_active_dims"] for row in group)
                cells = [f"{value:.3f}" for value in (*means, fmean(means))]
                table.append([f"{output}: {remedy}", *cells, f"{dims:.0f}"])
    languages = ", ".join(dict.fromkeys(row["language"] for row in rows))
    pairs = rows[0]["run"]["limit"]
    lines = [
        f"Means over {languages} and two pools each of at most {pairs} development pairs (sections, cloze), nDCG@10;",
        "alpha 4 where nothing else is said. Dims: active entries of a passage in the language.",
    ]
    header = ["written: remedy", "en to en", "en to L", "L to en", "L to L", "mean", "dims"]
    return markdown(header, table) + "\n" + "\n".join(lines) + "\n"
