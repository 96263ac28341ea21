"""Reading one segment: scored exactly, list by list, of which only those are read that a query asks for."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.errors import IndexFileError
from isthmus.index.format import (
    REBUILD,
    SEGMENTS,
    Manifest,
    SegmentEntry,
    Stored,
    digest_of,
    read_manifest,
)
from isthmus.index.open_files import OpenFile, StoredArray
from isthmus.index.options import Weights
from isthmus.index.quantize import dtype_of, unpack
from isthmus.index.segments import id_digest
from isthmus.reading.corpus import Document

try:
    # What ``csc_matrix @ vector`` runs; called directly, it reads the lists where they lie.
    from scipy.sparse._sparsetools import csc_matvec
except ImportError:
    csc_matvec = None

Filter = Mapping[str, Sequence[str]]
AddList = Callable[[NDArray[np.float32], NDArray[np.int32], NDArray[np.float32], np.float32], None]
_MASKS_KEPT = 64
# Postings read at a time, few enough to stay in the processor's cache.
_AT_ONCE = 2**16
_ATTEMPTS = 5


def add_by_scipy(
    scores: NDArray[np.float32], rows: NDArray[np.int32], weights: NDArray[np.float32], factor: np.float32
) -> None:
    """Add ``factor * weights`` to ``scores[rows]``."""
    bounds = np.array([0, len(rows)], dtype=np.int32)
    csc_matvec(len(scores), 1, bounds, rows, weights, np.array([factor], dtype=np.float32), scores)


def add_by_numpy(
    scores: NDArray[np.float32], rows: NDArray[np.int32], weights: NDArray[np.float32], factor: np.float32
) -> None:
    """The same, 2.5 times slower, for a scipy without the function."""
    np.add.at(scores, rows, weights * factor)


add_list: AddList = add_by_numpy if csc_matvec is None else add_by_scipy


class Segment:
    """An open segment. It stays readable when its files are removed, because they are open.

    Args:
        folder: Its folder.
        entry: What the manifest says about it.
        vocabulary_size: Dimensions of the vectors.
        weights: How weights are stored.

    Raises:
        IndexFileError: If a file is missing, cut off or of another shape.
        FileNotFoundError: If the segment is gone, because a writer replaced it meanwhile.
    """

    def __init__(self, folder: Path, entry: SegmentEntry, vocabulary_size: int, weights: Weights) -> None:
        if not folder.is_dir():
            raise FileNotFoundError(folder)
        self.folder = folder
        self.entry = entry
        self.documents = entry.documents

        def stored(name: str, dtype: Any, length: int) -> StoredArray:
            return StoredArray(folder / name, self._listed(name), dtype, length)

        self._starts = stored("starts.npy", np.int64, vocabulary_size + 1)
        self.rows = stored("rows.npy", np.int32, entry.postings)
        self.weights = stored("weights.npy", dtype_of(weights), entry.postings)
        self._document_starts = stored("document_starts.npy", np.int64, entry.documents + 1)
        self._id_digests = stored("id_digests.npy", np.uint64, entry.documents)
        self._id_rows = stored("id_rows.npy", np.int32, entry.documents)
        self._lines = OpenFile(folder / "documents.jsonl", self._listed("documents.jsonl"))
        self.deleted = np.zeros(0, dtype=np.int32)
        if entry.deleted is not None:
            self.deleted = stored(entry.deleted, np.int32, entry.deletions)[:]
            if not rows_within(self.deleted, self.documents):
                raise self.damaged(entry.deleted)
        self._live: NDArray[np.bool_] | None = None
        self._value_codes: dict[str, dict[str, int]] | None = None
        self._field_starts = stored("field_starts.npy", np.int64, len(entry.fields) + 1)[:]
        pairs = int(self._field_starts[-1])
        self._field_rows = stored("field_rows.npy", np.int32, pairs)
        self._field_codes = stored("field_codes.npy", np.int32, pairs)
        self._values = OpenFile(folder / "field_values.jsonl", self._listed("field_values.jsonl"))
        self._masks: dict[Any, NDArray[np.bool_]] = {}

    @cached_property
    def starts(self) -> NDArray[np.int64]:
        """Where the list of each dimension starts, and the last one ends; shape (vocabulary + 1,)."""
        return self._starts[:]

    @cached_property
    def id_digests(self) -> NDArray[np.uint64]:
        """Digests of the ids, ascending; shape (documents,)."""
        return self._id_digests[:]

    @cached_property
    def id_rows(self) -> NDArray[np.int32]:
        """The row of each digest; shape (documents,)."""
        return self._id_rows[:]

    def score(
        self, terms: NDArray[np.int64], values: NDArray[np.float32], filter: Filter | None
    ) -> NDArray[np.float32]:
        """Dot products of one query with every document.

        Args:
            terms: Dimensions of the query, ascending: the order of addition, as in :mod:`isthmus.index.exact`.
            values: Their weights.
            filter: Documents that do not match get 0, as deleted ones do.

        Returns:
            float32 of shape (documents,).

        Raises:
            IndexFileError: If a list names a document that the segment does not have.
        """
        scores = np.zeros(self.documents, dtype=np.float32)
        bounds = self.starts[terms], self.starts[terms + 1]
        size = min(_AT_ONCE, len(self.rows))
        rows_read, weights_read = np.empty(size, np.int32), np.empty(size, self.weights.dtype)
        for start, stop, value in zip(*(bound.tolist() for bound in bounds), values, strict=True):
            if start == stop:
                continue
            if not 0 <= start < stop <= len(self.rows):
                raise self.damaged("starts.npy")
            for first in range(start, stop, size):
                count = min(size, stop - first)
                rows = self.rows.read_into(rows_read[:count], first)
                # Compiled code adds without looking, so a damaged file must not get through.
                if not rows_within(rows, self.documents):
                    raise self.damaged("rows.npy")
                weights = self.weights.read_into(weights_read[:count], first).astype(np.float32, copy=False)
                add_list(scores, rows, weights, np.float32(value * self.entry.scale))
        if filter:
            scores *= self.mask(filter)
        if len(self.deleted):
            scores[self.deleted] = 0
        return scores

    def check_lists(self) -> None:
        """Refuse lists that do not follow each other, which reading all of them relies on.

        Raises:
            IndexFileError: If ``starts.npy`` is damaged.
        """
        starts = self.starts
        if starts[0] != 0 or starts[-1] != len(self.rows) or bool((starts[1:] < starts[:-1]).any()):
            raise self.damaged("starts.npy")

    def weight(self, term: int, row: int) -> float:
        """Stored weight of a dimension in a document; 0 where it has none."""
        start, stop = self.starts[term : term + 2].tolist()
        rows = self.rows[start:stop]
        place = int(np.searchsorted(rows, row))
        if place == len(rows) or rows[place] != row:
            return 0.0
        return float(unpack(self.weights[start + place : start + place + 1], self.entry.scale)[0])

    def postings(self, term: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Documents that have a dimension and are not deleted, with their weights."""
        start, stop = self.starts[term], self.starts[term + 1]
        if not 0 <= start <= stop <= len(self.rows):
            raise self.damaged("starts.npy")
        rows = self.rows[start:stop]
        if not rows_within(rows, self.documents):
            raise self.damaged("rows.npy")
        kept = self.live()[rows]
        weights = unpack(self.weights[start:stop], self.entry.scale)
        return rows[kept].astype(np.int64), np.asarray(weights[kept], dtype=np.float32)

    def line(self, row: int) -> bytes:
        """The stored line of a document."""
        start, stop = self._document_starts[row : row + 2].tolist()
        if not 0 <= start <= stop:
            raise self.damaged("document_starts.npy")
        return self._lines.read(start, stop)

    def document(self, row: int) -> Document:
        """A stored document.

        Raises:
            IndexFileError: If its line is damaged.
        """
        line = self.line(row)
        try:
            return Document.from_json(line)
        except (ValueError, KeyError, TypeError) as error:
            raise self.damaged("documents.jsonl") from error

    def row_of(self, identifier: str) -> int | None:
        """Row of the live document with this id."""
        digest = np.uint64(id_digest(identifier))
        first = int(np.searchsorted(self.id_digests, digest))
        for place in range(first, self.documents):
            if self.id_digests[place] != digest:
                break
            row = int(self.id_rows[place])
            if not 0 <= row < self.documents:
                raise self.damaged("id_rows.npy")
            if self.live()[row] and self.document(row).id == identifier:
                return row
        return None

    def codes(self, field: str, values: Sequence[str]) -> NDArray[np.int32]:
        """The numbers that stand for ``values`` of a field; those that no document has are left out."""
        known = self._codes_by_value(field)
        return np.array([known[value] for value in values if value in known], dtype=np.int32)

    def count_values(self, field: str) -> Counter[str]:
        """How many documents have each value of a field."""
        names = list(self._codes_by_value(field))
        if not names:
            return Counter()
        rows, codes = self._rows_and_codes(field)
        if not rows_within(codes, len(names)):
            raise self.damaged("field_codes.npy")
        counts = np.bincount(codes[self.live()[rows]], minlength=len(names))
        return Counter({name: int(count) for name, count in zip(names, counts, strict=True) if count})

    def _codes_by_value(self, field: str) -> dict[str, int]:
        if self._value_codes is None:
            lines = self._values.read().splitlines()
            try:
                found = [{value: code for code, value in enumerate(json.loads(line))} for line in lines]
                self._value_codes = dict(zip(self.entry.fields, found, strict=True))
            except (ValueError, TypeError) as error:
                raise self.damaged("field_values.jsonl") from error
        return self._value_codes.get(field, {})

    def mask(self, filter: Filter) -> NDArray[np.bool_]:
        """Which documents have, in every field of ``filter``, one of its values; kept for the next query."""
        key = tuple(sorted((field, tuple(values)) for field, values in filter.items()))
        if key not in self._masks:
            mask = np.ones(self.documents, dtype=np.bool_)
            for field, values in filter.items():
                mask &= self._having(field, self.codes(field, values))
            if len(self._masks) >= _MASKS_KEPT:
                self._masks.clear()
            self._masks[key] = mask
        return self._masks[key]

    def _having(self, field: str, codes: NDArray[np.int32]) -> NDArray[np.bool_]:
        """Which documents have one of some values in a field."""
        having = np.zeros(self.documents, dtype=np.bool_)
        if len(codes):
            rows, found = self._rows_and_codes(field)
            having[rows[np.isin(found, codes)]] = True
        return having

    def _rows_and_codes(self, field: str) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """The documents that have a field, and the number of the value of each."""
        place = self.entry.fields.index(field)
        span = slice(*self._field_starts[place : place + 2].tolist())
        rows, codes = self._field_rows[span], self._field_codes[span]
        if not rows_within(rows, self.documents):
            raise self.damaged("field_rows.npy")
        return rows, codes

    def live(self) -> NDArray[np.bool_]:
        """Which documents are not deleted."""
        if self._live is None:
            self._live = np.ones(self.documents, dtype=np.bool_)
            self._live[self.deleted] = False
        return self._live

    def _listed(self, name: str) -> Stored:
        """What the manifest says about one of its files."""
        if name not in self.entry.files:
            raise IndexFileError(f"{self.folder / name} is not listed in the manifest, which is damaged; {REBUILD}")
        return self.entry.files[name]

    def damaged(self, name: str) -> IndexFileError:
        """The error to raise about one of its files."""
        return IndexFileError(f"{self.folder / name} is damaged; {REBUILD}")


