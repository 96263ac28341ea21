"""What the bytes of a corpus hold: rows of JSONL, CSV and Parquet, compressed or not, each with its place."""

from __future__ import annotations

import csv
import gzip
import io
import json
import lzma
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

from isthmus.errors import CollectionError, MissingExtraError, OutputError
from isthmus.reading.storage import DAMAGE, zstd_stream

PARQUET = ".parquet"
Rows = Iterator[tuple[str, Any]]
_PARQUET_ROWS = 1024
# The csv module stops at 128 KiB, which books pass; without any limit, one open quote would take in the whole file.
_FIELD_CHARACTERS = 2**24
_FIRST_BYTES = {b"\x1f\x8b": ".gz", b"\xfd7zXZ\x00": ".xz", b"\x28\xb5\x2f\xfd": ".zst", b"PAR1": PARQUET}


def sniffed(raw: BinaryIO) -> tuple[str, BinaryIO]:
    """Tell by the first bytes what a stream holds.

    Returns:
        ``.gz``, ``.xz``, ``.zst``, ``.parquet`` or nothing, and the stream with those bytes still in it.
    """
    head = raw.read(max(map(len, _FIRST_BYTES)))
    found = next((suffix for first, suffix in _FIRST_BYTES.items() if head.startswith(first)), "")
    return found, cast(BinaryIO, io.BufferedReader(_Rejoined(head, raw)))


class _Rejoined(io.RawIOBase):
    """Bytes that were read ahead, then the rest; a pipe cannot go back."""

    def __init__(self, head: bytes, rest: Any) -> None:
        self._head = head
        self._rest = rest

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        # "read1" gives what is there: a slow pipe's lines are not held back until a buffer is full.
        chunk = self._head[: len(buffer)] or self._rest.read1(len(buffer))
        self._head = self._head[len(buffer) :]
        buffer[: len(chunk)] = chunk
        return len(chunk)


def decompressed(raw: BinaryIO, compression: str) -> BinaryIO:
    """The bytes of a file that ends in ``compression``: ``.gz``, ``.xz``, ``.zst`` or nothing."""
    if compression == ".gz":
        return cast(BinaryIO, gzip.GzipFile(fileobj=raw))
    if compression == ".xz":
        return cast(BinaryIO, lzma.LZMAFile(raw))
    if compression == ".zst":
        return zstd_stream(raw)
    return raw


def jsonl_rows(name: str, stream: BinaryIO, *, remedy: str = "") -> Rows:
    """One row a line.

    Args:
        name: Of the file, for messages.
        stream: What it holds, decompressed.
        remedy: What to do where the very first line is no JSON; empty says the same as of any other.

    Raises:
        CollectionError: If a line is no JSON, or the file is damaged; names the line.
    """
    for number, line in numbered_lines(name, stream):
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            reason = f"{error.msg}, column {error.colno}" if isinstance(error, json.JSONDecodeError) else error
            told = f"{name}, line {number}: must be JSON, got {line[:60]!r} ({reason}); "
            raise CollectionError(
                told + (remedy if number == 1 and remedy else "mend the line or remove it")
            ) from error
        yield f"{name}, line {number}", row


def csv_rows(name: str, stream: BinaryIO) -> Rows:
    """One row a record, by the names in the header.

    Args:
        name: Of the file, for messages.
        stream: What it holds, decompressed.

    Raises:
        CollectionError: If it is no CSV, or the file is damaged; names the line.
    """
    # One limit for the whole process: raised for whoever else reads CSV here, never lowered.
    csv.field_size_limit(max(_FIELD_CHARACTERS, csv.field_size_limit()))
    reader = csv.DictReader((line for _, line in numbered_lines(name, stream, blank=True)), strict=True)
    while True:
        first = reader.line_num + 1
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            if "field limit" in str(error):
                raise CollectionError(
                    f"{name}, line {first}: must have fields of at most {csv.field_size_limit():,} characters, got a "
                    "longer one in the record that starts there; close its quotes, or cut it into documents"
                ) from error
            raise CollectionError(
                f"{name}, line {reader.line_num}: must be CSV ({error}); mend the record or remove it"
            ) from error
        where = f"{name}, line {reader.line_num}"
        if None in row or None in row.values():
            raise CollectionError(
                f"{where}: must have as many fields as the header ({len(reader.fieldnames or ())}); check its commas "
                "and quotes"
            )
        yield where, row


def parquet_rows(name: str, source: Path | BinaryIO) -> tuple[int, Rows]:
    """How many rows there are, and the rows.

    Args:
        name: Of the file, for messages.
        source: The file; or a stream, which is kept in a temporary file, because Parquet is read from its end.

    Raises:
        CollectionError: If it is no Parquet, or is damaged.
        MissingExtraError: If pyarrow is not installed.
        OutputError: If there is no room for the temporary file.
    """
    try:
        import pyarrow
        from pyarrow.parquet import ParquetFile
    except ImportError as error:
        raise MissingExtraError("pyarrow", "parquet") from error
    try:
        file = ParquetFile(source if isinstance(source, Path) else _kept(name, source))
    except pyarrow.ArrowException as error:
        raise CollectionError(f"{name} must be a Parquet file, got {error}; fetch it again") from error

    def rows() -> Rows:
        number = 0
        try:
            for batch in file.iter_batches(batch_size=_PARQUET_ROWS):
                for row in batch.to_pylist():
                    number += 1
                    yield f"{name}, row {number}", row
        except (pyarrow.ArrowException, OSError) as error:
            raise CollectionError(f"{name} is damaged after row {number} ({error}); fetch it again") from error

    return file.metadata.num_rows, rows()


def _kept(name: str, stream: BinaryIO) -> BinaryIO:
    try:
        file = tempfile.TemporaryFile()
        shutil.copyfileobj(stream, file)
        file.seek(0)
    except OSError as error:
        raise OutputError(
            f"{name} cannot be kept in {tempfile.gettempdir()} ({error.strerror or error}); free space, or let TMPDIR "
            "name another folder"
        ) from error
    return cast(BinaryIO, file)


def numbered_lines(name: str, stream: BinaryIO, *, blank: bool = False) -> Iterator[tuple[int, str]]:
    """Lines with their numbers from 1; blank ones are left out unless asked for."""
    number = 0
    try:
        # Decoded line by line, because a text stream reads ahead and could not name the line that is wrong.
        for number, content in enumerate(stream, start=1):
            line = content.decode("utf-8-sig" if number == 1 else "utf-8")
            if blank or line.strip():
                yield number, line
    except UnicodeDecodeError as error:
        raise CollectionError(f"{name}, line {number}: must be UTF-8 text ({error}); convert the file") from error
    except DAMAGE as error:
        raise CollectionError(f"{name} is damaged after line {number} ({error}); fetch it again") from error
