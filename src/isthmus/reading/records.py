"""What files hold: rows of JSON, CSV, TSV and Parquet, compressed or not, each with its place."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO, cast

from isthmus.errors import CollectionError, InputError, MissingExtraError, OutputError
from isthmus.reading.lines import FIRST_BYTES, compression_of, decompressed, is_unicode, joined, numbered_lines, opened
from isthmus.reading.notes import Notes

PARQUET = ".parquet"
KINDS = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", PARQUET)
Rows = Iterator[tuple[str, Any]]
_PARQUET_ROWS = 1024
# The csv module stops at 128 KiB, which books pass; without any limit, one open quote would take in the whole file.
_FIELD_CHARACTERS = 2**24
_FIRST_BYTES = FIRST_BYTES | {PARQUET: b"PAR1"}
_DELIMITERS = {";": "semicolons", "\t": "tabs", "|": "bars"}


def kind_of(path: Path) -> str | None:
    """``.jsonl``, ``.tsv`` and so on by the name of a file, whatever it is compressed by; None for other files."""
    compression = compression_of(path)
    kind = Path(path.name.removesuffix(compression)).suffix
    return kind if kind in KINDS and not (kind == PARQUET and compression) else None


def sniffed(raw: BinaryIO) -> tuple[str, BinaryIO]:
    """Tell by the first bytes what a stream holds.

    Returns:
        ``.gz``, ``.xz``, ``.zst``, ``.parquet`` or nothing, and the stream with those bytes still in it.
    """
    head = raw.read(max(map(len, _FIRST_BYTES.values())))
    found = next((suffix for suffix, first in _FIRST_BYTES.items() if head.startswith(first)), "")
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


def read_records(
    path: Path,
    *,
    columns: Sequence[str] = (),
    places: int = 2,
    refusal: type[InputError] = CollectionError,
    notes: Notes | None = None,
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Where each row of a file stands ("pairs.jsonl, line 3"), and its values by name.

    Args:
        path: File of one of :data:`KINDS`; all but Parquet may be compressed.
        columns: As for :func:`text_rows`.
        places: Likewise.
        refusal: What to raise where the content does not fit.
        notes: Where delimiters and encodings are noted.

    Raises:
        NotFoundError: If it is not there.
        InputError: Or the ``refusal`` given, if it is of another kind or malformed, or a row is no object of Unicode
            text; names the line.
        MissingExtraError: If a package that reads its kind is not installed.
    """
    kind = kind_of(path)
    if kind is None:
        raise refusal(f"files must end in {', '.join(KINDS)} (all but the last also .gz, .xz or .zst), got {path}")
    with opened(path, refusal=refusal) as raw:
        if kind == PARQUET:
            rows = parquet_rows(str(path), path, refusal=refusal)[1]
        else:
            stream = decompressed(raw, compression_of(path))
            rows = text_rows(str(path), kind, stream, columns=columns, places=places, refusal=refusal, notes=notes)
        for where, row in rows:
            if not isinstance(row, dict):
                raise refusal(f"{where}: must be a JSON object, got {type(row).__name__}; mend the line or remove it")
            # A lone surrogate is escaped in what Python shows of a row.
            if "\\ud" in str(row) and not is_unicode(json.dumps(row, ensure_ascii=False, default=str)):
                raise refusal(f"{where}: must be Unicode text, got half a surrogate pair; remove it")
            yield where, row


