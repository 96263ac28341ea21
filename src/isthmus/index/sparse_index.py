"""An index in a folder: exact search of sparse vectors by dot product."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from isthmus.encoders.fingerprint import open_encoder
from isthmus.errors import InputError
from isthmus.index.build import build_index, change_index
from isthmus.index.copying import copy_index
from isthmus.index.exact import best_positive
from isthmus.index.format import Manifest, verify
from isthmus.index.hits import Hit, Match
from isthmus.index.open_files import OpenFile
from isthmus.index.options import IndexOptions, QueryOptions
from isthmus.index.passages import FIRST, document_hits, joined, stored_passages
from isthmus.index.query_encoder import QueryEncoder
from isthmus.index.reader import Filter, Segment, open_segments, read_tokens
from isthmus.index.segments import wanted_values
from isthmus.index.survey import Surveyed
from isthmus.reading.corpus import Document

_SEVERAL = "; see search_many"


class SparseIndex(Surveyed):
    """An index as it was when it was opened: later changes of the folder do not show, :meth:`open` it again for them.

    Scores are dot products, added up in float32 in ascending order of dimensions. Only documents with a positive score
    are hits; of equal scores, the document that was added first comes first. An updated document counts as added anew.
    In an index of passages a document has the score of its best one.

    Args:
        folder: The index.
        manifest: Its state.
        segments: Its open segments.
        tokens: Its open file of tokens, where it has one.
        options: As for :meth:`open`.
    """

    def __init__(
        self,
        folder: Path,
        manifest: Manifest,
        segments: Sequence[Segment],
        tokens: OpenFile | None,
        options: QueryOptions | None = None,
    ) -> None:
        self.folder, self.manifest = folder, manifest
        self._segments = list(segments)
        self._firsts = np.cumsum([0, *(segment.documents for segment in segments)])
        self._queries = QueryEncoder(manifest, f"the index {folder}", options)
        self._tokens: list[str] | None = None
        self._tokens_file = tokens

    @classmethod
    def build(
        cls,
        model: Any,
        corpus: Any,
        folder: str | Path | None = None,
        options: IndexOptions | None = None,
        **changes: Any,
    ) -> SparseIndex:
        """Encode a corpus and index it.

        Args:
            model: A loaded SparseEncoder, or a built-in name, folder or hub id.
            corpus: A file, a mapping of ids to texts, rows with ``id`` and ``text``, a loaded collection, or a folder
                that :func:`isthmus.index.encode_corpus` finished.
            folder: Where the index goes; None takes a temporary one, which lasts as long as the result does.
            options: How; None takes the defaults.
            **changes: Fields of ``options`` to replace.

        Raises:
            IsthmusError: As for :func:`isthmus.index.build_index`.

        Example:
            >>> index = SparseIndex.build("isthmus/mini-splade-en", {"a": "the house", "b": "war"})  # doctest: +SKIP
            >>> index.search("houses", top_k=1)[0].id  # doctest: +SKIP
            'a'
        """
        options = IndexOptions.of(options, **changes)
        opened = open_encoder(model, options)
        temporary = None
        if folder is None:
            folder = temporary = tempfile.mkdtemp(prefix="isthmus-index-")
        try:
            build_index(opened, corpus, folder, options)
            index = cls.open(folder, model=opened.encoder)
        except BaseException:
            if temporary is not None:
                shutil.rmtree(temporary, ignore_errors=True)
            raise
        if temporary is not None:
            weakref.finalize(index, shutil.rmtree, temporary, ignore_errors=True)
        return index

    @classmethod
    def open(
        cls,
        folder: str | Path,
        options: QueryOptions | None = None,
        *,
        verify_files: bool = False,
        **changes: Any,
    ) -> SparseIndex:
        """Open an index; its lists are read when a query asks for them.

        Args:
            folder: The index.
            options: What encodes the queries; None takes the model that the index names.
            verify_files: Read all files and compare their digests; without, sizes and shapes are checked.
            **changes: Fields of ``options`` to replace.

        Raises:
            NotFoundError: If there is no index.
            IndexFileError: If it is damaged or of a later version.
        """
        options = QueryOptions.of(options, **changes)
        folder = Path(folder)
        manifest, segments, tokens = open_segments(folder)
        if verify_files:
            verify(folder, manifest)
        return cls(folder, manifest, segments, tokens, options)

    def save(self, folder: str | Path, *, overwrite: bool = False) -> None:
        """Copy the index, as it is on disk, to another folder; see :func:`isthmus.index.copying.copy_index`.

        Raises:
            IndexFileError: If the index is damaged.
            OutputError: If the folder exists and must not be replaced, is being written, or cannot be written.
        """
        copy_index(self.folder, Path(folder), overwrite=overwrite)

    def __len__(self) -> int:
        """Number of documents that are not deleted."""
        rows = sum(entry.documents - entry.deletions for entry in self.manifest.segments)
        return rows if self.manifest.documents is None else self.manifest.documents

    def summary(self) -> dict[str, Any]:
        """Documents, passages, deleted ones still on disk, postings, bytes, segments, how far a weight can be off."""
        entries = self.manifest.segments
        files = [*self.manifest.files.values(), *(file for entry in entries for file in entry.files.values())]
        identity = self.manifest.identity
        passages = sum(entry.documents - entry.deletions for entry in entries)
        return {
            "documents": len(self),
            **({"passages": passages} if self.manifest.split else {}),
            "deleted": sum(entry.deletions for entry in entries),
            "postings": sum(entry.postings for entry in entries),
            "bytes": sum(file.bytes for file in files) + len(self.manifest.to_bytes()),
            "segments": len(entries),
            "weights": self.manifest.weights,
            "weight_error": max((entry.error for entry in entries), default=0.0),
            "model": None if identity is None else identity.name,
            "generation": self.manifest.generation,
        }

    def search(self, query: str | csr_matrix, top_k: int = 10, *, filter: Mapping[str, Any] | None = None) -> list[Hit]:
        """Search for one query.

        Args:
            query: A text, or a vector of shape (1, vocabulary).
            top_k: Hits at most.
            filter: Value, or list of values, that a metadata field of a hit must have; several fields must all fit.

        Returns:
            Best first.

        Raises:
            InputError: If an argument does not fit, or the model is not the one that made the index.
            NotFoundError: If the index's model is not there any more.
        """
        return self.search_many(self._queries.one(query, remedy=_SEVERAL), top_k, filter=filter)[0]

    def search_many(
        self, queries: Sequence[str] | csr_matrix, top_k: int = 10, *, filter: Mapping[str, Any] | None = None
    ) -> list[list[Hit]]:
        """Search for several queries, one list of hits each; arguments as for :meth:`search`."""
        return [self._hits(vector, top_k, filter) for vector in self.vectors(queries)]

    def _hits(self, vector: csr_matrix, top_k: int, filter: Mapping[str, Any] | None) -> list[Hit]:
        def ask(count: int) -> list[Hit]:
            rows, scores = self.top(vector, count, filter=filter)
            found = [self.document_at(int(row)) for row in rows]
            return [Hit(document.id, float(s), document) for document, s in zip(found, scores, strict=True)]

        if not self.manifest.split or top_k < 1:
            return ask(top_k)
        return document_hits(ask, top_k, first=FIRST * top_k, most=max(1, int(self._firsts[-1])))

    def top(
        self, vector: csr_matrix, top_k: int = 10, *, filter: Mapping[str, Any] | None = None
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Rows and scores of the best documents or passages of a vector of shape (1, vocabulary), which are not read.

        Rows count through all segments, deleted documents included; see :meth:`document_at`.
        """
        if top_k < 1:
            raise InputError(f"top_k must be 1 or more, got {top_k}")
        self._queries.check_columns(vector)
        wanted = self._filter(filter)
        order = np.argsort(vector.indices[: vector.nnz], kind="stable")
        terms = vector.indices[order].astype(np.int64)
        values = vector.data[order].astype(np.float32)
        rows, scores = [np.zeros(0, dtype=np.int64)], [np.zeros(0, dtype=np.float32)]
        for first, segment in zip(self._firsts, self._segments, strict=False):
            own = segment.score(terms, values, wanted)
            best = best_positive(own, top_k)
            rows.append(first + best)
            scores.append(own[best])
        all_rows, all_scores = np.concatenate(rows), np.concatenate(scores)
        kept = np.argsort(-all_scores, kind="stable")[:top_k]
        return all_rows[kept], all_scores[kept]

    def explain(self, query: str | csr_matrix, identifier: str) -> list[Match]:
        """The tokens that query and document share, largest product first; the products add up to the score.

        Args:
            query: As for :meth:`search`.
            identifier: Id of the document, of which the best passage is taken, or of a passage.

        Raises:
            InputError: If no document has this id, or the query does not fit.
        """
        vector = self._queries.one(query, remedy=_SEVERAL)
        return self._matches(vector, self.best_passage(vector, identifier))

    def best_passage(self, query: str | csr_matrix, identifier: str) -> str:
        """Id of the passage of a document that scores best; the given one where it is that of a passage or not split.

        Raises:
            InputError: If there is no such document, or the query does not fit.
        """
        vector, ids = self._queries.one(query, remedy=_SEVERAL), self._ids(identifier)
        return max(ids, key=lambda id: sum(match.score for match in self._matches(vector, id))) if ids[1:] else ids[0]

    def _matches(self, vector: csr_matrix, identifier: str) -> list[Match]:
        segment, row = self._find(identifier)
        matches = []
        for term, value in zip(vector.indices, vector.data, strict=True):
            weight = segment.weight(int(term), row)
            if weight:
                matches.append(Match(self.token(int(term)), float(value), weight, float(value) * weight))
        return sorted(matches, key=lambda match: -match.score)

    def document(self, identifier: str) -> Document:
        """The stored document with this id, joined if it was split, or passage.

        Raises:
            InputError: If there is none.
        """
        places = [self._find(id) for id in self._ids(identifier)]
        found = [segment.document(row) for segment, row in places]
        return found[0] if found[0].id == identifier else joined(found)

    def document_at(self, row: int) -> Document:
        """The stored document of a row of :meth:`top`."""
        place = int(np.searchsorted(self._firsts, row, side="right")) - 1
        return self._segments[place].document(row - int(self._firsts[place]))

    def token(self, term: int) -> str:
        """What stands for a dimension; its number where that is not known."""
        if self._tokens is None:
            self._tokens = [] if self._tokens_file is None else read_tokens(self._tokens_file)
        return (self._tokens[term] if term < len(self._tokens) else "") or str(term)

    def vectors(self, queries: Sequence[str] | csr_matrix) -> list[csr_matrix]:
        """Query vectors, one row each; texts are encoded by the model, vectors are checked.

        Raises:
            InputError: If they do not fit the index, or the model did not make it.
            NotFoundError: If the model is not there.
        """
        return self._queries.vectors(queries)

    def encoder(self) -> Any:
        """The loaded encoder of the queries."""
        return self._queries.open().encoder

    def add(self, corpus: Any, *, update: bool = False, **changes: Any) -> None:
        """Add documents and show them; arguments as for :func:`isthmus.index.change_index`."""
        changes = {"trust_remote_code": self._queries.options.trust_remote_code, **changes}
        self._change(corpus=corpus, update=update, model=self._queries.model, **changes)

    def delete(self, ids: Iterable[str]) -> None:
        """Delete documents.

        Raises:
            InputError: If an id is not in the index; nothing is deleted then.
            OutputError: If another process writes, or the folder cannot be written.
        """
        self._change(delete=list(ids))

    def compact(self) -> None:
        """Merge all segments into one and drop deleted documents from the disk."""
        self._change(compact=True)

    def _change(self, **changes: Any) -> None:
        change_index(self.folder, **changes)
        later = type(self).open(self.folder)
        self.manifest, self._segments, self._firsts = later.manifest, later._segments, later._firsts

    def _filter(self, filter: Mapping[str, Any] | None) -> Filter | None:
        if not filter:
            return None
        known = {field for segment in self._segments for field in segment.entry.fields}
        for field in filter:
            if field not in known:
                fields = ", ".join(sorted(known)) or "none"
                raise InputError(f"filter must name a metadata field of the documents ({fields}), got {field!r}")
        return {field: wanted_values(value) for field, value in filter.items()}

    def _ids(self, identifier: str) -> list[str]:
        """What the rows of a document are called, or the row with this id."""
        if not self.manifest.split:
            return [identifier]
        return stored_passages({identifier: 0}, lambda ids: [id for id in ids if self._place(id) is None]) or [
            identifier
        ]

    def _place(self, identifier: str) -> tuple[Segment, int] | None:
        found = ((segment, segment.row_of(identifier)) for segment in self._segments)
        return next(((segment, row) for segment, row in found if row is not None), None)

    def _find(self, identifier: str) -> tuple[Segment, int]:
        place = self._place(identifier)
        if place is not None:
            return place
        raise InputError(f"document {identifier!r} must be in the index {self.folder}, and is not; check the id")
