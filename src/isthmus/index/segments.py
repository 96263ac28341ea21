"""Writing the segments of an index: documents and inverted lists, in bounded memory."""

from __future__ import annotations

import hashlib
import json
from array import array
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix, vstack

from isthmus.errors import InputError
from isthmus.index.format import SegmentEntry, write_array, written
from isthmus.index.options import MemoryLimits, Weights
from isthmus.index.quantize import error_bound, pack, scale_for
from isthmus.reading.corpus import Document
from isthmus.reading.disk import put_through

FILES = (
    "starts.npy", "rows.npy", "weights.npy", "documents.jsonl", "document_starts.npy", "id_digests.npy", "id_rows.npy",
    "field_starts.npy", "field_rows.npy", "field_codes.npy", "field_values.jsonl",
)  # fmt: skip


# Python refuses to read longer numbers.
_DIGITS = 4_000


def id_digest(identifier: str) -> int:
    """64 bits of an id; who finds an equal one compares the ids themselves."""
    raw = identifier.encode("utf-8", errors="surrogatepass")
    return int.from_bytes(hashlib.blake2b(raw, digest_size=8).digest(), "little")


class Fields:
    """Metadata as numbers, so that filters compare arrays: per field, which documents have which of its values.

    Strings, numbers and booleans can be filtered by; lists and objects are stored with their document alone. A field
    costs memory and disk only for the documents that have it.
    """

    def __init__(self) -> None:
        self._documents = 0
        self._rows: dict[str, array[int]] = {}
        self._codes: dict[str, array[int]] = {}
        self._values: dict[str, dict[str, int]] = {}

    def add(self, metadata: dict[str, Any]) -> None:
        """Take the metadata of the next document."""
        for field, value in metadata.items():
            if value is None or isinstance(value, (list, dict)):
                continue
            values = self._values.setdefault(field, {})
            self._rows.setdefault(field, array("i")).append(self._documents)
            self._codes.setdefault(field, array("i")).append(values.setdefault(field_value(value), len(values)))
        self._documents += 1

    def write(self, folder: Path) -> tuple[str, ...]:
        """Write the three arrays and ``field_values.jsonl``; returns the fields."""
        starts = np.cumsum([0, *(len(rows) for rows in self._rows.values())], dtype=np.int64)
        write_array(folder / "field_starts.npy", starts)
        for name, parts in (("rows", self._rows), ("codes", self._codes)):
            joined = np.concatenate([np.zeros(0, dtype=np.int32), *(np.asarray(part) for part in parts.values())])
            write_array(folder / f"field_{name}.npy", joined.astype(np.int32, copy=False))
        lines = "".join(json.dumps(list(values)) + "\n" for values in self._values.values())
        (folder / "field_values.jsonl").write_bytes(lines.encode())
        return tuple(self._codes)


