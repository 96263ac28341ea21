"""The data of the papers' tables, from the hub or from a folder with replicas of the same columns.

A replica stands under the name of what it replaces, a configuration and split as Parquet:
``PaDaS-Lab/webfaq-retrieval/ara-corpus/corpus.parquet``, ``facebook/mlqa/mlqa.en.en/test/0000.parquet``. MIRACL has
its own files: ``miracl/miracl/miracl-v1.0-ar/topics/topics.miracl-v1.0-ar-dev.tsv``. Models are under
``models/naver/splade-v3``. XQuAD and Belebele are those that :func:`isthmus.collections.load_parallel` finds.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.encoding import sample_queries
from isthmus.assets import PREFIX
from isthmus.collections import Collection
from isthmus.collections.collection import judged
from isthmus.errors import InputError, NotFoundError
from isthmus.reading.storage import atomic_write
from isthmus.reading.training_rows import read_rows

WEBFAQ, MIRACL, MLQA = "PaDaS-Lab/webfaq-retrieval", "miracl/miracl", "facebook/mlqa"
# The codes of WebFAQ.
ISO_639_3 = {"ar": "ara", "hi": "hin", "ko": "kor", "ru": "rus", "zh": "zho"}
# MLQA's own loading script is not run by datasets 3 and later; the hub converted it.
CONVERTED = {MLQA: f"{MLQA}@refs/convert/parquet"}
MLQA_LANGUAGES = ("ar", "de", "en", "es", "hi", "vi", "zh")


@dataclass(frozen=True)
class Source:
    """Where data and models are.

    Attributes:
        data: Folder with the replicas; None is the hub.
    """

    data: Path | None

    def use(self) -> None:
        """Let the library look for XQuAD and Belebele in the same place."""
        if self.data is None:
            os.environ.pop("ISTHMUS_DATA", None)
        else:
            os.environ["ISTHMUS_DATA"] = str(self.data)

    def model(self, name: str) -> str:
        """What to load a model or tokenizer by: without the hub a replica, a folder or a built-in name.

        Raises:
            NotFoundError: If it is none of them.
        """
        if self.data is None or name.startswith(PREFIX) or Path(name).is_dir():
            return name
        if not (self.data / "models" / name).is_dir():
            raise NotFoundError(
                f"{self.data / 'models' / name} does not exist; make the replica, name another model, or read the hub "
                "with --hub"
            )
        return str(self.data / "models" / name)

    def split(self, repository: str, config: str, split: str) -> Iterable[Mapping[str, Any]]:
        """Rows of a split of a dataset."""
        if self.data is not None:
            return self.files("parquet", repository, f"{config}/{split}.parquet")
        from datasets import load_dataset

        return _loaded(f"{repository} {config} {split}", lambda: load_dataset(repository, config, split=split))

    def files(self, kind: str, repository: str, pattern: str, **options: Any) -> Iterable[Mapping[str, Any]]:
        """Rows of the files of a dataset."""
        from datasets import load_dataset

        if self.data is None:
            where = f"hf://datasets/{CONVERTED.get(repository, repository)}/{pattern}"
        else:
            where = str(self.data / repository / pattern)
            if not any((self.data / repository).glob(pattern)):
                raise NotFoundError(f"{where} does not exist; make the replica, or read the hub with --hub")
        return _loaded(where, lambda: load_dataset(kind, data_files=where, split="train", **options))


def _loaded(where: str, load: Any) -> Any:
    try:
        return load()
    except Exception as error:  # datasets raises whatever its network layer does
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise NotFoundError(f"{where} could not be read ({reason}); check the name and the network") from error


def webfaq(source: Source, language: str) -> Collection:
    """The test questions of WebFAQ's retrieval data (arXiv 2502.20936) over all its passages."""
    return _collection("webfaq", language, *_webfaq(source, language, "test"))


@cache
def webfaq_pairs(source: Source, language: str, path: Path) -> Path:
    """The training pairs of WebFAQ's retrieval data as JSONL, written once by a run."""
    corpus, queries, grades = _webfaq(source, language, "train")
    return write_rows(path, ({"query": queries[q], "positive": corpus[d]} for q, d, score in grades if score > 0))


def _webfaq(source: Source, language: str, split: str) -> tuple[dict[str, str], dict[str, str], list[Any]]:
    """Passages, the questions of a split, and its (question, passage, score)."""
    if language not in ISO_639_3:
        raise NotFoundError(f"language must be one of {', '.join(ISO_639_3)} for WebFAQ, got {language!r}")
    code = ISO_639_3[language]
    corpus = {row["_id"]: _titled(row) for row in source.split(WEBFAQ, f"{code}-corpus", "corpus")}
    queries = {row["_id"]: row["text"] for row in source.split(WEBFAQ, f"{code}-queries", split)}
    judged = source.split(WEBFAQ, f"{code}-qrels", split)
    return corpus, queries, [(row["query-id"], row["corpus-id"], row["score"]) for row in judged]


