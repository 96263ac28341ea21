"""OpenSearch and Elasticsearch behind an alias: a new index is filled beside the one that answers, and takes its place.

Indexes made so are called ``ALIAS-DATE-TIME`` and say in their mapping which alias they were made for, and whether they
were finished; nothing else is ever dropped.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
from scipy.sparse import csr_matrix

from isthmus.engines.base import Header, Location, entries
from isthmus.engines.bulk import kept_features
from isthmus.engines.opensearch import OpenSearch
from isthmus.engines.search_request import heaviest
from isthmus.engines.server import Changed, ServerBackend, fill
from isthmus.errors import EngineError, InputError, OutputError
from isthmus.index.build import Change, Windows, encoded_windows
from isthmus.index.options import IndexOptions
from isthmus.reading.corpus import Document

SAMPLE, TOP_K, TERMS = 32, 10, 32
# Relative difference of a score; weights are compared as they were sent, and added up in 32 bits.
TOLERANCE = 1e-3


@dataclass(frozen=True)
class AliasBackend(ServerBackend):
    """A kind of server that has aliases."""

    def build(self, location: Location, model: Any, corpus: Any, options: IndexOptions) -> Change:
        """As :meth:`isthmus.engines.server.ServerBackend.build`; with ``alias``, the URL's name is that of an alias.

        The new index is filled, counted and compared with a sample of what was sent; then the alias is moved to it in
        one request. The index that it was moved from stays; those before it are dropped. What was cut goes on.

        Raises:
            OutputError: If an index has the alias's name.
            EngineError: If the new index is not as it should be: the alias was not moved.
            IsthmusError: As there.
        """
        if not options.alias:
            return super().build(location, model, corpus, options)
        if options.overwrite:
            raise InputError("overwrite must be left out with alias, which replaces nothing; leave out --overwrite")
        options.check_stored(location.url)
        alias = cast(OpenSearch, self.connect(location))
        try:
            return _build(self.connect, alias, location, model, corpus, options)
        finally:
            alias.close()


def _build(
    connect: Callable[[Location], Any], alias: OpenSearch, location: Location, model: Any, corpus: Any,
    options: IndexOptions,
) -> Change:  # fmt: skip
    before = _behind(alias)
    found = encoded_windows(model, corpus, options, lambda documents: changed(documents) if begun else documents)
    header = Header(found.encoder.identity, found.encoder.vocabulary_size, found.settings, options.text)
    begun = [name for name, made, done in alias.generations() if not done and made == header]
    name = max(begun, default=f"{alias.name}-{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}")
    server = connect(replace(location, name=name))
    try:
        changed = Changed(server)
        if not begun:
            server.create(header, shards=options.shards, replicas=options.replicas, alias=alias.name)
        sample = _Sample()
        windows = sample.of(found.windows)
        change = fill(server, windows, text=options.text, truncated=found.truncated, again="the same command")
        fault = _fault(server, sample.seen + changed.others, sample.kept)
        if fault:
            # It may also be left over from another corpus, where it was begun before.
            server.drop()
            raise EngineError(f"{name} {fault}; it was dropped, and {alias.name} is as it was: run the command again")
        server.finish(header, alias.name)
        alias.move(before, name)
    finally:
        server.close()
    old = [one for one, *_ in alias.generations() if one < name and one != before]
    dropped = [one for one in old if _dropped(connect, replace(location, name=one))]
    told = {"alias": alias.name, "index": name, "previous": before, "dropped": dropped}
    return replace(change, unchanged=changed.others, told=told)


def _behind(alias: OpenSearch) -> str | None:
    """The index that an alias has; None where nothing is there."""
    if not alias.exists():
        return None
    name, _ = alias.read()
    if name == alias.name:
        raise OutputError(
            f"{alias.name} is an index, and an alias cannot have its name; choose another name for the alias"
        )
    return name


def _dropped(connect: Callable[[Location], Any], location: Location) -> bool:
    """Drop an earlier index, but one that somebody gave an alias."""
    server = connect(location)
    try:
        if server.aliases():
            return False
        server.drop()
        return True
    finally:
        server.close()


class _Sample:
    """Some of the documents that pass, each with the same chance."""

    def __init__(self) -> None:
        self.kept: list[tuple[Document, csr_matrix]] = []
        self.seen = 0
        self._rng = np.random.default_rng(0)

    def of(self, windows: Windows) -> Iterator[tuple[list[Document], csr_matrix]]:
        """The windows as they are."""
        for documents, vectors in windows:
            yield documents, vectors
            for row, document in enumerate(documents):
                self.seen += 1
                place = self.seen - 1 if self.seen <= SAMPLE else int(self._rng.integers(self.seen))
                if place < SAMPLE:
                    self.kept[place : place + 1] = [(document, vectors[row])]


def _fault(server: OpenSearch, documents: int, sample: list[tuple[Document, csr_matrix]]) -> str:
    """What is wrong with an index that was filled; "" where nothing is."""
    there = server.count()
    if there != documents:
        return f"has {there:,} documents, and must have {documents:,}"
    return next(filter(None, (_fault_of(server, *one) for one in sample)), "")


def _fault_of(server: OpenSearch, document: Document, vector: csr_matrix) -> str:
    """Whether a document is not stored as it was sent, or not found with its score."""
    terms, weights = entries(vector, server.where)
    expected = kept_features(terms, weights)
    stored = server.stored(document.id)
    if stored is None or {term: np.float32(weight) for term, weight in stored.items()} != expected:
        return f"does not have document {document.id!r} as it was sent"
    asked, values = heaviest(terms, weights, TERMS)
    if not expected:
        return ""
    own = sum(float(value) * float(expected.get(term, 0.0)) for term, value in zip(asked, values, strict=True))
    hits = server.find(csr_matrix((values, asked, [0, len(asked)]), shape=vector.shape), TOP_K, [])
    score = next((hit.score for hit in hits if hit.id == document.id), None)
    least = own * (1 - TOLERANCE)
    beaten = len(hits) == TOP_K and hits[-1].score >= least
    found = beaten if score is None else least <= score <= own * (1 + TOLERANCE)
    return "" if found else f"must find document {document.id!r} with score {own:.4f}, got {score}"


OPENSEARCH = AliasBackend(OpenSearch)
