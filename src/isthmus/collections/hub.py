"""Published collections under their own names, from replicas in the folder ISTHMUS_DATA or from the hub.

A replica stands under the name of what it replaces: ``miracl/miracl-corpus/miracl-corpus-v1.0-ko/docs-0.jsonl.gz``,
``PaDaS-Lab/webfaq-retrieval/kor-corpus/corpus.parquet`` (a configuration and a split).
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from isthmus.collections.beir import from_rows, read_beir
from isthmus.collections.collection import Collection
from isthmus.collections.qrels import named_judgement
from isthmus.collections.squad import from_questions
from isthmus.errors import CollectionError, MissingExtraError, NotFoundError, UnknownNameError
from isthmus.options import ReadOptions
from isthmus.reading.lines import joined, read_lines
from isthmus.reading.records import found_files, read_records

MIRACL, MIRACL_CORPUS = "miracl/miracl", "miracl/miracl-corpus"
WEBFAQ, MLQA, XORQA = "PaDaS-Lab/webfaq-retrieval", "facebook/mlqa", "google/IndicGenBench_xorqa_in"
NANOBEIR = "sentence-transformers/NanoBEIR-en"
# Where the hub keeps Parquet of a set that has a loading script of its own, which is not run any more.
CONVERTED = "refs/convert/parquet"
NANO_PARTS = (
    "ArguAna", "ClimateFEVER", "DBPedia", "FEVER", "FiQA2018", "HotpotQA", "MSMARCO", "NFCorpus", "NQ",
    "QuoraRetrieval", "SCIDOCS", "SciFact", "Touche2020",
)  # fmt: skip
_NANO = re.compile(r"(?P<repository>[\w.-]+/NanoBEIR-(?P<language>[\w-]+))/(?P<part>\w+)")
# ISO 639-1 to WebFAQ's codes.
_ISO_639_3 = {
    "ar": "ara", "bn": "ben", "cs": "ces", "da": "dan", "de": "deu", "en": "eng", "es": "spa", "fa": "fas", "fi": "fin",
    "fr": "fra", "he": "heb", "hi": "hin", "hu": "hun", "id": "ind", "it": "ita", "ja": "jpn", "ko": "kor", "nl": "nld",
    "no": "nor", "pl": "pol", "pt": "por", "ro": "ron", "ru": "rus", "sv": "swe", "th": "tha", "tr": "tur", "uk": "ukr",
    "vi": "vie", "zh": "zho",
}  # fmt: skip
Reader = Callable[[str, str, ReadOptions], Collection]


@dataclass(frozen=True)
class HubSet:
    """A published collection.

    Attributes:
        read: Reads it by language, split and options.
        split: The split that it is evaluated on; ``test`` means that.
    """

    read: Reader
    split: str


def data_folders() -> list[Path]:
    """Where collections may lie: ``retrieval`` in the folder ISTHMUS_DATA, and that folder."""
    data = os.environ.get("ISTHMUS_DATA")
    return [Path(data, "retrieval"), Path(data)] if data else []


def hub_rows(repository: str, config: str, split: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Where each row of a split stands, and its values, from a replica or the hub.

    Raises:
        NotFoundError: If it is in neither.
        MissingExtraError: If the package ``datasets`` is needed and not installed.
    """
    for folder in data_folders():
        files = found_files(folder / repository, f"{config}/{split}", f"{config}/{split}-*", f"{config}/{split}/*")
        if files:
            for path in files:
                yield from read_records(path)
            return
    try:
        from datasets import load_dataset
    except ImportError as error:
        raise MissingExtraError("datasets", "hub") from error
    try:
        rows = load_dataset(repository, config, split=split)
    except Exception as error:  # datasets raises whatever its network layer does
        raise _not_found(repository, f"{config}/{split}", error) from error
    for number, row in enumerate(rows, start=1):
        yield f"{repository} {config} {split}, row {number}", row


def hub_folder(repository: str, folder: str, *, pattern: str = "*", revision: str | None = None) -> Path:
    """A folder of a repository, from a replica or downloaded.

    Raises:
        NotFoundError: If it is in neither.
    """
    for root in data_folders():
        if any((root / repository / folder).glob(pattern)):
            return root / repository / folder
    from huggingface_hub import snapshot_download

    wanted = f"{folder}/{pattern}".removeprefix("./")
    try:
        place = snapshot_download(repository, repo_type="dataset", revision=revision, allow_patterns=[wanted])
    except Exception as error:  # whatever the network layer raises
        raise _not_found(repository, wanted, error) from error
    if not any((Path(place) / folder).glob(pattern)):
        raise _not_found(repository, wanted, FileNotFoundError("no such files"))
    return Path(place) / folder


def miracl(language: str, split: str, options: ReadOptions) -> Collection:
    """MIRACL (arXiv 2210.09984): questions on all of a Wikipedia."""
    folder = hub_folder(MIRACL, f"miracl-v1.0-{language}", pattern=f"*/*-{split}.tsv")
    corpus = hub_folder(MIRACL_CORPUS, f"miracl-corpus-v1.0-{language}", pattern="docs*")
    return read_beir(folder, split=split, language=language, options=options, corpus=corpus)