def miracl(source: Source, language: str) -> Collection:
    """The development questions of MIRACL (arXiv 2210.09984) over all its passages."""
    folder, name = f"miracl-v1.0-{language}", f"miracl-v1.0-{language}-dev.tsv"
    # Questions hold quotes.
    tsv = {"sep": "\t", "header": None, "quoting": 3, "keep_default_na": False}
    topics = source.files("csv", MIRACL, f"{folder}/topics/topics.{name}", names=["id", "text"], **tsv)
    columns = ["query", "round", "passage", "grade"]
    qrels = source.files("csv", MIRACL, f"{folder}/qrels/qrels.{name}", names=columns, **tsv)
    passages = source.files("json", f"{MIRACL}-corpus", f"miracl-corpus-v1.0-{language}/*.jsonl.gz")
    return _collection(
        "miracl",
        language,
        {row["docid"]: _titled(row) for row in passages},
        {str(row["id"]): row["text"] for row in topics},
        ((str(row["query"]), row["passage"], row["grade"]) for row in qrels),
    )


def mlqa_rows(source: Source, language: str) -> list[dict[str, str]]:
    """Rows to align on: MLQA's questions (arXiv 1910.07475) that English and a language have, with their passages."""
    if language not in MLQA_LANGUAGES:
        raise NotFoundError(f"rows of {language!r} must come from --rows, MLQA has {', '.join(MLQA_LANGUAGES)}")
    english = {row["id"]: row for row in source.files("parquet", MLQA, "mlqa.en.en/test/*.parquet")}
    return [
        {
            "language": language, "pivot_query": own["question"], "pivot_passage": own["context"],
            "query": row["question"], "passage": row["context"],
        }
        for row in source.files("parquet", MLQA, f"mlqa.{language}.{language}/test/*.parquet")
        if (own := english.get(row["id"]))
    ]  # fmt: skip


def given_rows(path: str, language: str) -> list[dict[str, str]]:
    """Rows of a file, by our names, or by position as CLEAR's: q_en, p_en+, p_en- x n, q_l+, q_l- x n.

    Args:
        path: File, with ``{language}`` in it where there are several.
        language: Which rows to take, where they say their language.
    """
    rows = [dict(row) for _, row in read_rows(path.replace("{language}", language))]
    if rows and "pivot_query" not in rows[0]:
        rows = [by_position(row, path) for row in rows]
    return [{"language": language, **row} for row in rows if row.get("language", language) == language]


def by_position(row: Mapping[str, Any], where: str) -> dict[str, Any]:
    """A row of CLEAR's file under the names that ``isthmus align`` knows."""
    count, odd = divmod(len(row) - 3, 2)
    if odd or count < 0:
        raise InputError(
            f"{where}: must have the column 'pivot_query', or 3 + 2n columns (q_en, p_en+, n p_en-, q_l+, n q_l-), got "
            f"{len(row)}: {', '.join(row)}"
        )
    numbers = range(1, count + 1)
    names = [
        "pivot_query", "pivot_passage", *(f"negative_pivot_passage_{n}" for n in numbers),
        "query", *(f"negative_query_{n}" for n in numbers),
    ]  # fmt: skip
    return dict(zip(names, row.values(), strict=True))


def write_rows(path: Path, rows: Iterable[Mapping[str, Any]]) -> Path:
    """Write rows as JSONL."""
    atomic_write(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode())
    return path


def smaller(collection: Collection, limit: int | None, passages: int | None, seed: int) -> Collection:
    """At most ``limit`` questions, drawn, and beside what is judged for them at most ``passages`` of the others."""
    collection = sample_queries(collection, limit, seed)
    kept = {passage for grades in collection.qrels.values() for passage in grades}
    others = [passage for passage in collection.corpus if passage not in kept]
    if passages is None or passages >= len(others):
        return collection
    kept |= {others[place] for place in np.random.default_rng(seed).choice(len(others), passages, replace=False)}
    corpus = {passage: text for passage, text in collection.corpus.items() if passage in kept}
    return replace(collection, corpus=corpus)


def _collection(
    name: str, language: str, corpus: dict[str, str], queries: dict[str, str], grades: Iterable[tuple[str, str, float]]
) -> Collection:
    qrels: dict[str, dict[str, int]] = {}
    for query, passage, grade in grades:
        qrels.setdefault(query, {})[passage] = int(grade)
    kept, found, dropped = judged(queries, qrels)
    return Collection(name, corpus, kept, found, language, dropped)


def _titled(row: Mapping[str, Any]) -> str:
    return " ".join(part for part in (row.get("title"), row["text"]) if part)
