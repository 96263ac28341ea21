"""Documents as they come: JSONL, CSV or Parquet, compressed or not, from a file, a pipe or memory, one at a time."""

from __future__ import annotations

import hashlib
import json
import math
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Literal

from isthmus.errors import CollectionError, NotFoundError
from isthmus.reading.lines import is_unicode
from isthmus.reading.records import PARQUET, Rows, csv_rows, jsonl_rows, parquet_rows, sniffed

# Plain text is read with these as well.
from isthmus.reading.records import decompressed as decompressed
from isthmus.reading.records import numbered_lines as numbered_lines

STDIN = "-"
SUFFIXES = (".jsonl", ".ndjson", ".csv", PARQUET)
COMPRESSIONS = ("", ".gz", ".xz", ".zst")
Format = Literal["jsonl", "csv", "parquet"]


@dataclass(frozen=True)
class Document:
    """One document.

    Attributes:
        id: Its name, unique in a corpus.
        text: What is searched.
        title: Put in front of the text for encoding; may be empty.
        metadata: Everything else, as JSON values; ``language`` is one of them.
    """

    id: str
    text: str
    title: str = ""
    metadata: dict[str, Any] = field(default_factory=dict)

    @property
    def content(self) -> str:
        """Title and text joined by a space: what is encoded."""
        return f"{self.title.strip()} {self.text.strip()}".strip()

    def to_json(self, *, text: bool = True) -> bytes:
        """One line of JSON without the line end; ``text=False`` leaves title and text out."""
        row: dict[str, Any] = {"id": self.id}
        if text:
            row |= {"title": self.title, "text": self.text} if self.title else {"text": self.text}
        # "default" is for the dates and decimals of Parquet files.
        line = json.dumps(row | {"metadata": self.metadata}, ensure_ascii=False, default=str)
        return line.encode("utf-8", errors="surrogatepass")

    @classmethod
    def from_json(cls, line: bytes) -> Document:
        """Read what :meth:`to_json` wrote."""
        row = json.loads(line.decode("utf-8", errors="surrogatepass"))
        return cls(row["id"], row.get("text", ""), row.get("title", ""), row["metadata"])


@dataclass(frozen=True)
class StandardInput:
    """Standard input as a corpus; ``"-"`` is the same without a format.

    Attributes:
        format: None tells Parquet by its first bytes and takes all else for JSONL. Compression is told in any case.
    """

    format: Format | None = None


