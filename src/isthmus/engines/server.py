"""Engines on a server: filling one, and searching it with the right model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from scipy.sparse import csr_matrix

from isthmus.encoders.splitting import passage_id
from isthmus.encoders.truncation import count_truncated
from isthmus.engines.base import FIRST_PASSAGE, Engine, Header, Location, digest, wanted_labels
from isthmus.engines.connection import Request, Server
from isthmus.errors import EngineAwayError, InputError, OutputError
from isthmus.index.build import Change, Windows, added_windows, encoded_windows
from isthmus.index.hits import Hit, Match
from isthmus.index.options import ChangeOptions, IndexOptions, QueryOptions
from isthmus.index.passages import FIRST, document_hits, joined, stored_passages
from isthmus.index.query_encoder import QueryEncoder
from isthmus.index.writer import count_empty
from isthmus.reading.corpus import Document


class ServerEngine:
    """A server as an engine: encodes queries with the model that made its vectors.

    Args:
        server: The connection.
        options: What encodes the queries; None takes the model that the index names.
        **changes: Fields of ``options`` to replace.

    Raises:
        NotFoundError: If there is no such index.
        IndexFileError: If Isthmus did not make it.
    """

    def __init__(self, server: Server, options: QueryOptions | None = None, **changes: Any) -> None:
        self.server = server
        self.header = server.header()
        self._queries = QueryEncoder(self.header, server.where, QueryOptions.of(options, **changes))
        self._tokens: list[str] | None = None

    def __len__(self) -> int:
        """Number of documents."""
        return self.server.count([[FIRST_PASSAGE]] if self.header.split else ())

    def summary(self) -> dict[str, Any]:
        """Documents, passages, bytes, how weights are kept, and the model; no server tells the number of postings."""
        return {
            "documents": len(self),
            **({"passages": self.server.count()} if self.header.split else {}),
            "postings": None,
            "bytes": self.server.size(),
            "weights": self.server.weights,
            "model": self.header.identity.name,
        }

    def vectors(self, queries: Sequence[str] | csr_matrix) -> list[csr_matrix]:
        """As :meth:`isthmus.index.SparseIndex.vectors`."""
        return self._queries.vectors(queries)

    def field_values(self, field: str) -> list[str] | None:
        """The most frequent ones; None where the server does not tell."""
        return self.server.values(field)

    def encoder(self) -> Any:
        """The loaded encoder of the queries."""
        return self._queries.open().encoder

    def search(self, query: str | csr_matrix, top_k: int = 10, *, filter: Mapping[str, Any] | None = None) -> list[Hit]:
        """As :meth:`isthmus.index.SparseIndex.search`, but equal scores come in the server's own order.

        A metadata field that no document has is not refused: it finds nothing.

        Raises:
            InputError: If an argument does not fit, or the model is not the one that made the vectors.
            EngineError: If the server does not answer or refuses.
        """
        if top_k < 1:
            raise InputError(f"top_k must be 1 or more, got {top_k}")
        vector, split = self._queries.one(query), self.header.split

        def ask(count: int) -> list[Hit]:
            return self.server.find(vector, count, wanted_labels(filter), split=split) if vector.nnz else []

        first = top_k if self.server.collapses else top_k * FIRST
        return document_hits(ask, top_k, first=first, most=self.server.most) if split else ask(top_k)

    def search_many(
        self, queries: Sequence[str] | csr_matrix, top_k: int = 10, *, filter: Mapping[str, Any] | None = None
    ) -> list[list[Hit]]:
        """Search for several queries, in one request where the server takes it; arguments as for :meth:`search`."""
        if top_k < 1:
            raise InputError(f"top_k must be 1 or more, got {top_k}")
        vectors = self.vectors(queries)
        if self.header.split:
            return [self.search(vector, top_k, filter=filter) for vector in vectors]
        return self.server.find_many(vectors, top_k, wanted_labels(filter))

    def request(self, query: str | csr_matrix, top_k: int = 10, *, filter: Mapping[str, Any] | None = None) -> Request:
        """What :meth:`search` sends, for applications that ask the server themselves.

        Raises:
            InputError: If this kind of server is not asked by JSON, or the query has no term.
            EngineError: If the server does not answer or refuses.
        """
        vector = self._queries.one(query)
        return self.server.request(vector, top_k, wanted_labels(filter), split=self.header.split)

    def explain(self, query: str | csr_matrix, identifier: str) -> list[Match]:
        """As :meth:`isthmus.index.SparseIndex.explain`, from the weights that the server stores."""
        vector = self._queries.one(query)
        return self._matches(vector, self.best_passage(vector, identifier))

    def best_passage(self, query: str | csr_matrix, identifier: str) -> str:
        """As :meth:`isthmus.index.SparseIndex.best_passage`."""
        vector, ids = self._queries.one(query), self._ids(identifier)
        return max(ids, key=lambda id: sum(match.score for match in self._matches(vector, id))) if ids[1:] else ids[0]

    def _ids(self, identifier: str) -> list[str]:
        return (stored_passages({identifier: 0}, self.server.missing) if self.header.split else []) or [identifier]

    def _matches(self, vector: csr_matrix, identifier: str) -> list[Match]:
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
        found = [found for id in self._ids(identifier) if (found := self.server.document(id)) is not None]
        if not found:
            raise self._absent(identifier)
        return found[0] if found[0].id == identifier else joined(found)

    def close(self) -> None:
        """Close the connection."""
        self.server.close()

    def _absent(self, identifier: str) -> InputError:
        return InputError(f"document {identifier!r} must be in {self.server.where}, and is not; check the id")

    def _token(self, term: int) -> str:
        if not self._queries.is_open:
            return str(term)
        if self._tokens is None:
            self._tokens = self._queries.open().tokens()
        return self._tokens[term] or str(term)


def left_out(engine: Engine, vector: csr_matrix, filter: Mapping[str, Any] | None = None) -> int:
    """Dimensions of a query, the lightest, that an engine does not take; 0 for those that take any number."""
    return engine.server.left_out(vector, wanted_labels(filter)) if isinstance(engine, ServerEngine) else 0


@dataclass(frozen=True)
class ServerBackend:
    """A kind of server.

    Attributes:
        connect: Opens a connection; the index need not be there.
    """

    connect: Callable[[Location], Server]

    def open(self, location: Location, options: QueryOptions) -> ServerEngine:
        """Connect to an index that is there."""
        server = self.connect(location)
        try:
            return ServerEngine(server, options)
        except BaseException:
            server.close()
            raise

    def build(self, location: Location, model: Any, corpus: Any, options: IndexOptions) -> Change:
        """Make an index and fill it; after an interruption, an update with the same corpus completes it.

        Raises:
            OutputError: If an index of this name is there and ``overwrite`` is off, or the name is an alias.
            IndexFileError: If Isthmus did not make the one that is to be overwritten.
            InputError: If ``weights`` is not f32: a server stores them in its own way; or shards or replicas are given
                for a server that cannot be told.
        """
        options.check_stored(location.url)
        server = self.connect(location)
        try:
            if not server.divides:
                options.check_undivided(location.url)
            exists = server.exists()
            if exists and not options.overwrite:
                raise OutputError(
                    f"{location.url} already exists; choose another name, or pass --overwrite, or --update to add to it"
                )
            if exists:
                server.check_own()
            found = encoded_windows(model, corpus, options)
            # Encoders are opened in between, and others may be at work.
            if options.overwrite and server.exists():
                server.drop()
            encoder = found.encoder
            header = Header(encoder.identity, encoder.vocabulary_size, found.settings, options.text)
            server.create(header, shards=options.shards, replicas=options.replicas)
            return fill(server, found.windows, text=options.text, truncated=found.truncated)
        finally:
            server.close()

    def change(self, location: Location, options: ChangeOptions, *, model: Any = None, corpus: Any = None) -> Change:
        """Delete documents and put others; each step shows as it is done.

        Documents that are there as the corpus has them are neither encoded nor put again.

        Raises:
            InputError: If documents are to be added without ``update``, an id to delete is not there, the model is
                another, or ``compact`` is asked for.
        """
        if options.compact:
            raise InputError(f"compact is for index folders; {location.url} merges on its own")
        if corpus is not None and not options.update:
            raise InputError(f"{location.url} must be changed by --update, got --add: a server replaces equal ids")
        server = self.connect(location)
        try:
            header = server.header()
            deleted = [passage_id(document, 0) if header.split else document for document in options.delete]
            absent = set(server.missing(deleted))
            for document, identifier in zip(options.delete, deleted, strict=True):
                if identifier in absent:
                    raise InputError(
                        f"document {document!r} must be in {location.url}, and is not; take it off the list"
                    )
            windows: Windows = ()
            truncated = 0
            changed = Changed(server)
            if corpus is not None:
                found = added_windows(header, location.url, model, corpus, options, changed)
                windows, truncated = found.windows, found.truncated
            if options.delete:
                firsts = dict.fromkeys(options.delete, 0)
                server.delete(stored_passages(firsts, server.missing) if header.split else options.delete)
            change = fill(server, windows, text=header.text, truncated=truncated)
            return replace(change, deleted=len(options.delete), unchanged=changed.others)
        finally:
            server.close()


class Changed:
    """Tells the documents that a server does not have yet as they are, and counts the others."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self.others = 0

    def __call__(self, documents: list[Document]) -> list[Document]:
        """Those that are to be put."""
        there = self._server.digests([document.id for document in documents])
        found = [document for document in documents if there.get(document.id) != digest(document)]
        self.others += len(documents) - len(found)
        return found


