"""Folders of a corpus, queries and judgements, as BEIR (arXiv 2104.08663), MIRACL, Pyserini and TREC have them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from isthmus.collections.collection import Collection, judged
from isthmus.collections.qrels import parse_qrels, read_judgements
from isthmus.errors import NotFoundError
from isthmus.options import ReadOptions
from isthmus.reading.corpus import CORPUS_FILES, Corpus, CorpusSource, Document, corpus_files
from isthmus.reading.fields import FieldNames
from isthmus.reading.lines import COMPRESSIONS
from isthmus.reading.notes import Notes
from isthmus.reading.records import KINDS, found_files

DEFAULT_SPLIT = "test"
_JUDGEMENTS = (".tsv", ".txt", ".trec", ".qrels", *KINDS)


@dataclass
class BeirParts:
    """What a folder holds.

    Attributes:
        name: Of the folder.
        documents: Passages by id, in the order of their files.
        queries: Queries by id.
        qrels: Grades by query id and passage id; passages that are not there among them.
        notes: What was taken for granted.
        places: File and line of every passage and query, under its role and id, where asked for.
    """

    name: str
    documents: dict[str, Document]
    queries: dict[str, Document]
    qrels: dict[str, dict[str, int]]
    notes: Notes
    places: dict[tuple[str, str], str] = field(default_factory=dict)


def is_beir(folder: Path) -> bool:
    """Whether ``folder`` holds the documents of a collection under one of the names they have."""
    return bool(found_files(folder, *CORPUS_FILES))


def read_beir(
    folder: Path,
    *,
    split: str = DEFAULT_SPLIT,
    language: str | None = None,
    options: ReadOptions | None = None,
    corpus: Path | None = None,
) -> Collection:
    """Read a folder with a corpus, queries and judgements.

    Args:
        folder: Folder with ``corpus.jsonl`` (also ``.tsv``, ``.csv``, ``.parquet``, compressed, or several
            ``docs-*.jsonl``), ``queries.jsonl`` or ``topics.SPLIT.tsv``, and ``qrels/SPLIT.tsv`` or
            ``qrels.SPLIT.tsv``, the judgements in BEIR's or TREC's columns.
        split: Name of the judgements.
        language: ISO 639-1 code of the collection.
        options: Names of fields, and whether to refuse what is taken for granted otherwise.
        corpus: Folder of the corpus where it is another one.

    Raises:
        NotFoundError: If a file is missing; lists the splits that exist.
        CollectionError: If a file is malformed; names file and line.
    """
    parts = read_parts(folder, split=split, options=options, corpus=corpus)
    texts = {identifier: query.text.strip() for identifier, query in parts.queries.items()}
    kept, grades, dropped = judged(texts, parts.qrels)
    passages = {identifier: document.content for identifier, document in parts.documents.items()}
    return Collection(parts.name, passages, kept, grades, language, dropped, notes=parts.notes)


def read_parts(
    folder: Path,
    *,
    split: str,
    options: ReadOptions | None = None,
    corpus: Path | None = None,
    placed: bool = False,
) -> BeirParts:
    """Read what :func:`read_beir` reads, with the metadata of passages and queries, and where each stands."""
    options = options or ReadOptions()
    notes = Notes(options.strict)
    places: dict[tuple[str, str], str] | None = {} if placed else None
    judged_in, asked_in = _qrels_files(folder, split), _query_files(folder, split)
    source = CorpusSource(tuple(corpus_files(corpus or folder)), options.field_names(), notes)
    documents = _by_id(Corpus(source), places)
    source = CorpusSource(tuple(asked_in), FieldNames(id=options.id_field), notes)
    queries = _by_id(Corpus(source, role="query"), places)
    judgements = (judgement for path in judged_in for judgement in read_judgements(path, queries, notes))
    qrels = parse_qrels(judgements, documents, queries, notes, f"{judged_in[0]}")
    return BeirParts(folder.resolve().name, documents, queries, qrels, notes, places or {})


def from_rows(
    name: str,
    language: str,
    corpus: Iterable[Mapping[str, object]],
    queries: Iterable[Mapping[str, object]],
    judgements: Iterable[tuple[str, str, str, object]],
    options: ReadOptions,
) -> Collection:
    """A collection of rows with BEIR's columns, wherever they come from.

    Raises:
        CollectionError: If a row is malformed.
    """
    notes = Notes(options.strict)
    documents = _by_id(Corpus(CorpusSource(corpus, notes=notes)))
    asked = _by_id(Corpus(CorpusSource(queries, notes=notes), role="query"))
    qrels = parse_qrels(judgements, documents, asked, notes, name)
    kept, grades, dropped = judged({id: query.text.strip() for id, query in asked.items()}, qrels)
    texts = {id: document.content for id, document in documents.items()}
    return Collection(name, texts, kept, grades, language, dropped, notes=notes)


def _by_id(corpus: Corpus, places: dict[tuple[str, str], str] | None = None) -> dict[str, Document]:
    found = {}
    for document in corpus:
        found[document.id] = document
        if places is not None:
            places[corpus.role, document.id] = corpus.where
    return found


def _query_files(folder: Path, split: str) -> list[Path]:
    """The queries of a split where they have a file of their own, else all."""
    found = found_files(
        folder,
        f"queries.{split}", f"topics.{split}", f"topics.*-{split}", f"topics/topics.*-{split}",
        "queries", f"queries/{split}", f"queries/{split}-*", "queries/*", "topics",
    )  # fmt: skip
    if not found:
        raise NotFoundError(
            f"{folder / 'queries.jsonl'} does not exist; the folder holds {_beside(folder)}; write the queries there, "
            f"or as topics.{split}.tsv (id, tab, text)"
        )
    return found if found[0].parent.name == "queries" else found[:1]


def _qrels_files(folder: Path, split: str) -> list[Path]:
    stems = [
        f"qrels/{split}",
        f"qrels.{split}",
        f"qrels.*-{split}",
        f"qrels/qrels.*-{split}",
        split,
        f"qrels/{split}-*",
    ]
    found = found_files(folder, *stems, *(["qrels"] if split == DEFAULT_SPLIT else []), kinds=_JUDGEMENTS)
    if not found:
        inside = folder / "qrels" if (folder / "qrels").is_dir() else folder
        splits = ", ".join(_splits(folder))
        raise NotFoundError(
            f"{folder / 'qrels' / f'{split}.tsv'} does not exist; the folder holds {_beside(inside)}"
            + (f"; choose another split with --split ({splits})" if splits else "")
        )
    return found if found[0].parent.name == "qrels" and "-0" in found[0].name else found[:1]


def _splits(folder: Path) -> list[str]:
    """Names of the judgements that a folder has."""
    names = [path.name for path in [*folder.glob("qrels/*.*"), *folder.glob("qrels.*.*")]]
    # Whatever stands before the split (MIRACL's version) or behind it (the number of a part of Parquet).
    ends = "|".join(re.escape(kind) for kind in (*_JUDGEMENTS, *filter(None, COMPRESSIONS)))
    stems = [re.sub(rf"(-\d+-of-\d+)?({ends})+$", "", name) for name in names]
    return sorted({re.split(r"[-.]", stem)[-1] for stem in stems})


def _beside(folder: Path) -> str:
    return ", ".join(sorted(path.name for path in folder.glob("*") if path.is_file())) or "no files"
