"""Rows to align on: parallel texts by role, with or without hard negatives."""

from __future__ import annotations

import hashlib
import json
import re
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from isthmus.errors import InputError
from isthmus.losses.roles import ROLES, negative_of
from isthmus.reading.training_rows import Row, read_rows

# Columns that say where a row comes from; counted, and the language also decides among whom negatives are looked for.
PROVENANCE = ("language", "translated_by", "source")
# What rows to train on call the passage of a query, and its negatives.
_PLAIN = re.compile(r"(?:positive|negative)(_\d+)?")


@dataclass(frozen=True)
class AlignData:
    """Parallel rows to align on, by column.

    Attributes:
        name: File or hub id.
        texts: By role, one text per row.
        negatives: By role and number, one text per row, or None where a row has no such negative.
        provenance: ``language``, ``translated_by`` and ``source``, where the data has them; "unknown" in rows without.
        digest: Hash of all of it.
    """

    name: str
    texts: dict[str, list[str]]
    negatives: dict[str, dict[int, list[str | None]]]
    provenance: dict[str, list[str]]
    digest: str

    def __len__(self) -> int:
        return len(next(iter(self.texts.values())))

    def counts(self) -> dict[str, dict[str, int]]:
        """Rows by language, by who translated them, and by source."""
        return {name: dict(Counter(values).most_common()) for name, values in self.provenance.items()}


def read_align_data(
    source: str | Path,
    required: list[str],
    columns: Mapping[str, str] | None = None,
    *,
    negatives: list[str],
    limit: int | None = None,
) -> AlignData:
    """Read rows; files and hub ids as for :func:`isthmus.training.read_training_data`.

    Args:
        source: File or hub id.
        required: Roles that every row must have.
        columns: By role (or ``negative_ROLE_N``, ``language``, ``translated_by``, ``source``), the name that the data
            has for it; those not given have their own. Columns that are neither are left out.
        negatives: Roles whose negatives are wanted.
        limit: Read the first so many rows; None reads all.

    Raises:
        NotFoundError: If it is not there.
        CollectionError: If a line is not JSON.
        InputError: If a row lacks a column or a text; names file, line and column.
    """
    mapping = dict(columns or {})
    for name in mapping:
        if name not in ROLES and name not in PROVENANCE and negative_of(name) is None:
            raise InputError(
                f"columns must be of {', '.join(ROLES)}, negative_ROLE_N, {', '.join(PROVENANCE)}; got {name!r}; write "
                "ROLE=NAME"
            )
    return _collect(
        _renamed(islice(read_rows(source), limit), mapping, set(required)), str(source), required, negatives
    )


def _renamed(rows: Iterator[Row], mapping: Mapping[str, str], required: set[str]) -> Iterator[Row]:
    """Rows under our names; a column that goes by another name must be there."""
    taken = set(mapping.values())
    for where, row in rows:
        for name, own in mapping.items():
            if own not in row and name in required:
                found = ", ".join(map(repr, row)) or "none"
                raise InputError(f"{where}: must have the column {own!r} for {name!r}, got {found}; check the mapping")
        kept = {name: value for name, value in row.items() if name not in taken and name not in mapping}
        yield where, _by_role(kept | {name: row[own] for name, own in mapping.items() if own in row})


def _by_role(row: dict[str, Any]) -> dict[str, Any]:
    """A row with what rows to train on call a positive and its negatives under their roles."""
    named = {}
    for name, value in row.items():
        match = _PLAIN.fullmatch(name)
        role = f"{'passage' if name == 'positive' else 'negative_passage'}{match[1] or ''}" if match else name
        named[name if role in row else role] = value
    return named


def _collect(rows: Iterator[Row], name: str, required: list[str], negatives: list[str]) -> AlignData:
    texts: dict[str, list[str]] = {role: [] for role in required}
    found: dict[tuple[str, int], dict[int, str]] = {}
    provenance: dict[str, dict[int, str]] = {}
    unused: set[str] = set()
    number = 0
    for number, (where, row) in enumerate(rows, start=1):
        unused |= _unused(row, negatives)
        for role in required:
            texts[role].append(_text(row, role, where))
        for column, value in row.items():
            negative = negative_of(column)
            if negative is not None and negative[0] in negatives and _given(value, column, where):
                place = found.setdefault(negative, {})
                if number - 1 in place:
                    raise InputError(
                        f"{where}: must have negative {negative[1]} of {negative[0]!r} once, got {column!r}"
                    )
                place[number - 1] = value
            elif column in PROVENANCE and isinstance(value, str) and value:
                provenance.setdefault(column, {})[number - 1] = value
    if unused:
        warnings.warn(f"{name}: not aligned with: {', '.join(sorted(unused))}", stacklevel=2)
    if not number:
        raise InputError(f"training data must hold at least one row, got none in {name}")
    by_role: dict[str, dict[int, list[str | None]]] = {role: {} for role in negatives}
    for (role, index), place in sorted(found.items()):
        by_role[role][index] = [place.get(row) for row in range(number)]
    told = {
        column: [provenance[column].get(row, "unknown") for row in range(number)]
        for column in PROVENANCE
        if column in provenance
    }
    digest = hashlib.blake2b(json.dumps([texts, by_role, told], sort_keys=True).encode(), digest_size=16)
    return AlignData(name, texts, by_role, told, digest.hexdigest())


def _unused(row: Mapping[str, Any], negatives: list[str]) -> set[str]:
    """Columns of negatives that the loss has no use for."""
    named = {column: negative_of(column) for column, value in row.items() if column.startswith("neg") and value}
    return {column for column, negative in named.items() if negative is None or negative[0] not in negatives}


def _text(row: Mapping[str, Any], role: str, where: str) -> str:
    value = row.get(role)
    if not isinstance(value, str):
        found = f"{value!r:.60}" if role in row else f"the columns {', '.join(map(repr, row)) or 'none'}"
        raise InputError(
            f"{where}: {role!r} must be a text, got {found}; name the column that holds it, as --column {role}=NAME"
        )
    if not value.strip():
        raise InputError(f"{where}: {role!r} must not be empty; remove the row or fill it")
    return value


def _given(value: Any, column: str, where: str) -> bool:
    """Whether a row has this negative."""
    if value is not None and not isinstance(value, str):
        raise InputError(f"{where}: {column!r} must be a text, or empty where there is no negative, got {value!r:.60}")
    return bool(value and value.strip())
