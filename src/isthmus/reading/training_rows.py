"""Rows to train on, read from files and from the hub, each with its place and one text in every column."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from isthmus.errors import InputError, MissingExtraError, NotFoundError
from isthmus.reading.records import KINDS, kind_of, read_records

Row = tuple[str, Mapping[str, Any]]
# What the columns of a TSV file may be called; the first three are those of triples without names, as MS MARCO's.
COLUMNS = ("query", "positive", "negative", "anchor", "passage", "document", "pos", "neg", "negatives")
TRIPLE = 3
# FlagEmbedding's names, and plurals, with or without a number.
_POSITIVES = ("pos", "positives")
# Columns that a list of negatives may stand in: not of scores or ids, and not a single numbered one.
_LISTED = re.compile(r"(?!.*(?:scores|ids|\d)$)neg.*")
_NEGATIVES = re.compile(r"(?:neg|negs|negatives)(_?\d+)?")


def read_rows(source: str | Path) -> Iterator[Row]:
    """Where each row stands ("pairs.jsonl, line 3") and its values by column, from a file or the hub.

    Columns of lists become columns of texts: ``neg``, ``negs`` and ``negatives`` (FlagEmbedding) are ``negative_1``,
    ``negative_2`` and so on, and other negatives in lists likewise. A row with several texts in ``pos`` or
    ``positive`` becomes as many rows.

    Args:
        source: A ``.jsonl``, ``.json``, ``.csv`` or ``.tsv`` file, compressed or not, a ``.parquet`` file, or the id of
            a hub dataset, of which the split ``train`` is taken. A TSV file without names holds query, positive and
            perhaps a negative.

    Raises:
        NotFoundError: If it is not there.
        CollectionError: If a line is not JSON; names file and line.
        InputError: If it is no such file, or damaged, or a list holds anything but texts.
        MissingExtraError: If a package that reads the format is not installed.
    """
    path = rows_file(source)
    if path is None:
        return _one_by_one(_hub_rows(str(source)))
    return _one_by_one(_texts_alone(read_records(path, columns=COLUMNS, places=TRIPLE)))


def rows_file(source: str | Path) -> Path | None:
    """The file that :func:`read_rows` reads, without reading it; None for the id of a hub dataset.

    Raises:
        NotFoundError: If it is not there.
        InputError: If it is no such file.
    """
    path = Path(source)
    kind = kind_of(path)
    if path.is_dir() or (path.exists() and kind is None):
        raise InputError(f"training data must be a file of {', '.join(KINDS)} or a hub id, got {path}; convert it")
    if kind is None:
        return None
    if not path.exists():
        raise NotFoundError(f"{path} does not exist")
    return path


def _texts_alone(rows: Iterator[Row]) -> Iterator[Row]:
    """Refuses triples of ids, which MS MARCO has as well."""
    for where, row in rows:
        if list(row) == list(COLUMNS[: len(row)]) and all(str(value).isdecimal() for value in row.values()):
            raise InputError(
                f"{where}: must have texts, got the ids {', '.join(map(str, row.values()))}; put texts in their place"
            )
        yield where, row


def _one_by_one(rows: Iterator[Row]) -> Iterator[Row]:
    for where, row in rows:
        kept: dict[str, Any] = {}
        positives: list[str] | None = None
        for column, value in row.items():
            texts = _listed(value)
            match = _NEGATIVES.fullmatch(column)
            if column in _POSITIVES or (column == "positive" and texts is not None):
                positives = _checked(texts if texts is not None else value, column, where)
            elif match and texts is None:
                _put(kept, f"negative_{match[1].lstrip('_')}" if match[1] else "negative", value, column, where)
            elif texts is not None and _LISTED.fullmatch(column):
                name = "negative" if match else column
                for number, text in enumerate(_checked(texts, column, where), start=1):
                    _put(kept, f"{name}_{number}", text, column, where)
            else:
                _put(kept, column, value, column, where)
        if positives is None:
            yield where, kept
            continue
        if not positives:
            raise InputError(f"{where}: must have a positive text, got none; remove the row or fill it")
        for positive in positives:
            # Where the first of several rows has its query, so that messages show the columns in their order.
            yield where, {"positive": positive, **kept} if "query" not in kept else _after_query(kept, positive)


def _after_query(row: dict[str, Any], positive: str) -> dict[str, Any]:
    return {"query": row["query"], "positive": positive, **{name: row[name] for name in row if name != "query"}}


def _put(row: dict[str, Any], name: str, value: Any, column: str, where: str) -> None:
    if name in row:
        raise InputError(f"{where}: must have {name!r} once, got {column!r} as well; rename one")
    row[name] = value


def _listed(value: Any) -> list[Any] | None:
    """The parts of a list, or of one that a CSV has as the text of JSON."""
    if isinstance(value, (list, tuple)):
        return list(value)
    if isinstance(value, str) and value.startswith("[") and value.endswith("]"):
        try:
            found = json.loads(value)
        except ValueError:
            return None
        return found if isinstance(found, list) and all(isinstance(one, str) for one in found) else None
    return None


def _checked(texts: Any, column: str, where: str) -> list[str]:
    listed = texts if isinstance(texts, list) else [texts]
    wrong = next((one for one in listed if not isinstance(one, str) or not one.strip()), None)
    if wrong is not None or None in listed:
        raise InputError(f"{where}: {column!r} must hold texts that are not empty, got {wrong!r:.60}; mend the row")
    return listed


def _hub_rows(name: str) -> Iterator[Row]:
    try:
        from datasets import load_dataset
    except ImportError as error:
        raise MissingExtraError("datasets", "train") from error
    try:
        dataset = load_dataset(name, split="train")
    except Exception as error:  # datasets raises whatever its network layer does
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise NotFoundError(
            f"training data must be a file of {', '.join(KINDS)} or the id of a hub dataset with a split 'train', "
            f"got {name!r}, which is no file and could not be downloaded ({reason}); check the name and the network"
        ) from error
    return ((f"{name}, row {number}", row) for number, row in enumerate(dataset, start=1))