def webfaq(language: str, split: str, options: ReadOptions) -> Collection:
    """WebFAQ's retrieval data (arXiv 2502.20936): questions on all answers of a language."""
    if language not in _ISO_639_3:
        raise UnknownNameError("language of webfaq", language, _ISO_639_3)
    code = _ISO_639_3[language]
    corpus = (row for _, row in hub_rows(WEBFAQ, f"{code}-corpus", "corpus"))
    queries = (row for _, row in hub_rows(WEBFAQ, f"{code}-queries", split))
    judgements = (named_judgement(row, where) for where, row in hub_rows(WEBFAQ, f"{code}-qrels", split))
    return from_rows("webfaq", language, corpus, queries, judgements, options)


def mlqa(language: str, split: str, options: ReadOptions) -> Collection:
    """MLQA (arXiv 1910.07475): questions and passages in the same language."""
    folder = hub_folder(MLQA, f"mlqa.{language}.{language}/{split}", pattern="*.parquet", revision=CONVERTED)
    rows = (row for path in found_files(folder, "*") for row in read_records(path))
    questions = ((where, row["context"], str(row["id"]), row["question"]) for where, row in _having(rows, "id"))
    return from_questions(questions, name="mlqa", language=language)


def xorqa(language: str, split: str, options: ReadOptions) -> Collection:
    """XorQA-IN (arXiv 2404.16816), made from XOR-TyDi QA: questions in a language on English passages."""
    name = f"xorqa_{language}_{split}.json"
    path = hub_folder(XORQA, ".", pattern=name) / name
    try:
        content = json.loads(joined(str(path), (line for _, line in read_lines(path, refusal=CollectionError))))
        examples = content["examples"] if isinstance(content, dict) else content
        rows = [(f"{path}, example {number}", row) for number, row in enumerate(examples, start=1)]
    except (ValueError, KeyError, TypeError) as error:
        raise CollectionError(f"{path}: must be a JSON object with 'examples', got another ({error})") from error
    questions = (
        (where, row["context"], f"{language}-{number}", row["question"])
        for number, (where, row) in enumerate(_having(iter(rows)), start=1)
    )
    return from_questions(questions, name="xorqa", language=language)


def nanobeir(repository: str, part: str, language: str, options: ReadOptions) -> Collection:
    """A part of NanoBEIR, fifty queries of a collection of BEIR over some thousands of its passages.

    Raises:
        UnknownNameError: If there is no such part.
    """
    found = {name.lower(): name for name in NANO_PARTS}.get(part.lower().removeprefix("nano"))
    if found is None:
        raise UnknownNameError("part of NanoBEIR", part, NANO_PARTS)
    split = f"Nano{found}"
    corpus, queries = ((row for _, row in hub_rows(repository, config, split)) for config in ("corpus", "queries"))
    judgements = (named_judgement(row, where) for where, row in hub_rows(repository, "qrels", split))
    return from_rows(split, language, corpus, queries, judgements, options)


HUB_SETS = {
    "miracl": HubSet(miracl, "dev"),
    "mlqa": HubSet(mlqa, "test"),
    "webfaq": HubSet(webfaq, "test"),
    "xorqa": HubSet(xorqa, "test"),
}


def nano_name(name: str) -> tuple[str, str, str] | None:
    """Repository, part and language of ``nanobeir/NFCorpus``, ``NanoNFCorpus`` or ``ORG/NanoBEIR-de/NFCorpus``."""
    match = _NANO.fullmatch(name)
    if match:
        return match["repository"], match["part"], match["language"]
    if name.lower().startswith("nanobeir/"):
        return NANOBEIR, name.partition("/")[2], "en"
    return (NANOBEIR, name, "en") if name in {f"Nano{part}" for part in NANO_PARTS} else None


def _having(rows: Iterator[tuple[str, Mapping[str, Any]]], *more: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Rows that have a context and a question, checked."""
    for where, row in rows:
        for column in ("context", "question"):
            if not isinstance(row.get(column), str) or not row[column].strip():
                raise CollectionError(
                    f"{where}: {column!r} must be text that is not empty, got {row.get(column)!r:.80}"
                )
        missing = [column for column in more if row.get(column) is None]
        if missing:
            raise CollectionError(f"{where}: must have {missing[0]!r}, got {', '.join(row)}")
        yield where, row


def _not_found(repository: str, what: str, error: Exception) -> NotFoundError:
    places = ", ".join(str(folder / repository) for folder in data_folders()) or "no folder (ISTHMUS_DATA is not set)"
    reason = next(iter(str(error).splitlines()), "")
    return NotFoundError(
        f"{what} of {repository} was not found; looked for {places} and for the data set on the hub "
        f"({type(error).__name__}{f': {reason}' if reason else ''}); set ISTHMUS_DATA to a folder with a replica, or "
        "check the name, the network and, where the set is gated, your login (hf auth login)"
    )
