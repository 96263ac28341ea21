"""Rows to train on, read from files and from the hub, each with its place."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from isthmus.errors import InputError, MissingExtraError, NotFoundError
from isthmus.reading.lines import COMPRESSIONS, open_text, read_jsonl
from isthmus.reading.records import parquet_rows
from isthmus.reading.storage import DAMAGE

FORMATS = (".jsonl", ".csv", ".parquet")
Row = tuple[str, Mapping[str, Any]]


def read_rows(source: str | Path) -> Iterator[Row]:
    """Where each row stands ("pairs.jsonl, line 3") and its values by column, from a file or the hub.

    Args:
        source: A ``.jsonl`` or ``.csv`` file, compressed or not, a ``.parquet`` file, or the id of a hub dataset, of
            which the split ``train`` is taken.

    Raises:
        NotFoundError: If it is not there.
        CollectionError: If a line is not JSON; names file and line.
        InputError: If it is no such file, or damaged.
        MissingExtraError: If a package that reads the format is not installed.
    """
    path, kind = rows_file(source)
    if path is None:
        return _hub_rows(str(source))
    if kind == ".jsonl":
        return ((f"{path}, line {number}", row) for number, row in read_jsonl(path))
    return _csv_rows(path) if kind == ".csv" else parquet_rows(str(path), path)[1]


def rows_file(source: str | Path) -> tuple[Path | None, str]:
    """The file that :func:`read_rows` reads and its kind, without reading it; None for the id of a hub dataset.

    Raises:
        NotFoundError: If it is not there.
        InputError: If it is no such file.
    """
    path = Path(source)
    suffixes = [suffix for suffix in path.suffixes[-2:] if suffix not in COMPRESSIONS]
    kind = suffixes[-1] if suffixes else ""
    if path.is_dir() or (path.exists() and kind not in FORMATS):
        raise InputError(f"training data must be a file of {', '.join(FORMATS)} or a hub id, got {path}; convert it")
    if kind not in FORMATS:
        return None, ""
    if not path.exists():
        raise NotFoundError(f"{path} does not exist")
    return path, kind


def _csv_rows(path: Path) -> Iterator[Row]:
    with open_text(path) as stream:
        reader = csv.DictReader(stream, strict=True)
        try:
            for row in reader:
                where = f"{path}, line {reader.line_num}"
                if None in row or None in row.values():
                    raise InputError(f"{where}: must have as many fields as the header, got others; check the quotes")
                yield where, row
        except UnicodeDecodeError as error:
            raise InputError(f"{path}: must be UTF-8 text ({error}); convert the file") from error
        except (csv.Error, *DAMAGE) as error:
            raise InputError(
                f"{path}, line {reader.line_num}: must be CSV ({error}); mend the record, or fetch the file again"
            ) from error


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
            f"training data must be a file of {', '.join(FORMATS)} or the id of a hub dataset with a split 'train', "
            f"got {name!r}, which is no file and could not be downloaded ({reason}); check the name and the network"
        ) from error
    return ((f"{name}, row {number}", row) for number, row in enumerate(dataset, start=1))
