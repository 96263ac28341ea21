"""The protocol of search engines, their URLs, and the header that a server keeps of the encoder of its vectors."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Protocol
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from isthmus.encoders.fingerprint import Fingerprint
from isthmus.engines.names import check_name
from isthmus.errors import InputError
from isthmus.index.build import Change
from isthmus.index.header import VectorHeader
from isthmus.index.hits import Hit, Match
from isthmus.index.options import ChangeOptions, IndexOptions, QueryOptions
from isthmus.index.segments import field_value, wanted_values
from isthmus.reading.corpus import Document

_SCHEME = re.compile(r"([a-z]{2,})(\+https)?:(.*)", re.DOTALL | re.IGNORECASE)
# Engines that are never on a server.
_LOCAL = ("seismic",)
# Engines whose nodes all take requests.
_SEVERAL = ("opensearch", "elasticsearch")
# What no host or port holds: urlsplit would cut it off, or drop it without a word.
_NO_AUTHORITY = re.compile(r"[\s\\?#\x00-\x20\x7f]")
_ID_BYTES = 512
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
# Of a database and of who asks it: nothing that its client would read as more than a name.
_PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


class Engine(Protocol):
    """An index that is open for searching, wherever it lies; :class:`isthmus.index.SparseIndex` says what is what."""

    def __len__(self) -> int:
        """Number of documents."""

    def summary(self) -> dict[str, Any]:
        """At least documents, postings and bytes, None where the engine does not tell, and the model."""

    def vectors(self, queries: Sequence[str] | csr_matrix) -> list[csr_matrix]:
        """Query vectors, one row each; texts are encoded by the model, vectors are checked."""

    def encoder(self) -> Any:
        """The loaded encoder of the queries."""

    def search(self, query: str | csr_matrix, top_k: int = 10, *, filter: Mapping[str, Any] | None = None) -> list[Hit]:
        """Best documents of one query, best first."""

    def search_many(
        self, queries: Sequence[str] | csr_matrix, top_k: int = 10, *, filter: Mapping[str, Any] | None = None
    ) -> list[list[Hit]]:
        """The same for several queries, one list of hits each."""

    def explain(self, query: str | csr_matrix, identifier: str) -> list[Match]:
        """The tokens that query and document, or its best passage, share."""

    def best_passage(self, query: str | csr_matrix, identifier: str) -> str:
        """Id of the best passage of a document; the given one where documents are not split."""

    def field_values(self, field: str) -> list[str] | None:
        """The values that a metadata field has, most frequent first; None where the engine does not tell."""

    def document(self, identifier: str) -> Document:
        """The stored document with this id."""

    def close(self) -> None:
        """Give back connections and locks."""


class Backend(Protocol):
    """One kind of engine, as the registry knows it."""

    def open(self, location: Location, options: QueryOptions) -> Engine:
        """Open what is there."""

    def build(self, location: Location, model: Any, corpus: Any, options: IndexOptions) -> Change:
        """Encode a corpus and put it there, as :func:`isthmus.index.build_index`."""

    def change(self, location: Location, options: ChangeOptions, *, model: Any = None, corpus: Any = None) -> Change:
        """Add, update, delete, as :func:`isthmus.index.change_index`."""


@dataclass(frozen=True)
class Location:
    """A parsed URL.

    Attributes:
        url: As it was given.
        scheme: Name of the engine; "" for a folder.
        tls: Whether to connect by TLS.
        path: What stands behind the colon, for engines on this machine.
        host: Of a server, else "".
        port: Of a server, None where it is not given.
        name: Index, collection or table of a server.
        others: Further hosts of the same cluster, each with its port or None.
        database: That a table lies in; else "".
        user: Who asks a database; "" leaves it to its client.

    Raises:
        InputError: If ``name`` may mean anything else than one index or collection.
    """

    url: str
    scheme: str = ""
    tls: bool = False
    path: str = ""
    host: str = ""
    port: int | None = None
    name: str = ""
    others: tuple[tuple[str, int | None], ...] = ()
    database: str = ""
    user: str = ""

    def __post_init__(self) -> None:
        if self.host or self.name:
            check_name(self.scheme, self.name)

    @property
    def hosts(self) -> tuple[tuple[str, int | None], ...]:
        """Every host of a cluster with its port or None, in the order of the URL."""
        return ((self.host, self.port), *self.others)

    @classmethod
    def parse(cls, url: str) -> Location:
        """Take a URL apart; what has no scheme is a folder.

        Raises:
            InputError: If a server's URL has no host, no name of one index, a port that is none, or credentials in it;
                or several hosts where one is wanted; or a folder's URL names a server.
        """
        found = _SCHEME.fullmatch(url)
        if found is None:
            return cls(url, path=url)
        scheme, tls, rest = found.group(1).lower(), found.group(2) is not None, found.group(3)
        if not rest.startswith("//"):
            return cls(url, scheme, tls, rest)
        if scheme in _LOCAL:
            raise InputError(f"{url!r} must be {scheme}:FOLDER, without //")
        user, at, plain = rest[2:].partition("@")
        if scheme == "postgresql" and at and _PLAIN.fullmatch(user):
            return replace(cls._of_database(url, tls, plain), user=user)
        # Neither a host nor a name has an @; a password may have any character.
        if "@" in rest:
            raise InputError(
                f"a {scheme} URL must not hold credentials, because commands are seen by others; put them into the "
                "environment, see docs/guides/engines.md"
            )
        if scheme == "postgresql":
            return cls._of_database(url, tls, rest[2:])
        authority, _, name = rest[2:].partition("/")
        try:
            parts = [urlsplit("//" + one) for one in authority.split(",")]
            (host, port), *others = [(part.hostname or "", part.port) for part in parts]
        except ValueError as error:
            raise InputError(f"{url!r} must have a port number ({error})") from error
        # Not by urlsplit, which leaves out line ends and cuts at ? and #.
        name = name.removesuffix("/")
        if not host or not all(dict(others)) or not name or "/" in name or _NO_AUTHORITY.search(authority):
            raise InputError(f"{url!r} must be {scheme}://HOST:PORT/NAME; the name is that of the index or collection")
        if others and scheme not in _SEVERAL:
            raise InputError(
                f"{url!r} must name one host, got {1 + len(others)}; only {' and '.join(_SEVERAL)} take more"
            )
        return cls(url, scheme, tls, rest, host, port, name, tuple(others))

    @classmethod
    def _of_database(cls, url: str, tls: bool, rest: str) -> Location:
        """``[HOST[:PORT]]/DATABASE/TABLE``, or ``?table=TABLE`` for the last part; no host leaves it to the client."""
        scheme = "postgresql"
        authority, _, name = rest.partition("/")
        database, _, table = name.partition("?table=") if "?" in name else name.partition("/")
        if tls:
            raise InputError(f"{url!r} must begin with {scheme}://; TLS is asked for by PGSSLMODE=verify-full")
        try:
            part = urlsplit("//" + authority)
            host, port = part.hostname or "", part.port
        except ValueError as error:
            raise InputError(f"{url!r} must have a port number ({error})") from error
        if "@" in rest:
            raise InputError(f"a {scheme} URL must not hold credentials but a user's name; put them into PGPASSWORD")
        if not _PLAIN.fullmatch(database) or not table or _NO_AUTHORITY.search(authority) or "," in authority:
            raise InputError(
                f"{url!r} must be {scheme}://HOST:PORT/NAME/TABLE, where NAME is the database, of letters, digits, "
                "'_', '.' and '-'"
            )
        return cls(url, scheme, tls, "//" + rest, host, port, table, (), database)


@dataclass(frozen=True)
class Header(VectorHeader):
    """The header that a server keeps beside its documents, so that queries can be encoded as they were.

    Attributes:
        identity: The encoder.
        vocabulary_size: Dimensions of the vectors.
        settings: How the documents were encoded.
        text: Whether title and text are stored.
    """

    FORMAT: ClassVar[str] = "isthmus-vectors"
    VERSION: ClassVar[int] = 1
    STRANGER: ClassVar[str] = "was not made by isthmus index; choose another name"
    DAMAGED: ClassVar[str] = "the header of "
    REMEDY: ClassVar[str] = "make it again"

    identity: Fingerprint
    vocabulary_size: int
    settings: Mapping[str, Any] = field(default_factory=dict)
    text: bool = True


def refuse_in_clear(location: Location) -> None:
    """Refuse to send credentials over a network that may listen.

    Raises:
        InputError: If a server is another machine and the connection is not by TLS.
    """
    if not location.tls and any(host not in _LOOPBACK for host, _ in location.hosts):
        raise InputError(
            f"{location.url} must be {location.scheme}+https://..., got credentials that would be sent in the clear"
        )


def check_id(identifier: str, where: str, *, taken: str | None = None) -> None:
    """Refuse an id that a server cannot keep as it is.

    Args:
        identifier: Of a document.
        where: Names the server.
        taken: One that the server's header has.

    Raises:
        InputError: If it is too long, or not to be told from others.
    """
    if len(identifier.encode("utf-8", errors="replace")) > _ID_BYTES or identifier == taken:
        also = f" and not be {taken!r}" if taken else ""
        raise InputError(f"id must have at most {_ID_BYTES} bytes for {where}{also}, got {identifier[:60]!r}")


FIRST_PASSAGE = "#first"


def digest(document: Document) -> str:
    """A digest of all that a corpus says of a document; its vector is the same where this and the index are."""
    return hashlib.blake2b(document.to_json(), digest_size=16).hexdigest()


def labels(document: Document) -> list[str]:
    """The metadata that can be filtered by, each as ``field=value``; the same values as in an index folder.

    A document's first passage has :data:`FIRST_PASSAGE` besides, so that documents can be counted.
    """
    found = [
        f"{name}={field_value(value)}"
        for name, value in document.metadata.items()
        if value is not None and not isinstance(value, (list, dict))
    ]
    return found + [FIRST_PASSAGE] * (document.passage is not None and document.is_first)


def wanted_labels(filter: Mapping[str, Any] | None) -> list[list[str]]:
    """A filter as labels: a document must have one of every list."""
    return [[f"{name}={one}" for one in wanted_values(value)] for name, value in (filter or {}).items()]


def entries(vector: csr_matrix, where: str) -> tuple[list[int], NDArray[np.float32]]:
    """Dimensions, ascending, and weights of one row, without zeros.

    Raises:
        InputError: If a weight is negative or not finite: servers take positive ones only.
    """
    order = np.argsort(vector.indices[: vector.nnz], kind="stable")
    values = vector.data[order].astype(np.float32)
    if not (np.isfinite(values).all() and (values >= 0).all()):
        raise InputError(f"{where} takes finite, non-negative weights only; use an index folder for this encoder")
    kept = values > 0
    return vector.indices[order][kept].tolist(), values[kept]