def text_rows(
    name: str,
    kind: str,
    stream: BinaryIO,
    *,
    columns: Sequence[str] = (),
    places: int = 2,
    remedy: str = "",
    refusal: type[InputError] = CollectionError,
    notes: Notes | None = None,
) -> Rows:
    """Rows of a stream of one of :data:`KINDS` but Parquet.

    Args:
        name: Of the file, for messages.
        kind: Of the file.
        stream: What it holds, decompressed.
        columns: What columns of TSV may be called; a first line with two of them is a header, and the first ones are
            the names where there is none.
        places: Most fields of a line where there is none; two at least.
        remedy: What to do where the very first line is no JSON; empty says the same as of any other.
        refusal: What to raise where the content does not fit.
        notes: Where delimiters and encodings are noted.

    Raises:
        InputError: Or the ``refusal`` given, if the content is malformed or damaged; names the line.
    """
    lines = numbered_lines(name, stream, blank=kind in (".csv", ".json"), refusal=refusal, notes=notes)
    if kind == ".csv":
        return _csv_rows(name, lines, refusal, notes)
    if kind == ".tsv":
        return _tsv_rows(name, lines, columns, places, refusal)
    remedy = remedy or "mend the line or remove it"
    return _json_rows(name, lines, remedy, refusal, listed=kind == ".json")


def _json_rows(
    name: str, lines: Iterator[tuple[int, str]], remedy: str, refusal: type[InputError], *, listed: bool
) -> Rows:
    """One row a line; a ``.json`` file may be one list of rows as well."""
    for number, line in lines:
        text = line = line.rstrip("\r\n")
        if not line.strip():
            continue
        whole = listed and number == 1 and line.lstrip().startswith("[")
        if whole:
            text = joined(name, chain([f"{line}\n"], (more for _, more in lines)), refusal)
        try:
            row = json.loads(text)
        except (ValueError, RecursionError) as error:
            reason = f"{error.msg}, column {error.colno}" if isinstance(error, json.JSONDecodeError) else error
            before = error.lineno - 1 if isinstance(error, json.JSONDecodeError) else 0
            shown = text.split("\n")[before][:60]
            told = f"{name}, line {number + before}: must be JSON, got {shown!r} ({reason}); "
            if number == 1 and line.startswith("[") and not whole:
                told += "if the file is one list, let its name end in .json; "
            raise refusal(told + (remedy if number == 1 else "mend the line or remove it")) from error
        if whole:
            yield from ((f"{name}, row {place}", one) for place, one in enumerate(row, start=1))
        else:
            yield f"{name}, line {number}", row


def _csv_rows(name: str, lines: Iterator[tuple[int, str]], refusal: type[InputError], notes: Notes | None) -> Rows:
    """One row a record, by the names in the header; a header without commas tells what else is between fields."""
    # One limit for the whole process: raised for whoever else reads CSV here, never lowered.
    csv.field_size_limit(max(_FIELD_CHARACTERS, csv.field_size_limit()))
    header, before = next((line for _, line in lines), ""), 0
    delimiter = next((sign for sign in _DELIMITERS if sign in header and "," not in header), ",")
    if header.startswith("sep=") and len(header.strip()) == 5:
        # Spreadsheets write their delimiter above the names.
        header, before = next((line for _, line in lines), ""), 1
    if delimiter != "," and notes is not None:
        notes.take("other_delimiters", name, _DELIMITERS[delimiter])
    content = chain([header] if header else [], (line for _, line in lines))
    reader = csv.DictReader(content, strict=True, delimiter=delimiter)
    while True:
        first = reader.line_num + before + 1
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            if "field limit" in str(error):
                raise refusal(
                    f"{name}, line {first}: must have fields of at most {csv.field_size_limit():,} characters, got a "
                    "longer one in the record that starts there; close its quotes, or cut it into documents"
                ) from error
            raise refusal(
                f"{name}, line {reader.line_num + before}: must be CSV ({error}); mend the record or remove it"
            ) from error
        where = f"{name}, line {reader.line_num + before}"
        if None in row or None in row.values():
            raise refusal(
                f"{where}: must have as many fields as the header ({len(reader.fieldnames or ())}); check its commas "
                "and quotes"
            )
        yield where, row