def rows_within(rows: NDArray[np.int32], documents: int) -> bool:
    """Whether all rows are those of documents; -1 is the largest unsigned."""
    return not len(rows) or int(rows.view(np.uint32).max()) < documents


def read_tokens(file: OpenFile) -> list[str]:
    """What stands for each dimension, from the open file of tokens.

    Raises:
        IndexFileError: If the file is damaged.
    """
    content = file.read()
    if digest_of(content) != file.expected.digest:
        raise IndexFileError(f"{file.path} is damaged (its digest differs); {REBUILD}")
    tokens: list[str] = json.loads(content.decode("utf-8", errors="surrogatepass"))
    return tokens


def open_segments(folder: Path) -> tuple[Manifest, list[Segment], OpenFile | None]:
    """Open what the manifest of an index names: the manifest, its segments and the file of its tokens.

    Raises:
        NotFoundError: If there is no index.
        IndexFileError: If it is damaged or of a later version.
    """
    manifest = read_manifest(folder)
    for attempt in range(_ATTEMPTS):
        try:
            tokens = None
            for name, expected in manifest.files.items():
                tokens = OpenFile(folder / name, expected)
            segments = [
                Segment(folder / SEGMENTS / entry.name, entry, manifest.vocabulary_size, manifest.weights)
                for entry in manifest.segments
            ]
            break
        except (FileNotFoundError, IndexFileError) as error:
            # A writer may have replaced the segments between the two reads; then there is a later manifest.
            generation, manifest = manifest.generation, read_manifest(folder)
            if manifest.generation != generation and attempt < _ATTEMPTS - 1:
                continue
            if isinstance(error, IndexFileError):
                raise
            raise IndexFileError(f"{error.filename or error} is missing; {REBUILD}") from error
    return manifest, segments, tokens