class Corpus:
    """Documents in their order, read as they are asked for; ids are checked to be unique.

    Args:
        source: A file (``.jsonl``, ``.csv``, ``.parquet``; the first two also ``.gz``, ``.xz`` or ``.zst``), a BEIR
            folder, ``"-"`` or :class:`StandardInput` for the same on standard input, a loaded collection, a mapping of
            ids to texts, or rows with ``id`` (or ``_id``), ``text``, an optional ``title`` and any metadata.

    Attributes:
        total: Size of the source for a progress bar, in no particular unit; None where it is not known.

    Raises:
        NotFoundError: If there is no such file.
        CollectionError: If it is no kind of file that can be read.
        MissingExtraError: If its kind needs a package that is not installed.
        OutputError: If Parquet on standard input cannot be kept in a temporary file.
    """

    def __init__(self, source: Any) -> None:
        self.total: int | None = None
        self._raw: BinaryIO | None = None
        self._rows_read = 0
        # A loaded collection.
        source = getattr(source, "corpus", source)
        if isinstance(source, Mapping):
            source = [{"id": id, "text": text} for id, text in source.items()]
        if isinstance(source, (str, Path)) and str(source) == STDIN:
            source = StandardInput()
        if isinstance(source, StandardInput):
            self.name = STDIN
            self._numbered = self._piped(source.format)
        elif isinstance(source, (str, Path)):
            self.name = str(source)
            self._numbered = self._open(Path(source))
        else:
            self.name = "corpus"
            self.total = len(source) if hasattr(source, "__len__") else None
            self._numbered = ((f"corpus, row {number}", row) for number, row in enumerate(source, start=1))

    @property
    def done(self) -> int:
        """How much of ``total`` has been read."""
        return self._rows_read if self._raw is None else self._raw.tell()

    def __iter__(self) -> Iterator[Document]:
        """Yield the documents; a corpus can be read once.

        Raises:
            CollectionError: If a row is malformed or an id comes twice; names the line.
        """
        seen: set[bytes] = set()
        for where, row in self._numbered:
            self._rows_read += 1
            document = row if isinstance(row, Document) else to_document(row, where)
            # Digests, because ids can be long and there may be many millions.
            key = hashlib.blake2b(document.id.encode("utf-8", errors="surrogatepass"), digest_size=16).digest()
            if key in seen:
                raise CollectionError(f"{where}: id must be unique, got {document.id!r} again; remove one of the two")
            seen.add(key)
            yield document

    def _open(self, path: Path) -> Rows:
        if path.is_dir():
            inside = [path / f"corpus.jsonl{suffix}" for suffix in COMPRESSIONS]
            found = next((file for file in inside if file.is_file()), None)
            if found is None:
                raise CollectionError(
                    f"corpus must be a file or a folder with corpus.jsonl, got the folder {path} without one; name a "
                    "file in it, or write its documents to corpus.jsonl there"
                )
            path = found
        compression = path.suffix if path.suffix in COMPRESSIONS else ""
        kind = Path(path.name.removesuffix(compression)).suffix
        if kind not in SUFFIXES or (kind == PARQUET and compression):
            raise CollectionError(
                f"corpus must end in .jsonl, .csv or .parquet (the first two also .gz, .xz or .zst), got {path}; "
                "rename it, or pass - and pipe it in"
            )
        if not path.is_file():
            raise NotFoundError(f"{path} does not exist")
        if kind == PARQUET:
            self.total, rows = parquet_rows(str(path), path)
            return rows
        self.total = path.stat().st_size
        try:
            self._raw = path.open("rb")
        except OSError as error:
            raise CollectionError(f"{path} cannot be read ({error.strerror}); check its permissions") from error
        stream = decompressed(self._raw, compression)
        return csv_rows(str(path), stream) if kind == ".csv" else jsonl_rows(str(path), stream)

    def _piped(self, format: Format | None) -> Rows:
        kind, stream = sniffed(sys.stdin.buffer)
        if kind == PARQUET and format not in (None, "parquet"):
            raise CollectionError(f"stdin must be {format}, as --format says, got Parquet; leave --format out")
        if kind == PARQUET or format == "parquet":
            self.total, rows = parquet_rows("stdin", stream)
            return rows
        stream = decompressed(stream, kind)
        if format == "csv":
            return csv_rows("stdin", stream)
        return jsonl_rows("stdin", stream, remedy="" if format else "if it is CSV, say so with --format csv")


def to_document(row: Any, where: str) -> Document:
    """Check one row.

    Args:
        row: An object with ``id`` or ``_id``, ``text``, and optionally ``title`` and more.
        where: File and line for the message.

    Raises:
        CollectionError: If a field is missing or of another type.
    """
    if not isinstance(row, Mapping):
        raise CollectionError(
            f"{where}: must be an object with id and text, got {type(row).__name__}; mend it or remove it"
        )
    identifier = row.get("id", row.get("_id"))
    if isinstance(identifier, bool) or not isinstance(identifier, (str, int)) or identifier == "":
        fields = ", ".join(map(str, row)) or "none"
        raise CollectionError(
            f"{where}: id must be a string that is not empty, got {identifier!r}; the fields are {fields}; give "
            "every document an id of its own"
        )
    text, title = row.get("text"), row.get("title") or ""
    if not isinstance(text, str) or not isinstance(title, str):
        got = text if not isinstance(text, str) else title
        raise CollectionError(
            f"{where}: text (and title) of {str(identifier)!r} must be a string, got {got!r}; mend it or remove it"
        )
    if not is_unicode(f"{identifier}{text}{title}"):
        raise CollectionError(
            f"{where}: id, text and title of {str(identifier)!r} must be Unicode, got half of a surrogate pair; write "
            "the character whole"
        )
    metadata = {key: finite(value) for key, value in row.items() if key not in ("id", "_id", "text", "title")}
    return Document(str(identifier), text, title, metadata)


def finite(value: Any) -> Any:
    """A value of JSON with null for NaN and infinity: JSON has none, and tables say NaN for what is missing."""
    if isinstance(value, dict):
        return {key: finite(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def in_windows(documents: Iterable[Document], size: int) -> Iterator[list[Document]]:
    """Cut a stream into lists of ``size``; the last one may be shorter."""
    window: list[Document] = []
    for document in documents:
        window.append(document)
        if len(window) == size:
            yield window
            window = []
    if window:
        yield window
