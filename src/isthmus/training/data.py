"""Rows to train on, by column, and which columns they must have."""

from __future__ import annotations

import hashlib
import json
import math
import re
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from isthmus.errors import InputError
from isthmus.reading.training_rows import Row, read_rows

QUERY = ("query", "anchor")
POSITIVE = ("positive", "passage", "document")
NEGATIVE = re.compile(r"negative(?:_(\d+))?")


@dataclass(frozen=True)
class TrainingData:
    """Rows by column, in the order that the losses of sentence-transformers go by.

    Attributes:
        name: File or hub id.
        texts: ``query``, ``positive``, then the negatives under their own names; every column of the same length.
        scores: A teacher's scores of every row: of the positive and of each negative, or their one difference.
        digest: Hash of all of it.
    """

    name: str
    texts: dict[str, list[str]]
    scores: list[list[float]] | None
    digest: str

    def __len__(self) -> int:
        return len(self.texts["query"])

    @property
    def negatives(self) -> int:
        """Number of negative columns."""
        return len(self.texts) - 2


def read_training_data(source: str | Path, *, limit: int | None = None) -> TrainingData:
    """Read training rows.

    Columns go by name: ``query`` or ``anchor``; ``positive``, ``passage`` or ``document``; any number of ``negative``,
    ``negative_1``, ``negative_2``..., of which a row may have fewer than others; and optionally ``scores``, a teacher's
    scores of the positive and of every negative, or one number with one negative, the difference of the two. Lists of
    negatives and FlagEmbedding's ``pos`` and ``neg`` are read as well, see
    :func:`isthmus.reading.training_rows.read_rows`. Other columns are left out.

    Args:
        source: A ``.jsonl``, ``.json``, ``.csv`` or ``.tsv`` file (also compressed), a ``.parquet`` file, or the id of
            a hub dataset, of which the split ``train`` is taken.
        limit: Read the first so many rows; None reads all.

    Raises:
        NotFoundError: If it is not there.
        CollectionError: If a line is not JSON; names file and line.
        InputError: If a column is missing or a value does not fit; names file and line.
        MissingExtraError: If a package that reads the format is not installed.

    Example:
        >>> read_training_data("pairs.jsonl", limit=100).negatives  # doctest: +SKIP
        0
    """
    return parse_rows(islice(read_rows(source), limit), str(source))


def parse_rows(rows: Iterator[Row], name: str) -> TrainingData:
    """Check rows against the contract of :func:`read_training_data`.

    Args:
        rows: Where each row stands ("pairs.jsonl, line 3"), and its values by column.
        name: What the rows are called.

    Raises:
        InputError: If a row breaks the contract, or there is none.
    """
    texts: dict[str, list[str]] = {"query": [], "positive": []}
    negatives: list[list[str]] = []
    scores: list[list[float]] = []
    columns: dict[str, str] = {}
    names: dict[str, None] = {}
    scored, unused = False, set()
    for where, row in rows:
        if not columns:
            columns, scored = find_columns(list(row), where), row.get("scores") is not None
        for column in texts:
            texts[column].append(_text(row.get(columns[column]), columns[column], row, where))
        own = _negatives(row, where)
        names |= dict.fromkeys(own)
        negatives.append(list(own.values()))
        unused |= {key for key in row if key.startswith("neg") and not NEGATIVE.fullmatch(key)}
        if (row.get("scores") is not None) != scored:
            raise InputError(
                f"{where}: every row must have the columns of the first, got {'no scores' if scored else 'scores'} "
                "here alone; fill or drop the column"
            )
        if scored:
            scores.append(_scores(row["scores"], len(own), where))
    if not columns:
        raise InputError(f"training data must hold at least one row, got none in {name}")
    if unused:
        warnings.warn(f"{name}: not trained with: {', '.join(sorted(unused))}", stacklevel=2)
    texts |= _in_columns(negatives, texts, sorted(names, key=_number), name, filling=not scored)
    if len({len(row) for row in scores}) > 1:
        raise InputError(f"{name}: scores must be lists in every row or numbers in every row, got both; use lists")
    digest = hashlib.blake2b(digest_size=16)
    for column, values in texts.items():
        digest.update(json.dumps([column, values]).encode())
    digest.update(json.dumps(scores).encode())
    return TrainingData(name, texts, scores if scored else None, digest.hexdigest())