def fill(
    server: Server,
    windows: Windows,
    *,
    text: bool,
    truncated: int = 0,
    again: str = "the same command with --update",
) -> Change:
    """Put documents and make them visible.

    Args:
        server: Where to.
        windows: Documents with their vectors.
        text: Store title and text.
        truncated: Texts that lost their end when they were encoded before.
        again: What goes on after the server went away.

    Raises:
        EngineAwayError: If the server went away; says how many documents it took.
    """
    added = empty = postings = 0
    last = None
    try:
        with count_truncated() as counted:
            for documents, vectors in windows:
                # Before anything of them is put, so that an update that is cut off is not taken for a whole one.
                _drop_behind(server, documents)
                server.put(documents, vectors, text=text)
                ids = [document.document_id for document in documents]
                added += len(set(ids)) - (ids[0] == last)
                last = ids[-1]
                empty += count_empty(documents, vectors)
                postings += vectors.nnz
        server.flush()
    except EngineAwayError as error:
        raise EngineAwayError(f"{error}; {added:,} documents were taken, and {again} goes on from there") from error
    truncated += counted["document"]
    return Change(None, added=added, empty=empty, postings=postings, truncated=truncated)


def _drop_behind(server: Server, documents: Sequence[Document]) -> None:
    """Delete the passages that documents had and have no more, because they are shorter now."""
    ends = {one.document_id: one.passage.of for one in documents if one.passage is not None}
    behind = stored_passages(ends, server.missing)
    if behind:
        server.delete(behind)
