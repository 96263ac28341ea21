"""BEIR folders (arXiv 2104.08663): corpus.jsonl, queries.jsonl and qrels/<split>.tsv."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from isthmus.collections.collection import Collection, judged
from isthmus.errors import CollectionError, NotFoundError
from isthmus.reading.lines import COMPRESSIONS, read_texts
from isthmus.reading.storage import read_lines


def is_beir(folder: Path) -> bool:
    """Whether ``folder`` looks like a BEIR folder."""
    return any((folder / f"corpus.jsonl{suffix}").is_file() for suffix in COMPRESSIONS)


def read_beir(folder: Path, *, split: str = "test", language: str | None = None) -> Collection:
    """Read a BEIR folder; its files may be compressed (``.xz``, ``.gz``).

    Args:
        folder: Folder of the three files.
        split: Name of the judgements in ``qrels``. A header line is recognised by a grade that is not a number.
        language: ISO 639-1 code of the collection.

    Raises:
        NotFoundError: If a file is missing; lists the splits that exist.
        CollectionError: If a file is malformed or names unknown ids; names file and line.
    """
    corpus = read_texts(existing(folder, "corpus.jsonl"), "_id", title=True)
    queries = read_texts(existing(folder, "queries.jsonl"), "_id")
    qrels = read_qrels(existing(folder / "qrels", f"{split}.tsv"), corpus, queries)
    kept, grades, dropped = judged(queries, qrels)
    return Collection(folder.resolve().name, corpus, kept, grades, language, dropped)


def existing(folder: Path, name: str) -> Path:
    """The file ``name`` of ``folder``, compressed or not.

    Raises:
        NotFoundError: If it is not there; lists what is.
    """
    for suffix in COMPRESSIONS:
        path = folder / f"{name}{suffix}"
        if path.is_file():
            return path
    beside = ", ".join(sorted(path.name for path in folder.glob("*") if path.is_file())) or "no files"
    raise NotFoundError(f"{folder / name} does not exist; the folder holds {beside}")


def read_qrels(path: Path, corpus: Mapping[str, str], queries: Mapping[str, str]) -> dict[str, dict[str, int]]:
    """Read the grades of a qrels file by query id and passage id.

    Raises:
        CollectionError: If a line is malformed or names an id that is not known; names file and line.
    """
    qrels: dict[str, dict[str, int]] = {}
    for number, line in read_lines(path, refusal=CollectionError):
        where = f"{path}, line {number}"
        fields = line.split("\t")
        if len(fields) != 3:
            raise CollectionError(f"{where}: must be query id, passage id, grade and tabs between, got {line[:60]!r}")
        query, passage, grade = (field.strip() for field in fields)
        try:
            value = int(grade)
        except ValueError as error:
            if number == 1 and query not in queries:
                continue
            raise CollectionError(f"{where}: grade must be a whole number, got {grade!r}") from error
        if query not in queries:
            raise CollectionError(f"{where}: query id must be in the queries file, got {query!r}")
        if passage not in corpus:
            raise CollectionError(f"{where}: passage id must be in the corpus file, got {passage!r}")
        if passage in qrels.setdefault(query, {}):
            raise CollectionError(f"{where}: a passage must be judged once per query, got {query!r} {passage!r} again")
        qrels[query][passage] = value
    return qrels
