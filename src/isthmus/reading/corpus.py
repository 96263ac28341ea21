"""Documents and queries as they come, from files, a pipe or memory, one at a time."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO, Literal, NamedTuple

from isthmus.errors import CollectionError, NotFoundError
from isthmus.reading.fields import FieldNames, Role, Row, columns_of
from isthmus.reading.lines import check_regular, compression_of, decompressed, opened
from isthmus.reading.notes import Notes
from isthmus.reading.records import PARQUET, Rows, found_files, kind_of, parquet_rows, sniffed, text_rows

STDIN = "-"
Format = Literal["jsonl", "csv", "tsv", "parquet"]
# What the files of a folder's documents are called: BEIR's, a folder of parts, MIRACL's and Pyserini's.
CORPUS_FILES = ("corpus", "corpus/*", "docs*", "collection")


class Passage(NamedTuple):
    """Which part of a document a passage is.

    Attributes:
        document: Id of the document.
        number: From 0 on.
        of: How many passages the document has.
        start: Where it starts in the document's text, in characters.
        end: The place behind its last character.
    """

    document: str
    number: int
    of: int
    start: int
    end: int


@dataclass(frozen=True)
class Document:
    """One document, or a passage of one, which is searched like a document.

    Attributes:
        id: Its name, unique in a corpus.
        text: What is searched.
        title: Put in front of the text for encoding; may be empty.
        metadata: Everything else, as JSON values; ``language`` is one of them. What BEIR keeps in an object called
            ``metadata`` stands beside the rest.
        passage: Which part it is, of a document that was split; None for a whole one.
    """

    id: str
    text: str
    title: str = ""
    metadata: dict[str, Any] = field(default_factory=dict)
    passage: Passage | None = None

    @property
    def document_id(self) -> str:
        """Id of the document that it is, or is a passage of."""
        return self.id if self.passage is None else self.passage.document

    @property
    def is_first(self) -> bool:
        """Whether it is a document, or the first passage of one: those are as many as there are documents."""
        return self.passage is None or self.passage.number == 0

    @property
    def content(self) -> str:
        """Title and text joined by a space: what is encoded."""
        return f"{self.title.strip()} {self.text.strip()}".strip()

    def to_json(self, *, text: bool = True) -> bytes:
        """One line of JSON without the line end; ``text=False`` leaves title and text out."""
        row: dict[str, Any] = {"id": self.id}
        if text:
            row |= {"title": self.title, "text": self.text} if self.title else {"text": self.text}
        row["metadata"] = self.metadata
        if self.passage is not None:
            row["passage"] = self.passage._asdict()
        # "default" is for the dates and decimals of Parquet files.
        line = json.dumps(row, ensure_ascii=False, default=str)
        return line.encode("utf-8", errors="surrogatepass")

    @classmethod
    def from_json(cls, line: bytes) -> Document:
        """Read what :meth:`to_json` wrote."""
        return cls.from_row(json.loads(line.decode("utf-8", errors="surrogatepass")))

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Document:
        """Take what :meth:`to_json` wrote as an object; title, text and metadata may be left out."""
        passage = None if row.get("passage") is None else Passage(**row["passage"])
        return cls(row["id"], row.get("text", ""), row.get("title", ""), row.get("metadata", {}), passage)


@dataclass(frozen=True)
class StandardInput:
    """Standard input as a corpus; ``"-"`` is the same without a format.

    Attributes:
        format: None tells Parquet by its first bytes and takes all else for JSONL. Compression is told in any case.
    """

    format: Format | None = None


@dataclass(frozen=True)
class CorpusSource:
    """Where documents come from, and how they are to be read; a :class:`Corpus` takes it as it takes a path.

    Attributes:
        source: Path, ``"-"``, :class:`StandardInput` or rows.
        fields: Names of the fields that hold id, text and title.
        notes: What is taken for granted on the way is noted here.
    """

    source: Any
    fields: FieldNames = field(default_factory=FieldNames)
    notes: Notes = field(default_factory=Notes, compare=False)

    def __str__(self) -> str:
        """The path."""
        return str(self.source)

    def unnoted(self) -> CorpusSource:
        """The same, with notes of its own: to be read once more."""
        return replace(self, notes=Notes(self.notes.strict))


class Corpus:
    """Documents in their order, read as they are asked for; ids are checked to be unique.

    A row that is there twice, the same in every field, is read once; of two that differ the second is refused.

    Args:
        source: A file (``.jsonl``, ``.json``, ``.csv``, ``.tsv``, ``.parquet``; all but the last also ``.gz``, ``.xz``
            or ``.zst``), a folder with one of :data:`CORPUS_FILES`, ``"-"`` or :class:`StandardInput` for the same on
            standard input, a :class:`CorpusSource`, a loaded collection, a mapping of ids to texts, or rows with
            ``id`` (or ``_id``, ``docid``), ``text`` (or ``contents``), an optional ``title`` and any metadata.
        role: Whether they are passages, which may be without text, or queries, which may not.

    Attributes:
        total: Size of the source for a progress bar, in no particular unit; None where it is not known.
        where: File and line of the document that was given last.
        notes: What was taken for granted.
        role: As given.

    Raises:
        NotFoundError: If there is no such file.
        CollectionError: If it is no kind of file that can be read.
        MissingExtraError: If its kind needs a package that is not installed.
        OutputError: If Parquet on standard input cannot be kept in a temporary file.
    """

    def __init__(self, source: Any, *, role: Role = "passage") -> None:
        wrapped = source if isinstance(source, CorpusSource) else CorpusSource(source)
        self._fields, self.notes, self.role = wrapped.fields, wrapped.notes, role
        # A loaded collection.
        source = getattr(wrapped.source, "corpus", wrapped.source)
        self.total: int | None = None
        self.where = ""
        self._raw: BinaryIO | None = None
        self._before = 0
        if isinstance(source, Mapping):
            source = [{"id": id, "text": text} for id, text in source.items()]
        if isinstance(source, (str, Path)) and str(source) == STDIN:
            source = StandardInput()
        if isinstance(source, StandardInput):
            self.name = STDIN
            self._numbered = self._piped(source.format)
        elif isinstance(source, (str, Path)):
            self.name = str(source)
            self._numbered = self._files(corpus_files(Path(source)))
        elif isinstance(source, tuple) and source and all(isinstance(part, Path) for part in source):
            self.name = str(source[0])
            self._numbered = self._files(list(source))
        else:
            self.name = "corpus"
            self.total = len(source) if hasattr(source, "__len__") else None
            self._numbered = ((f"corpus, row {number}", row) for number, row in enumerate(source, start=1))

    @property
    def done(self) -> int:
        """How much of ``total`` has been read."""
        return self._before + (0 if self._raw is None else self._raw.tell())

    def __iter__(self) -> Iterator[Document]:
        """Yield the documents; a corpus can be read once.

        Raises:
            CollectionError: If a row is malformed or an id comes twice; names the line.
        """
        seen: dict[bytes, int] = {}
        rows, unique = Row(self._fields, self.role), 0
        repeated = "repeated_passages" if self.role == "passage" else "repeated_queries"
        for where, row in self._numbered:
            self.where = where
            document = row if isinstance(row, Document) else Document(*rows.read(row, where))
            # Digests, because ids can be long and there may be many millions.
            key = hashlib.blake2b(document.id.encode("utf-8", errors="surrogatepass"), digest_size=16).digest()
            content = hash((document.text, document.title, str(document.metadata)))
            if seen.setdefault(key, content) != content:
                raise CollectionError(
                    f"{where}: id must be unique, got {document.id!r} again, with other contents; remove one of the two"
                )
            if len(seen) == unique:
                self.notes.take(repeated, where, document.id)
                continue
            unique += 1
            if self.role == "passage" and not document.content:
                self.notes.take("passages_without_text", where, document.id)
            yield document

    def _files(self, paths: list[Path]) -> Rows:
        for path in paths:
            check_regular(path)
            if not path.is_file():
                raise NotFoundError(f"{path} does not exist")
        if kind_of(paths[0]) == PARQUET:
            counted = [parquet_rows(str(path), path) for path in paths]
            self.total = sum(count for count, _ in counted)
            return self._counted(row for _, rows in counted for row in rows)
        for path in paths:
            # Tells what is missing before long work begins.
            with opened(path) as raw:
                decompressed(raw, compression_of(path))
        self.total = sum(path.stat().st_size for path in paths)
        return self._text(paths)

    def _text(self, paths: list[Path]) -> Rows:
        for path in paths:
            with opened(path) as self._raw:
                stream = decompressed(self._raw, compression_of(path))
                yield from self._rows(str(path), str(kind_of(path)), stream)
                self._before += path.stat().st_size
                self._raw = None

    def _rows(self, name: str, kind: str, stream: BinaryIO, remedy: str = "") -> Rows:
        columns = columns_of(self._fields, self.role)
        return text_rows(name, kind, stream, columns=columns, remedy=remedy, notes=self.notes)

    def _counted(self, rows: Rows) -> Rows:
        for row in rows:
            self._before += 1
            yield row

    def _piped(self, format: Format | None) -> Rows:
        kind, stream = sniffed(sys.stdin.buffer)
        if kind == PARQUET and format not in (None, "parquet"):
            raise CollectionError(f"stdin must be {format}, as --format says, got Parquet; leave --format out")
        if kind == PARQUET or format == "parquet":
            self.total, rows = parquet_rows("stdin", stream)
            return self._counted(rows)
        remedy = "" if format else "if it is CSV, say so with --format csv"
        return self._rows("stdin", f".{format or 'jsonl'}", decompressed(stream, kind), remedy)


def corpus_files(path: Path) -> list[Path]:
    """The files of documents that a path means: itself, or those of a folder.

    Raises:
        CollectionError: If there is none, or it is of another kind.
    """
    if path.is_dir():
        found = found_files(path, *CORPUS_FILES)
        # Compressed and not, they are the same; many are parts of a whole.
        found = found[:1] if found and found[0].parent == path and found[0].name.startswith("corpus.") else found
        if not found:
            raise CollectionError(
                f"corpus must be a file or a folder with corpus.jsonl, got the folder {path} without one; name a "
                "file in it, or write its documents to corpus.jsonl there"
            )
        return found
    if kind_of(path) is None:
        raise CollectionError(
            f"corpus must end in .jsonl, .csv or .parquet, .json or .tsv (all but .parquet also .gz, .xz or .zst), got "
            f"{path}; write it as one of them, or pass - and pipe it in"
        )
    return [path]


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