def _tsv_rows(
    name: str,
    lines: Iterator[tuple[int, str]],
    columns: Sequence[str],
    places: int,
    refusal: type[InputError],
) -> Rows:
    """One row a line; quotes stand for themselves, but around a whole field of a file with a header."""
    header: list[str] | None = None
    unquoted = False
    for number, line in lines:
        line = line.rstrip("\r\n")
        fields = line.split("\t")
        where = f"{name}, line {number}"
        if header is None:
            header = [field.strip().strip('"') for field in fields]
            unquoted = not columns or len(set(header).intersection(columns)) > 1
            if unquoted and len(set(header)) < len(header):
                twice = next(one for one in header if header.count(one) > 1)
                raise refusal(f"{where}: must name every column once, got {twice!r} twice; rename one")
            if unquoted:
                continue
            if not 2 <= len(fields) <= places:
                raise refusal(
                    f"{where}: must have {', '.join(columns[:places])} between tabs, or name its columns in the first "
                    f"line, got {len(fields)} field{'s' * (len(fields) != 1)} in {line[:60]!r}; add the line of names"
                )
            header = list(columns[: len(fields)])
        if len(fields) != len(header):
            raise refusal(
                f"{where}: must have the {len(header)} fields of the {'header' if unquoted else 'first line'}, got "
                f"{len(fields)}; check the tabs"
            )
        yield where, dict(zip(header, map(without_quotes, fields) if unquoted else fields, strict=True))


def without_quotes(field: str) -> str:
    """A field without the quotes that spreadsheets and pandas put around one."""
    inner = field[1:-1].replace('""', "")
    quoted = len(field) > 1 and field[0] == field[-1] == '"' and '"' not in inner
    return field[1:-1].replace('""', '"') if quoted else field


def parquet_rows(
    name: str, source: Path | BinaryIO, *, refusal: type[InputError] = CollectionError
) -> tuple[int, Rows]:
    """How many rows there are, and the rows.

    Args:
        name: Of the file, for messages.
        source: The file; or a stream, which is kept in a temporary file, because Parquet is read from its end.
        refusal: What to raise where the content does not fit.

    Raises:
        InputError: Or the ``refusal`` given, if it is no Parquet, or is damaged.
        MissingExtraError: If pyarrow is not installed.
        OutputError: If there is no room for the temporary file.
    """
    try:
        import pyarrow
        from pyarrow.parquet import ParquetFile
    except ImportError as error:
        raise MissingExtraError("pyarrow", "parquet") from error
    kept = source if isinstance(source, Path) else _kept(name, source)
    try:
        file = ParquetFile(kept)
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        # Some of its messages have several lines.
        reason = " ".join(str(error).split())
        raise refusal(f"{name} must be a Parquet file, got {reason}; fetch it again") from error

    def rows() -> Rows:
        number = 0
        try:
            for batch in file.iter_batches(batch_size=_PARQUET_ROWS):
                for row in batch.to_pylist():
                    number += 1
                    yield f"{name}, row {number}", row
        except (pyarrow.ArrowException, OSError, ValueError) as error:
            reason = " ".join(str(error).split())
            raise refusal(f"{name} is damaged after row {number} ({reason}); fetch it again") from error

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


def found_files(folder: Path, *stems: str, kinds: Sequence[str] = KINDS) -> list[Path]:
    """The files in a folder that go by the first of some names, in the order of their numbers.

    Args:
        folder: Where to look.
        stems: Names without ends, which may have ``*`` in them and a folder before them.
        kinds: The ends; of files of several kinds, those of the first.
    """
    for stem in stems:
        inside = (folder / stem).parent
        files = sorted(inside.iterdir(), key=_natural) if inside.is_dir() else []
        for kind in kinds:
            found = [path for path in files if path.is_file() and _is_named(path, Path(stem).name, kind)]
            if found:
                return found
    return []


def _is_named(path: Path, stem: str, kind: str) -> bool:
    plain = path.name.removesuffix(compression_of(path))
    return plain.endswith(kind) and fnmatchcase(plain.removesuffix(kind), stem)


def _natural(path: Path) -> list[tuple[int, str]]:
    """Puts docs-2 before docs-10."""
    pieces = re.split(r"(\d+)", path.name)
    return [(int(piece), "") if piece.isdigit() else (-1, piece) for piece in pieces]