def field_value(value: object) -> str:
    """What a value is compared by: its text; true and false as in JSON."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def wanted_values(value: object) -> list[str]:
    """What a filter's value, or list of values, is compared by: a whole number is 2020 and 2020.0.

    Tables write the whole numbers of a column with gaps with a point.
    """
    values = value if isinstance(value, (list, tuple, set)) else [value]
    return list(dict.fromkeys(text for one in values for text in _spellings(field_value(one))))


def _spellings(text: str) -> list[str]:
    whole = text.removesuffix(".0")
    if len(whole) > _DIGITS:
        return [text]
    # Not 007, which is no number but a name.
    is_whole = whole.removeprefix("-").isdecimal() and str(int(whole)) == whole
    return [whole, f"{whole}.0"] if is_whole else [text]


class DocumentWriter:
    """Writes the documents of one segment as they come; the lists are somebody else's.

    Args:
        folder: Folder of the segment, which exists.
        text: Store title and text.
    """

    def __init__(self, folder: Path, *, text: bool) -> None:
        self._folder = folder
        self._text = text
        self._stream = (folder / "documents.jsonl").open("wb")
        self._starts = array("q", [0])
        self._digests = array("Q")
        self._fields = Fields()

    def __len__(self) -> int:
        return len(self._digests)

    def add(self, document: Document) -> None:
        """Append one document."""
        line = document.to_json(text=self._text) + b"\n"
        self._stream.write(line)
        self._starts.append(self._starts[-1] + len(line))
        self._digests.append(id_digest(document.id))
        self._fields.add(document.metadata)

    def close(self) -> tuple[str, ...]:
        """Write what belongs to the documents; returns the metadata fields."""
        self._stream.close()
        write_array(self._folder / "document_starts.npy", np.asarray(self._starts, dtype=np.int64))
        digests = np.asarray(self._digests, dtype=np.uint64)
        order = np.argsort(digests, kind="stable").astype(np.int32)
        write_array(self._folder / "id_digests.npy", digests[order])
        write_array(self._folder / "id_rows.npy", order)
        return self._fields.write(self._folder)

    def discard(self) -> None:
        """Close the file that is being written, which nobody will read."""
        # On a full disk, closing fails as writing did.
        with suppress(OSError):
            self._stream.close()


class SegmentsWriter:
    """Turns a stream of documents and vectors into segments.

    Args:
        folders: Gives the folder of each further segment, made and empty.
        vocabulary_size: Dimensions of the vectors.
        weights: How to store weights.
        text: Store title and text.
        limits: When to close a segment.
    """

    def __init__(
        self,
        folders: Iterable[Path],
        vocabulary_size: int,
        *,
        weights: Weights,
        text: bool,
        limits: MemoryLimits,
    ) -> None:
        self._folders = iter(folders)
        self._vocabulary_size = vocabulary_size
        self._weights = weights
        self._text = text
        self._limits = limits
        self._folder: Path | None = None
        self._documents: DocumentWriter | None = None
        self._parts: list[csr_matrix] = []
        self._postings = 0
        self._error = 0.0
        self.entries: list[SegmentEntry] = []

    def add(self, documents: Sequence[Document], vectors: csr_matrix, *, error: float = 0.0) -> None:
        """Take documents and their vectors, one row each; ``error`` is how far their weights are off already.

        Raises:
            InputError: If the shapes do not fit, or a vector does not fit the storage.
        """
        if vectors.shape != (len(documents), self._vocabulary_size):
            raise InputError(
                f"vectors must be of shape {(len(documents), self._vocabulary_size)}, got {vectors.shape}; encode all "
                "documents with the same encoder"
            )
        start = 0
        while start < len(documents):
            stop = start + self._room(vectors, start)
            self._take(documents[start:stop], vectors[start:stop])
            self._error = max(self._error, error)
            if self._postings >= self._limits.postings or len(self._current()) >= self._limits.documents:
                self.close_segment()
            start = stop

    def close_segment(self) -> None:
        """Write the lists of what came since the last segment, if anything did."""
        if self._documents is None or self._folder is None:
            return
        fields = self._documents.close()
        columns = vstack(self._parts, format="csr").tocsc()
        self._parts.clear()
        entry = write_lists(self._folder, fields, columns, self._weights)
        self.entries.append(replace(entry, error=entry.error + self._error))
        self._folder, self._documents, self._postings, self._error = None, None, 0, 0.0

    def discard(self) -> None:
        """Let go of an unfinished segment."""
        if self._documents is not None:
            self._documents.discard()

    def _room(self, vectors: csr_matrix, start: int) -> int:
        """How many rows from ``start`` on fit the segment, at least one."""
        wanted = vectors.indptr[start] + max(0, self._limits.postings - self._postings)
        rows = int(np.searchsorted(vectors.indptr[start + 1 :], wanted, side="right"))
        return max(1, min(rows, self._limits.documents - len(self._current())))

    def _current(self) -> DocumentWriter:
        if self._documents is None:
            self._folder = next(self._folders)
            self._documents = DocumentWriter(self._folder, text=self._text)
        return self._documents

    def _take(self, documents: Sequence[Document], vectors: csr_matrix) -> None:
        writer = self._current()
        for document in documents:
            writer.add(document)
        self._parts.append(vectors.astype(np.float32, copy=False))
        self._postings += vectors.nnz


def write_lists(folder: Path, fields: tuple[str, ...], columns: Any, weights: Weights) -> SegmentEntry:
    """Write the inverted lists of a segment whose documents are written.

    Args:
        folder: Its folder.
        fields: Metadata fields of the documents.
        columns: float32 ``csc_matrix`` of shape (documents, vocabulary).
        weights: How to store weights.

    Raises:
        InputError: If a weight does not fit the storage.
    """
    columns.sort_indices()
    largest = float(np.abs(columns.data).max(initial=0.0))
    scale = scale_for(weights, largest)
    write_array(folder / "starts.npy", columns.indptr.astype(np.int64))
    write_array(folder / "rows.npy", columns.indices.astype(np.int32, copy=False))
    write_array(folder / "weights.npy", pack(columns.data, weights, scale))
    return entry_of(folder, fields, columns.shape[0], columns.nnz, scale, error_bound(weights, largest))


def entry_of(
    folder: Path, fields: tuple[str, ...], documents: int, postings: int, scale: float, error: float
) -> SegmentEntry:
    """What the manifest says about a segment whose files are all written; puts them through to the disk."""
    files = {name: written(folder / name) for name in FILES}
    put_through(folder)
    return SegmentEntry(folder.name, documents, postings, scale, error, fields, files)
