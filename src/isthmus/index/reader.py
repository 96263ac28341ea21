"""Reading one segment: mapped into memory, scored exactly, list by list."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
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
    check_size,
    digest_of,
    map_array,
    mapped,
    read_manifest,
)
from isthmus.index.options import Weights
from isthmus.index.quantize import dtype_of, unpack
from isthmus.index.segments import id_digest
from isthmus.reading.corpus import Document

try:
    # What ``csc_matrix @ vector`` runs; called directly, it reads the mapped lists where they lie.
    from scipy.sparse._sparsetools import csc_matvec
except ImportError:
    csc_matvec = None

Filter = Mapping[str, Sequence[str]]
AddList = Callable[[NDArray[np.float32], NDArray[np.int32], NDArray[np.float32], np.float32], None]
_MASKS_KEPT = 64
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
        for name, expected in entry.files.items():
            check_size(folder / name, expected)

        def load(name: str, dtype: Any, *shape: int) -> NDArray[Any]:
            return map_array(folder / f"{name}.npy", dtype, shape)

        self.starts = load("starts", np.int64, vocabulary_size + 1)
        self.rows = load("rows", np.int32, entry.postings)
        self.weights = load("weights", dtype_of(weights), entry.postings)
        self.document_starts = load("document_starts", np.int64, entry.documents + 1)
        self.id_digests = load("id_digests", np.uint64, entry.documents)
        self.id_rows = load("id_rows", np.int32, entry.documents)
        self._lines = mapped(folder / "documents.jsonl")
        self.deleted = np.zeros(0, dtype=np.int32)
        if entry.deleted is not None:
            self.deleted = map_array(folder / entry.deleted, np.int32, (entry.deletions,))
            if not rows_within(self.deleted, self.documents):
                raise self.damaged(entry.deleted)
        self._live: NDArray[np.bool_] | None = None
        self._value_codes: dict[str, dict[str, int]] | None = None
        self._field_starts = load("field_starts", np.int64, len(entry.fields) + 1)
        pairs = int(self._field_starts[-1])
        self._field_rows = load("field_rows", np.int32, pairs)
        self._field_codes = load("field_codes", np.int32, pairs)
        self._values = mapped(folder / "field_values.jsonl")
        self._masks: dict[Any, NDArray[np.bool_]] = {}

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
        for start, stop, value in zip(*bounds, values, strict=True):
            if start == stop:
                continue
            if not 0 <= start < stop <= len(self.rows):
                raise self.damaged("starts.npy")
            rows = self.rows[start:stop]
            # Compiled code adds without looking, so a damaged file must not get through.
            if not rows_within(rows, self.documents):
                raise self.damaged("rows.npy")
            weights = np.asarray(self.weights[start:stop], dtype=np.float32)
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
        start, stop = self.starts[term], self.starts[term + 1]
        place = start + np.searchsorted(self.rows[start:stop], row)
        if place == stop or self.rows[place] != row:
            return 0.0
        return float(unpack(self.weights[place : place + 1], self.entry.scale)[0])

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
        return bytes(self._lines[self.document_starts[row] : self.document_starts[row + 1]])

    def document(self, row: int) -> Document:
        """A stored document.

        Raises:
            IndexFileError: If its line is damaged.
        """
        try:
            return Document.from_json(self.line(row))
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
            lines = bytes(self._values).splitlines()
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

    def damaged(self, name: str) -> IndexFileError:
        """The error to raise about one of its files."""
        return IndexFileError(f"{self.folder / name} is damaged; {REBUILD}")


def rows_within(rows: NDArray[np.int32], documents: int) -> bool:
    """Whether all rows are those of documents; -1 is the largest unsigned."""
    return not len(rows) or int(rows.view(np.uint32).max()) < documents


def read_tokens(folder: Path, manifest: Manifest, content: bytes) -> list[str]:
    """What stands for each dimension, from the open file of tokens.

    Raises:
        IndexFileError: If the file is damaged.
    """
    for name, expected in manifest.files.items():
        if digest_of(content) != expected.digest:
            raise IndexFileError(f"{folder / name} is damaged (its digest differs); {REBUILD}")
    tokens: list[str] = json.loads(content.decode("utf-8", errors="surrogatepass"))
    return tokens


def open_segments(folder: Path) -> tuple[Manifest, list[Segment], Any]:
    """Open what the manifest of an index names: the manifest, its segments and the bytes of its tokens.

    Raises:
        NotFoundError: If there is no index.
        IndexFileError: If it is damaged or of a later version.
    """
    manifest = read_manifest(folder)
    for attempt in range(_ATTEMPTS):
        try:
            tokens: Any = b"[]"
            for name, expected in manifest.files.items():
                check_size(folder / name, expected)
                tokens = mapped(folder / name)
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
