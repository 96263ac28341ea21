"""Documents as they come: JSONL, CSV or Parquet, compressed or not, from a file, a pipe or memory, one at a time."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
import lzma
import sys
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, cast

from isthmus.corpora import Collection
from isthmus.corpora.files import is_unicode
from isthmus.errors import CollectionError, MissingExtraError, NotFoundError

STDIN = "-"
SUFFIXES = (".jsonl", ".ndjson", ".csv", ".parquet")
COMPRESSIONS = ("", ".gz", ".xz", ".zst")
_PARQUET_ROWS = 1024
_COMPRESSED_BYTES = 2**16


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


class Corpus:
    """Documents in their order, read as they are asked for; ids are checked to be unique.

    Args:
        source: A file (``.jsonl``, ``.csv``, ``.parquet``; the first two also ``.gz``, ``.xz`` or ``.zst``), a BEIR
            folder, ``"-"`` for JSONL on standard input, a loaded collection, a mapping of ids to texts, or rows with
            ``id`` (or ``_id``), ``text``, an optional ``title`` and any metadata.

    Attributes:
        total: Size of the source for a progress bar, in no particular unit; None where it is not known.

    Raises:
        NotFoundError: If there is no such file.
        CollectionError: If it is no kind of file that can be read.
        MissingExtraError: If its kind needs a package that is not installed.
    """

    def __init__(self, source: Any) -> None:
        self.total: int | None = None
        self._raw: BinaryIO | None = None
        self._rows_read = 0
        if isinstance(source, Collection):
            source = source.corpus
        if isinstance(source, Mapping):
            source = [{"id": id, "text": text} for id, text in source.items()]
        if isinstance(source, (str, Path)):
            self.name = str(source)
            self._numbered = self._open(Path(source)) if self.name != STDIN else _jsonl("stdin", sys.stdin.buffer)
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

    def _open(self, path: Path) -> Iterator[tuple[str, Any]]:
        if path.is_dir():
            inside = [path / f"corpus.jsonl{suffix}" for suffix in COMPRESSIONS]
            found = next((file for file in inside if file.is_file()), None)
            if found is None:
                raise CollectionError(f"corpus must be a file or a folder with corpus.jsonl, got {path}")
            path = found
        compression = path.suffix if path.suffix in COMPRESSIONS else ""
        kind = Path(path.name.removesuffix(compression)).suffix
        if kind not in SUFFIXES or (kind == ".parquet" and compression):
            raise CollectionError(
                f"corpus must end in .jsonl, .csv or .parquet (the first two also .gz, .xz or .zst), got {path}; "
                "rename it, or pass - and pipe JSONL in"
            )
        if not path.is_file():
            raise NotFoundError(f"{path} does not exist")
        if kind == ".parquet":
            return self._parquet(path)
        self.total = path.stat().st_size
        try:
            self._raw = path.open("rb")
        except OSError as error:
            raise CollectionError(f"{path} cannot be read ({error.strerror})") from error
        stream = decompressed(self._raw, compression)
        return _csv(str(path), stream) if kind == ".csv" else _jsonl(str(path), stream)

    def _parquet(self, path: Path) -> Iterator[tuple[str, Any]]:
        try:
            import pyarrow
            from pyarrow.parquet import ParquetFile
        except ImportError as error:
            raise MissingExtraError("pyarrow", "parquet") from error
        try:
            file = ParquetFile(path)
        except pyarrow.ArrowException as error:
            raise CollectionError(f"{path} must be a Parquet file, got {error}; fetch it again") from error
        self.total = file.metadata.num_rows

        def rows() -> Iterator[tuple[str, Any]]:
            number = 0
            try:
                for batch in file.iter_batches(batch_size=_PARQUET_ROWS):
                    for row in batch.to_pylist():
                        number += 1
                        yield f"{path}, row {number}", row
            except (pyarrow.ArrowException, OSError) as error:
                raise CollectionError(f"{path} is damaged after row {number} ({error}); fetch it again") from error

        return rows()


def to_document(row: Any, where: str) -> Document:
    """Check one row.

    Args:
        row: An object with ``id`` or ``_id``, ``text``, and optionally ``title`` and more.
        where: File and line for the message.

    Raises:
        CollectionError: If a field is missing or of another type.
    """
    if not isinstance(row, Mapping):
        raise CollectionError(f"{where}: must be an object with id and text, got {type(row).__name__}")
    identifier = row.get("id", row.get("_id"))
    if isinstance(identifier, bool) or not isinstance(identifier, (str, int)) or identifier == "":
        fields = ", ".join(map(str, row)) or "none"
        raise CollectionError(
            f"{where}: id must be a string that is not empty, got {identifier!r}; the fields are {fields}"
        )
    text, title = row.get("text"), row.get("title") or ""
    if not isinstance(text, str) or not isinstance(title, str):
        got = text if not isinstance(text, str) else title
        raise CollectionError(f"{where}: text (and title) of {str(identifier)!r} must be a string, got {got!r}")
    if not is_unicode(f"{identifier}{text}{title}"):
        raise CollectionError(
            f"{where}: id, text and title of {str(identifier)!r} must be Unicode, got half of a surrogate pair; write "
            "the character whole"
        )
    metadata = {key: value for key, value in row.items() if key not in ("id", "_id", "text", "title")}
    return Document(str(identifier), text, title, metadata)


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


def _jsonl(name: str, stream: BinaryIO) -> Iterator[tuple[str, Any]]:
    for number, line in numbered_lines(name, stream):
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            reason = f"{error.msg}, column {error.colno}" if isinstance(error, json.JSONDecodeError) else error
            raise CollectionError(f"{name}, line {number}: must be JSON, got {line[:60]!r} ({reason})") from error
        yield f"{name}, line {number}", row


def _csv(name: str, stream: BinaryIO) -> Iterator[tuple[str, Any]]:
    reader = csv.DictReader((line for _, line in numbered_lines(name, stream, blank=True)), strict=True)
    while True:
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise CollectionError(f"{name}, line {reader.line_num}: must be CSV ({error})") from error
        where = f"{name}, line {reader.line_num}"
        if None in row or None in row.values():
            raise CollectionError(f"{where}: must have as many fields as the header ({len(reader.fieldnames or ())})")
        yield where, row


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
