"""What an adaptation measures on: questions made of the text itself, or a person's own."""

from __future__ import annotations

import csv
import random
from pathlib import Path
from typing import Any

from isthmus.adapting.sample import Sample
from isthmus.collections import Collection, load
from isthmus.errors import CollectionError, InputError
from isthmus.reading.lines import read_lines
from isthmus.reading.records import read_records
from isthmus.training.unlabelled import pairs_from_text

QUESTIONS = 300
LEAST = 20
# Root mean square of how far a difference from BM25 by such questions is off that by labels (docs/results/adapt.md).
ERROR = 0.03


def made_of_text(sample: Sample, *, pool: int, seed: int) -> Collection:
    """Titles, headings and sentences that were cut out of their passages, each to find what it belongs to.

    What stayed in its passage would be found by its words alone, and BM25 would win by the way the question was made.
    Of the ways that were tried this one is least off what labels say (docs/results/adapt.md). A passage of fewer than
    three sentences gives a snippet.

    Args:
        sample: The documents.
        pool: Documents whose passages are searched.
        seed: Seed of the draw.

    Raises:
        InputError: If too few questions come of the text.
    """
    draw = random.Random(seed)
    places = sorted(draw.sample(range(len(sample.documents)), min(pool, len(sample.documents))))
    rows = [
        {"id": document.id, "title": document.title, "text": document.text}
        for document in (sample.documents[place] for place in places)
    ]
    made = pairs_from_text(rows, seed=seed, whole_sentences=True, show_progress_bar=False)
    asked = list(zip(made.kinds, made.data.texts["query"], made.data.texts["positive"], strict=True))
    passages = {text: f"p{number}" for number, text in enumerate(dict.fromkeys(text for _, _, text in asked))}
    chosen = sorted(draw.sample(range(len(asked)), min(QUESTIONS, len(asked))))
    if len(chosen) < LEAST:
        raise InputError(
            f"CORPUS must give {LEAST} questions to measure on, got {len(chosen)} titles, headings and sentences; add "
            "documents of twelve words and more, or pass --questions"
        )
    queries = {f"{asked[place][0]}{place}": asked[place][1] for place in chosen}
    qrels = {f"{asked[place][0]}{place}": {passages[asked[place][2]]: 1} for place in chosen}
    corpus = {identifier: text for text, identifier in passages.items()}
    return Collection("questions made of the text", corpus, queries, qrels, sample.language)


def read_questions(path: Path) -> list[tuple[str, str]]:
    """Question and document id of every row of a file of two columns.

    Args:
        path: ``.tsv`` or ``.csv`` (question, id), or ``.jsonl`` with ``query`` and ``id``.

    Raises:
        NotFoundError: If it is not there.
        CollectionError: If a row has not two columns; names the line.
    """
    rows: list[tuple[str, str]] = []
    if ".jsonl" in path.suffixes:
        for where, row in read_records(path):
            question, identifier = row.get("query"), row.get("id")
            if not isinstance(question, str) or not isinstance(identifier, (str, int)):
                raise CollectionError(f"{where}: must have 'query' and 'id', got {', '.join(row) or 'none'}")
            rows.append((question.strip(), str(identifier)))
    else:
        lines = (line for _, line in read_lines(path, keep_blank=True, refusal=CollectionError))
        for number, cells in enumerate(csv.reader(lines, delimiter="\t" if ".tsv" in path.suffixes else ","), 1):
            if len(cells) != 2 or not all(cell.strip() for cell in cells):
                raise CollectionError(f"{path}, line {number}: must be a question and an id, got {cells!r}")
            rows.append((cells[0].strip(), cells[1].strip()))
    if not rows:
        raise CollectionError(f"{path} must hold questions, got none")
    return rows


def asked_by_a_person(sample: Sample, rows: list[tuple[str, str]], *, pool: int, seed: int) -> Collection:
    """A person's questions over the documents that answer them and others drawn from the corpus."""
    relevant = {identifier for _, identifier in rows}
    others = [document for document in sample.documents if document.id not in relevant]
    drawn = random.Random(seed).sample(others, min(max(pool - len(relevant), 0), len(others)))
    corpus = {document.id: document.content for document in sample.documents if document.id in relevant}
    corpus |= {document.id: document.content for document in drawn}
    queries: dict[str, str] = {}
    qrels: dict[str, dict[str, int]] = {}
    known: dict[str, str] = {}
    for question, identifier in rows:
        key = known.setdefault(question, f"q{len(known)}")
        queries[key] = question
        qrels.setdefault(key, {})[identifier] = 1
    return Collection("your questions", corpus, queries, qrels, sample.language)


def collection_of(path: Path, language: str | None) -> Any:
    """A BEIR folder of questions; None where ``path`` is a file of two columns."""
    return load(path, language=language) if path.is_dir() else None
