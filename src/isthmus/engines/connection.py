"""A connection to one index on a server: what is asked of every kind of server, and what may be dropped."""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from scipy.sparse import csr_matrix

from isthmus.engines.base import Header
from isthmus.errors import InputError, OutputError
from isthmus.index.hits import Hit
from isthmus.reading.corpus import Document


class Request(NamedTuple):
    """What a server is asked over HTTP for one query.

    Attributes:
        method: POST and so on.
        path: From the root of the server.
        body: Sent as JSON.
        left_out: Dimensions of the query that the server does not take, the lightest.
    """

    method: str
    path: str
    body: dict[str, Any]
    left_out: int


class Server(ABC):
    """A connection to one index or collection; what has to be written for each kind of server.

    Attributes:
        where: The URL, for messages.
        name: The index or collection that the URL names.
        weights: How the server keeps weights, for people.
        divides: Whether an index can be told how many shards and replicas it has.
        collapses: Whether :meth:`find` gives every document once, by its best passage, in an index of passages.
        most: Hits that can be asked for.
    """

    where: str
    name: str
    weights: str
    divides = False
    collapses = False
    most = sys.maxsize

    @abstractmethod
    def hurry(self) -> None:
        """From now on, tell at once that the server is away, where there is a choice: somebody is waiting."""

    @abstractmethod
    def exists(self) -> bool:
        """Whether an index or alias of this name is there, made by Isthmus or not."""

    @abstractmethod
    def read(self) -> tuple[str, Header]:
        """The index's own name, another one where the URL names an alias, and what was stored by :meth:`create`.

        Raises:
            NotFoundError: If there is no such index.
            IndexFileError: If Isthmus did not make it, or the name is an alias of several.
            EngineError: If the server does not answer, or with something else.
        """

    def header(self) -> Header:
        """What was stored by :meth:`create`."""
        return self.read()[1]

    def check_own(self) -> None:
        """Refuse what must not be dropped.

        Raises:
            OutputError: If the name is an alias: what is behind it is somebody's choice, and may change any time.
            IsthmusError: As for :meth:`read`.
        """
        found, _ = self.read()
        if found != self.name:
            raise OutputError(
                f"{self.name} is an alias of {found}; --overwrite replaces an index by its own name: name {found}, or "
                "choose another name"
            )

    @abstractmethod
    def create(self, header: Header, *, shards: int | None = None, replicas: int | None = None) -> None:
        """Make an empty index; there is none of this name.

        Args:
            header: What to store beside the documents.
            shards: Parts of the index; None leaves it to the server.
            replicas: Copies of each; None leaves it to the server.
        """

    def drop(self) -> None:
        """Remove the index, after another look at what it is now."""
        self.check_own()
        self.remove()

    @abstractmethod
    def remove(self) -> None:
        """Remove the index without a look; :meth:`drop` is what to call."""

    @abstractmethod
    def put(self, documents: Sequence[Document], vectors: csr_matrix, *, text: bool) -> None:
        """Add or replace documents by id, so that a repetition changes nothing.

        Args:
            documents: What to store.
            vectors: One row each.
            text: Store title and text.
        """

    @abstractmethod
    def missing(self, ids: Sequence[str]) -> list[str]:
        """Which of ``ids`` are not there."""

    @abstractmethod
    def digests(self, ids: Sequence[str]) -> Mapping[str, str]:
        """What :func:`isthmus.engines.base.digest` said of those documents among ``ids`` that are there."""

    @abstractmethod
    def delete(self, ids: Sequence[str]) -> None:
        """Delete documents."""

    @abstractmethod
    def flush(self) -> None:
        """Make everything visible to searches."""

    @abstractmethod
    def count(self, labels: Sequence[Sequence[str]] = ()) -> int:
        """Number of documents or passages that have one of every list of labels."""

    def values(self, field: str) -> list[str] | None:
        """The values of a metadata field, most frequent first; None where the server does not tell."""
        return None

    @abstractmethod
    def size(self) -> int | None:
        """Bytes on the server's disks; None where it does not tell."""

    @abstractmethod
    def find(
        self, vector: csr_matrix, top_k: int, labels: Sequence[Sequence[str]], *, split: bool = False
    ) -> list[Hit]:
        """Best documents or passages of one row that have one of every list of labels.

        Args:
            vector: The query.
            top_k: Hits at most.
            labels: As said.
            split: Whether the index is one of passages.
        """

    def find_many(self, vectors: Sequence[csr_matrix], top_k: int, labels: Sequence[Sequence[str]]) -> list[list[Hit]]:
        """The same for several rows; one after the other where the server has no request for all."""
        return [self.find(vector, top_k, labels) for vector in vectors]

    def request(
        self, vector: csr_matrix, top_k: int, labels: Sequence[Sequence[str]], *, split: bool = False
    ) -> Request:
        """What :meth:`find` sends.

        Raises:
            InputError: If it is no JSON, or the vector is empty.
        """
        raise InputError(
            f"{self.where} must be opensearch:// or elasticsearch:// to show requests; its own are no JSON"
        )

    def left_out(self, vector: csr_matrix, labels: Sequence[Sequence[str]]) -> int:
        """Dimensions of a query that :meth:`find` does not ask, because the server takes no more."""
        return 0

    @abstractmethod
    def stored(self, identifier: str) -> Mapping[int, float] | None:
        """Weights of a document by dimension; None where it is not there."""

    @abstractmethod
    def document(self, identifier: str) -> Document | None:
        """What is stored of a document beside its vector; None where it is not there."""

    @abstractmethod
    def close(self) -> None:
        """Close the connection."""
