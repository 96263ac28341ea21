"""What the bytes of a corpus hold: rows of JSONL, CSV and Parquet, compressed or not, each with its place."""

from __future__ import annotations

import csv
import gzip
import io
import json
import lzma
import shutil
import sys
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

from isthmus.errors import CollectionError, MissingExtraError, OutputError

PARQUET = ".parquet"
Rows = Iterator[tuple[str, Any]]
_PARQUET_ROWS = 1024
_COMPRESSED_BYTES = 2**16
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
        try:
            import zstandard
        except ImportError as error:
            raise MissingExtraError("zstandard", "zstd") from error
        return cast(BinaryIO, io.BufferedReader(_ZstdStream(raw, zstandard.ZstdDecompressor)))
    return raw


class _ZstdStream(io.RawIOBase):
    """Decompressed bytes of a file of one frame or several; unlike the package's own, it refuses half a frame."""

    def __init__(self, raw: BinaryIO, decompressor: Any) -> None:
        self._raw = raw
        self._decompressor = decompressor
        self._frame: Any = None
        self._compressed = self._ready = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._ready:
            if self._frame is not None and self._frame.eof:
                self._compressed, self._frame = self._frame.unused_data, None
            self._compressed = self._compressed or self._raw.read(_COMPRESSED_BYTES)
            if not self._compressed:
                if self._frame is not None:
                    raise EOFError("the compressed file ends early")
                return 0
            self._frame = self._frame or self._decompressor().decompressobj()
            self._ready = self._frame.decompress(self._compressed)
            self._compressed = b""
        size = min(len(buffer), len(self._ready))
        buffer[:size], self._ready = self._ready[:size], self._ready[size:]
        return size


def jsonl_rows(name: str, stream: BinaryIO, *, remedy: str = "") -> Rows:
    """One row a line.

    Args:
        name: Of the file, for messages.
        stream: What it holds, decompressed.
        remedy: What to add to the message where the very first line is no JSON.

    Raises:
        CollectionError: If a line is no JSON, or the file is damaged; names the line.
    """
    for number, line in numbered_lines(name, stream):
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            reason = f"{error.msg}, column {error.colno}" if isinstance(error, json.JSONDecodeError) else error
            told = f"{name}, line {number}: must be JSON, got {line[:60]!r} ({reason})"
            raise CollectionError(told + remedy if number == 1 else told) from error
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
            raise CollectionError(f"{name}, line {reader.line_num}: must be CSV ({error})") from error
        where = f"{name}, line {reader.line_num}"
        if None in row or None in row.values():
            raise CollectionError(f"{where}: must have as many fields as the header ({len(reader.fieldnames or ())})")
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
    except _damage() as error:
        raise CollectionError(f"{name} is damaged after line {number} ({error}); fetch it again") from error


def _damage() -> tuple[type[BaseException], ...]:
    """What reading a damaged file raises; zstandard has an error of its own where it is in use at all."""
    known: tuple[type[BaseException], ...] = (OSError, EOFError, lzma.LZMAError, zlib.error)
    own = getattr(sys.modules.get("zstandard"), "ZstdError", None)
    return known if own is None else (*known, own)
