"""What engines on a server share: filling them, and searching them with the right model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix

from isthmus.encoders.fingerprint import open_encoder, token_texts
from isthmus.engines.base import Header, Location, wanted_labels
from isthmus.engines.connection import Server
from isthmus.errors import InputError, OutputError
from isthmus.index.build import Change, encoded_windows
from isthmus.index.hits import Hit, Match
from isthmus.index.query_encoder import query_vectors
from isthmus.reading.corpus import Document


class ServerEngine:
    """A server as an engine: encodes queries with the model that made its vectors.

    Args:
        server: The connection.
        model: As for :meth:`isthmus.index.SparseIndex.open`.
        any_model: As for :meth:`isthmus.index.SparseIndex.open`.
        trust_remote_code: As for :meth:`isthmus.index.SparseIndex.open`.

    Raises:
        NotFoundError: If there is no such index.
        IndexFileError: If Isthmus did not make it.
    """

    def __init__(
        self, server: Server, *, model: Any = None, any_model: bool = False, trust_remote_code: bool = False
    ) -> None:
        self.server = server
        self.header = server.header()
        self._model = model
        self._any_model = any_model
        self._trust_remote_code = trust_remote_code
        self._encoder: Any = None
        self._tokens: list[str] | None = None

    def __len__(self) -> int:
        """Number of documents."""
        return self.server.count()

    def summary(self) -> dict[str, Any]:
        """Documents, bytes, how weights are kept, and the model; no server tells the number of postings."""
        return {
            "documents": len(self),
            "postings": None,
            "bytes": self.server.size(),
            "weights": self.server.weights,
            "model": self.header.identity.name,
        }

    def vectors(self, queries: Sequence[str] | csr_matrix) -> list[csr_matrix]:
        """As :meth:`isthmus.index.SparseIndex.vectors`."""
        dtype, columns = self.header.settings.get("dtype", "float32"), self.header.vocabulary_size
        return query_vectors(queries, self._opened, columns=columns, dtype=dtype, where=self.server.where)

    def search(self, query: str | csr_matrix, top_k: int = 10, *, filter: Mapping[str, Any] | None = None) -> list[Hit]:
        """As :meth:`isthmus.index.SparseIndex.search`, but equal scores come in the server's own order.

        A metadata field that no document has is not refused: it finds nothing.

        Raises:
            InputError: If an argument does not fit, or the model is not the one that made the vectors.
            EngineError: If the server does not answer or refuses.
        """
        if top_k < 1:
            raise InputError(f"top_k must be 1 or more, got {top_k}")
        vector = self._one(query)
        return self.server.find(vector, top_k, wanted_labels(filter)) if vector.nnz else []

    def explain(self, query: str | csr_matrix, identifier: str) -> list[Match]:
        """As :meth:`isthmus.index.SparseIndex.explain`, from the weights that the server stores."""
        vector = self._one(query)
        stored = self.server.stored(identifier)
        if stored is None:
            raise self._absent(identifier)
        matches = [
            Match(self._token(term), float(value), stored[term], float(value) * stored[term])
            for term, value in zip(vector.indices.tolist(), vector.data, strict=True)
            if term in stored
        ]
        return sorted(matches, key=lambda match: -match.score)

    def document(self, identifier: str) -> Document:
        """As :meth:`isthmus.index.SparseIndex.document`; title and text are empty where they were left out.

        Raises:
            InputError: If there is none.
            EngineError: If the server does not answer or refuses.
        """
        found = self.server.document(identifier)
        if found is None:
            raise self._absent(identifier)
        return found

    def close(self) -> None:
        """Close the connection."""
        self.server.close()

    def _absent(self, identifier: str) -> InputError:
        return InputError(f"document {identifier!r} must be in {self.server.where}, and is not; check the id")

    def _one(self, query: str | csr_matrix) -> csr_matrix:
        if not isinstance(query, str) and query.shape[0] != 1:
            raise InputError(f"query must be one text or one row, got {query.shape[0]} rows")
        return self.vectors([query] if isinstance(query, str) else query)[0]

    def _token(self, term: int) -> str:
        if self._encoder is None:
            return str(term)
        if self._tokens is None:
            self._tokens = token_texts(self._encoder, self.header.vocabulary_size)
        return self._tokens[term] or str(term)

    def _opened(self) -> Any:
        if self._encoder is None:
            model = _model(self.header, self._model, self.server.where)
            opened = open_encoder(model, trust_remote_code=self._trust_remote_code)
            if not self._any_model:
                self.header.identity.check(opened.identity, self.server.where)
            self._encoder = opened.encoder
        return self._encoder


@dataclass(frozen=True)
class ServerBackend:
    """A kind of server.

    Attributes:
        connect: Opens a connection; the index need not be there.
    """

    connect: Callable[[Location], Server]

    def open(self, location: Location, *, model: Any, any_model: bool, trust_remote_code: bool) -> ServerEngine:
        """Connect to an index that is there."""
        server = self.connect(location)
        try:
            return ServerEngine(server, model=model, any_model=any_model, trust_remote_code=trust_remote_code)
        except BaseException:
            server.close()
            raise

    def build(
        self,
        location: Location,
        model: Any,
        corpus: Any,
        *,
        overwrite: bool = False,
        weights: str = "f32",
        text: bool = True,
        batch_size: int = 32,
        trust_remote_code: bool = False,
        show_progress_bar: bool | None = None,
        **settings: Any,
    ) -> Change:
        """Make an index and fill it; after an interruption, an update with the same corpus completes it.

        Raises:
            OutputError: If an index of this name is there and ``overwrite`` is off, or the name is an alias.
            IndexFileError: If Isthmus did not make the one that is to be overwritten.
            InputError: If ``weights`` is not f32: a server stores them in its own way.
        """
        if weights != "f32":
            raise InputError(f"weights must be 'f32' for {location.url}, got {weights!r}: a server stores its own way")
        server = self.connect(location)
        try:
            exists = server.exists()
            if exists and not overwrite:
                raise OutputError(
                    f"{location.url} already exists; choose another name, or pass --overwrite, or --update to add to it"
                )
            if exists:
                server.check_own()
            options = {"batch_size": batch_size, **settings}
            opened, windows, kept, _ = encoded_windows(model, corpus, options, trust_remote_code, show_progress_bar)
            # Encoders are opened in between, and others may be at work.
            if overwrite and server.exists():
                server.drop()
            server.create(Header(opened.identity, opened.vocabulary_size, kept, text))
            return _fill(server, windows, text=text)
        finally:
            server.close()

    def change(
        self,
        location: Location,
        *,
        model: Any = None,
        corpus: Any = None,
        update: bool = False,
        delete: Sequence[str] = (),
        compact: bool = False,
        batch_size: int = 32,
        trust_remote_code: bool = False,
        show_progress_bar: bool | None = None,
    ) -> Change:
        """Delete documents and put others; each step shows as it is done.

        Raises:
            InputError: If documents are to be added without ``update``, an id to delete is not there, the model is
                another, or ``compact`` is asked for.
        """
        if compact:
            raise InputError(f"compact is for index folders; {location.url} merges on its own")
        if corpus is not None and not update:
            raise InputError(f"{location.url} must be changed by --update, got --add: a server replaces equal ids")
        server = self.connect(location)
        try:
            header = server.header()
            absent = server.missing(delete)
            if absent:
                raise InputError(f"document {absent[0]!r} must be in {location.url}, and is not; take it off the list")
            windows: Any = ()
            if corpus is not None:
                model = _model(header, model, location.url)
                options = {**header.settings, "batch_size": batch_size}
                opened, windows, _, _ = encoded_windows(model, corpus, options, trust_remote_code, show_progress_bar)
                header.identity.check(opened.identity, location.url)
            if delete:
                server.delete(delete)
            return replace(_fill(server, windows, text=header.text), deleted=len(delete))
        finally:
            server.close()


def _model(header: Header, model: Any, where: str) -> Any:
    """What encodes for an index: the model given, or the one that it names."""
    model = header.identity.name if model is None else model
    if model is None:
        raise InputError(f"{where} names no model; pass the one that made it (model=, --model)")
    return model


def _fill(server: Server, windows: Any, *, text: bool) -> Change:
    added = empty = postings = 0
    for documents, vectors in windows:
        server.put(documents, vectors, text=text)
        added += len(documents)
        empty += int((np.diff(vectors.indptr) == 0).sum())
        postings += vectors.nnz
    server.flush()
    return Change(None, added=added, empty=empty, postings=postings)
