"""Pairs to train on and to choose settings on; evaluation collections are never read here.

Development pairs: *sections* of documentation are asked by their headings. *Cloze* are passages of general prose from
which one sentence was taken and is the query (inverse cloze, arXiv 1906.00300).
"""

from __future__ import annotations

import json
import lzma
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from isthmus.collections import Collection

LANGUAGES = ("ar", "hi", "ko", "ru", "zh")
# Sources of the parallel files whose sentences are in the order of their documents.
PROSE = ("wmt_newstest", "tico19", "nk_news", "ko_news", "jhe")
SENTENCES = 5
# Half of the Korean sections are machine translations of years ago.
LEFT_OUT = ("ms_cpp_docs_mt",)


def section_rows(
    data: Path, language: str, limit: int, seed: int, *, queries: Sequence[str] = ("query",)
) -> list[dict[str, Any]]:
    """At most ``limit`` rows with distinct passages whose ``queries`` are not empty, in the order of the file."""
    with lzma.open(data / f"sections/dev.en-{language}.jsonl.xz", "rt", encoding="utf-8") as stream:
        rows = [row for row in map(json.loads, stream) if all(row[side].strip() for side in queries)]
    rows = list({row["passage"]: row for row in rows}.values())
    chosen = np.random.default_rng(seed).choice(len(rows), min(limit, len(rows)), replace=False)
    return [rows[i] for i in sorted(chosen.tolist())]


def prose_blocks(data: Path, language: str) -> list[list[tuple[str, str]]]:
    """Neighbouring sentences of general prose, (English, translation) each."""
    runs: list[list[tuple[str, str]]] = []
    previous = None
    with lzma.open(data / f"parallel/en-{language}.tsv.xz", "rt", encoding="utf-8") as stream:
        for line in stream:
            source, english, translation = line.rstrip("\n").split("\t")[:3]
            if source.startswith(PROSE):
                if source != previous:
                    runs.append([])
                runs[-1].append((english, translation))
            previous = source
    return [run[i : i + SENTENCES] for run in runs for i in range(0, len(run) - SENTENCES + 1, SENTENCES)]


def sections(data: Path, language: str, limit: int, seed: int) -> Collection:
    """At most ``limit`` (heading, section) pairs of a language; distinct passages."""
    rows = section_rows(data, language, limit, seed)
    return paired(f"sections-dev-{language}", [row["query"] for row in rows], [row["passage"] for row in rows])


def cloze(data: Path, language: str, limit: int, seed: int) -> Collection:
    """At most ``limit`` passages of neighbouring sentences, each without the one that is its query."""
    blocks = [[translation for _, translation in block] for block in prose_blocks(data, language)]
    rng = np.random.default_rng(seed)
    chosen = sorted(rng.choice(len(blocks), min(limit, len(blocks)), replace=False).tolist())
    queries, passages = [], []
    for block in (blocks[i] for i in chosen):
        taken = int(rng.integers(SENTENCES))
        queries.append(block[taken])
        passages.append(" ".join(block[:taken] + block[taken + 1 :]))
    return paired(f"cloze-{language}", queries, passages)


def paired(name: str, queries: Sequence[str], passages: Sequence[str], language: str | None = None) -> Collection:
    """Every query has one relevant passage, its own."""
    return Collection(
        name,
        {f"d{i}": passage for i, passage in enumerate(passages)},
        {f"q{i}": query for i, query in enumerate(queries)},
        {f"q{i}": {f"d{i}": 1} for i in range(len(queries))},
        language,
    )


def target_text(data: Path, language: str) -> list[str]:
    """Unlabelled text for FOCUS: target sides of the training pairs, without the prose that development reads."""
    texts = []
    with lzma.open(data / f"parallel/en-{language}.tsv.xz", "rt", encoding="utf-8") as stream:
        for line in stream:
            source, _, text = line.rstrip("\n").split("\t")[:3]
            if not source.startswith((*PROSE, *LEFT_OUT)):
                texts.append(text)
    return texts + [text for row in training_rows(data, language) for text in (row["query"], row["passage"])]


def training_rows(data: Path, language: str) -> list[dict[str, Any]]:
    """Headings and sections of documentation to train on."""
    with lzma.open(data / f"sections/en-{language}.jsonl.xz", "rt", encoding="utf-8") as stream:
        rows = [json.loads(line) for line in stream]
    return [row for row in rows if row["source"] not in LEFT_OUT and row["query"].strip() and row["passage"].strip()]