def _number(column: str) -> int:
    match = NEGATIVE.fullmatch(column)
    return int(match[1] or 0) if match else 0


def _negatives(row: Mapping[str, Any], where: str) -> dict[str, str]:
    """The negatives that a row has, in the order of their numbers; null and blank ones are none."""
    found = {}
    for column in sorted((key for key in row if NEGATIVE.fullmatch(key)), key=_number):
        value = row[column]
        if value is not None and not isinstance(value, str):
            raise InputError(f"{where}: {column!r} must be a text, got {value!r:.60}; give every negative its own text")
        if value and value.strip():
            found[column] = value
    return found


def _in_columns(
    negatives: list[list[str]], texts: Mapping[str, list[str]], names: list[str], name: str, *, filling: bool
) -> dict[str, list[str]]:
    """A column for each negative of the row with the most.

    Losses take as many of every row. A row with fewer has its own again; one with none has positives of other queries,
    which are its negatives in any batch that they share.

    Raises:
        InputError: If rows with a teacher's scores have different numbers, or a row without has no other query.
    """
    most = max(map(len, negatives), default=0)
    short = sum(len(own) < most for own in negatives)
    if short and not filling:
        raise InputError(f"{name}: rows with scores must all have as many negatives, got fewer in {short}; fill them")
    if short:
        warnings.warn(
            f"{name}: {short} of {len(negatives)} rows have fewer negatives than {most}; they get their own again, or "
            "the positives of other rows",
            stacklevel=3,
        )
    answers: dict[str, set[str]] = {}
    for query, positive in zip(texts["query"], texts["positive"], strict=True):
        answers.setdefault(query, {query}).add(positive)
    filled = [
        own if len(own) == most else list(islice(cycle(own or _others(row, texts, answers, most, name)), most))
        for row, own in enumerate(negatives)
    ]
    labels = names if len(names) == most else [f"negative_{number}" for number in range(1, most + 1)]
    return {label: [row[place] for row in filled] for place, label in enumerate(labels)}


def _others(
    row: int, texts: Mapping[str, list[str]], answers: Mapping[str, set[str]], count: int, name: str
) -> list[str]:
    """Positives of the next rows that do not answer this row's query."""
    positives, own = texts["positive"], answers[texts["query"][row]]
    following = (positives[(row + step) % len(positives)] for step in range(1, len(positives)))
    found = list(islice(dict.fromkeys(text for text in following if text not in own), count))
    if not found:
        raise InputError(f"{name}: a row without negatives must stand beside rows of other queries, got none; add some")
    return found


def find_columns(found: list[str], where: str) -> dict[str, str]:
    """Names of the columns of query and positive.

    Raises:
        InputError: If query or positive is missing or there twice; lists the columns found.
    """
    columns: dict[str, str] = {}
    for role, names in (("query", QUERY), ("positive", POSITIVE)):
        present = [name for name in names if name in found]
        if len(present) != 1:
            raise InputError(
                f"{where}: must have one column {' or '.join(map(repr, names))}, got the columns "
                f"{', '.join(map(repr, found)) or 'none'}; rename the one that holds the {role}"
            )
        columns[role] = present[0]
    return columns


def _text(value: Any, column: str, row: Mapping[str, Any], where: str) -> str:
    if not isinstance(value, str):
        found = f"{value!r:.60}" if column in row else f"no such column among {', '.join(map(repr, row)) or 'none'}"
        raise InputError(f"{where}: {column!r} must be a text, got {found}; every row needs the columns of the first")
    if not value.strip():
        raise InputError(f"{where}: {column!r} must not be empty; remove the row or fill it")
    return value


def _scores(value: Any, negatives: int, where: str) -> list[float]:
    """One list per row, from a number, a list, or the JSON text of one, as a CSV has it."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError as error:
            raise InputError(f"{where}: 'scores' must be a number or a JSON list, got {value[:60]!r}") from error
    listed = value if isinstance(value, list) else [value]
    numbers = [isinstance(one, (int, float)) and not isinstance(one, bool) and math.isfinite(one) for one in listed]
    expected = negatives + 1 if isinstance(value, list) else 1
    if not all(numbers) or len(listed) != expected or (expected == 1 and negatives != 1):
        raise InputError(
            f"{where}: 'scores' must be a list of finite numbers, one of the positive and one of each of the "
            f"{negatives} negatives (or, with one negative, their difference), got {value!r:.80}"
        )
    return [float(one) for one in listed]
