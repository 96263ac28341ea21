"""Points of Qdrant: read, put, found and deleted by its client on a server, and by Qdrant Edge in a folder."""

from __future__ import annotations

import os
import shutil
import uuid
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from isthmus.engines.base import Location, refuse_in_clear
from isthmus.errors import EngineAwayError, EngineError, IndexFileError, MissingExtraError, OutputError

PORT = 6333
VECTOR = "sparse"
_SECONDS = 30
# What Qdrant Edge has in a folder; whatever else is there, is somebody's.
_CONFIG = "edge_config.json"
_EDGE_FILES = {_CONFIG, "segments", "wal"}
# Id, vectors by name as dimensions and weights, payload.
Point = tuple[str, Mapping[str, tuple[list[int], list[float]]], Mapping[str, Any]]
Query = tuple[list[int], list[float]]
Found = list[tuple[Mapping[str, Any], float]]


def point_id(identifier: str) -> str:
    """Qdrant's ids are numbers or UUIDs: the version 5 UUID of a document's id."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, identifier.encode("utf-8", errors="replace").decode()))


class Points(ABC):
    """A collection of points, by which kind of Qdrant it may be."""

    @abstractmethod
    def exists(self) -> bool:
        """Whether it is there."""

    @abstractmethod
    def own_name(self) -> str:
        """Its own name, another one where it was asked for by an alias."""

    @abstractmethod
    def create(self) -> None:
        """Make an empty one."""

    @abstractmethod
    def remove(self) -> None:
        """Remove it."""

    @abstractmethod
    def put(self, points: Sequence[Point]) -> None:
        """Add or replace."""

    @abstractmethod
    def read(self, ids: Sequence[str], fields: list[str]) -> dict[str, Mapping[str, Any]]:
        """Payloads of those points that are there."""

    @abstractmethod
    def vector(self, id: str) -> dict[int, float] | None:
        """Weights of a point; None where it is not there."""

    @abstractmethod
    def delete(self, ids: Sequence[str]) -> None:
        """Delete points."""

    @abstractmethod
    def find(
        self, queries: Sequence[Query], top_k: int, labels: Sequence[Sequence[str]], fields: list[str]
    ) -> list[Found]:
        """Best points of each query with their scores; a point has one of every list of labels."""

    @abstractmethod
    def count(self, labels: Sequence[Sequence[str]]) -> int:
        """Number of points that have one of every list of labels."""

    def flush(self) -> None:  # noqa: B027
        """Nothing: requests wait until they are carried out."""

    def size(self) -> int | None:
        """None: a server does not tell."""
        return None

    @abstractmethod
    def close(self) -> None:
        """Close it."""


class ServerPoints(Points):
    """Those of a server."""

    def __init__(self, location: Location) -> None:
        try:
            import qdrant_client
        except ImportError as error:
            raise MissingExtraError("qdrant_client", "qdrant") from error
        key = os.environ.get("QDRANT_API_KEY")
        if key:
            refuse_in_clear(location)
        self._where, self._name = location.url, location.name
        self._models: Any = qdrant_client.models
        host = f"[{location.host}]" if ":" in location.host else location.host
        url = f"{'https' if location.tls else 'http'}://{host}:{location.port or PORT}"
        self._client: Any = qdrant_client.QdrantClient(
            url=url, api_key=key, timeout=_SECONDS, check_compatibility=False
        )

    def exists(self) -> bool:
        """Ask for the collection, or an alias of the name."""
        with self._refusals():
            return bool(self._client.collection_exists(self._name)) or self.own_name() != self._name

    def own_name(self) -> str:
        """Look among the aliases."""
        with self._refusals():
            aliases = self._client.get_aliases().aliases
        return next((one.collection_name for one in aliases if one.alias_name == self._name), self._name)

    def create(self) -> None:
        """Make the collection, with an index of the labels."""
        with self._refusals():
            vectors = {VECTOR: self._models.SparseVectorParams()}
            self._client.create_collection(self._name, vectors_config={}, sparse_vectors_config=vectors)
            with warnings.catch_warnings():
                # The client's own mode without a server has none, and says so.
                warnings.simplefilter("ignore", UserWarning)
                self._client.create_payload_index(self._name, "labels", field_schema="keyword")

    def remove(self) -> None:
        """Delete the collection."""
        with self._refusals():
            self._client.delete_collection(self._name)

    def put(self, points: Sequence[Point]) -> None:
        """Upsert, and wait."""
        rows = [
            self._models.PointStruct(id=id, vector=self._vectors(vectors), payload=dict(payload))
            for id, vectors, payload in points
        ]
        with self._refusals():
            self._client.upsert(self._name, rows, wait=True)

    def read(self, ids: Sequence[str], fields: list[str]) -> dict[str, Mapping[str, Any]]:
        """Retrieve without vectors."""
        with self._refusals():
            rows = self._client.retrieve(self._name, list(ids), with_payload=fields, with_vectors=False)
        return {row.id: row.payload for row in rows}

    def vector(self, id: str) -> dict[int, float] | None:
        """Retrieve the vector."""
        with self._refusals():
            rows = self._client.retrieve(self._name, [id], with_payload=False, with_vectors=True)
        return _weights(rows[0].vector) if rows else None

    def delete(self, ids: Sequence[str]) -> None:
        """Delete, and wait."""
        with self._refusals():
            self._client.delete(self._name, self._models.PointIdsList(points=list(ids)), wait=True)

    def find(
        self, queries: Sequence[Query], top_k: int, labels: Sequence[Sequence[str]], fields: list[str]
    ) -> list[Found]:
        """One batch of queries."""
        models = self._models
        filter = self._having(labels)
        requests = [
            models.QueryRequest(
                query=models.SparseVector(indices=terms, values=weights), using=VECTOR, filter=filter, limit=top_k,
                with_payload=fields,
            )
            for terms, weights in queries
        ]  # fmt: skip
        with self._refusals():
            found = self._client.query_batch_points(self._name, requests)
        # Scores of points that share no term are no hits.
        return [[(row.payload, float(row.score)) for row in one.points if row.score > 0] for one in found]

    def count(self, labels: Sequence[Sequence[str]]) -> int:
        """Count exactly."""
        with self._refusals():
            return int(self._client.count(self._name, self._having(labels), exact=True).count)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _having(self, labels: Sequence[Sequence[str]]) -> Any:
        models = self._models
        return models.Filter(
            must=[models.FieldCondition(key="labels", match=models.MatchAny(any=list(some))) for some in labels]
        )

    def _vectors(self, vectors: Mapping[str, tuple[list[int], list[float]]]) -> dict[str, Any]:
        return {name: self._models.SparseVector(indices=terms, values=w) for name, (terms, w) in vectors.items()}

    @contextmanager
    def _refusals(self) -> Iterator[None]:
        from qdrant_client.http.exceptions import ApiException, ResponseHandlingException

        try:
            yield
        except ResponseHandlingException as error:
            raise EngineAwayError(
                f"{self._where} does not answer ({error.source}); check address and network"
            ) from error
        except (ApiException, ValueError) as error:
            # The client's own mode without a server raises the latter.
            reason = str(error).strip().splitlines()
            raise EngineError(f"{self._where} refuses ({' '.join(reason)[:300]}); check it") from error


class EdgePoints(Points):
    """Those of a folder; one process at a time has it open."""

    def __init__(self, location: Location) -> None:
        try:
            import qdrant_edge
        except ImportError as error:
            raise MissingExtraError("qdrant_edge", "qdrant") from error
        self._edge: Any = qdrant_edge
        self._where, self._folder = location.url, Path(location.path)
        self._shard: Any = None

    def exists(self) -> bool:
        """Whether anything is in the folder."""
        return self._folder.exists() and (not self._folder.is_dir() or any(self._folder.iterdir()))

    def own_name(self) -> str:
        """That of the folder."""
        return self._folder.name

    def create(self) -> None:
        """Make the files."""
        config = self._edge.EdgeConfig(sparse_vectors={VECTOR: self._edge.EdgeSparseVectorParams()})
        with self._refusals():
            self._folder.mkdir(parents=True, exist_ok=True)
            self._shard = self._edge.EdgeShard.create(str(self._folder), config)
            self._shard.update(
                self._edge.UpdateOperation.create_field_index("labels", self._edge.PayloadSchemaType.Keyword)
            )

    def remove(self) -> None:
        """Remove the folder, where nothing else is in it."""
        others = {path.name for path in self._folder.iterdir()} - _EDGE_FILES
        if others:
            raise OutputError(f"{self._folder} must hold Qdrant Edge's files alone, got {min(others)}; move it away")
        self.close()
        shutil.rmtree(self._folder)

    def put(self, points: Sequence[Point]) -> None:
        """Upsert."""
        edge = self._edge
        rows = [
            edge.Point(id, {name: edge.SparseVector(*vector) for name, vector in vectors.items()}, dict(payload))
            for id, vectors, payload in points
        ]
        with self._refusals():
            self._open().update(edge.UpdateOperation.upsert_points(rows))

    def read(self, ids: Sequence[str], fields: list[str]) -> dict[str, Mapping[str, Any]]:
        """Retrieve without vectors."""
        with self._refusals():
            rows = self._open().retrieve(list(ids), fields, False)
        return {str(row.id): row.payload or {} for row in rows}

    def vector(self, id: str) -> dict[int, float] | None:
        """Retrieve the vector."""
        with self._refusals():
            rows = self._open().retrieve([id], False, True)
        return _weights(rows[0].vector) if rows else None

    def delete(self, ids: Sequence[str]) -> None:
        """Delete."""
        with self._refusals():
            self._open().update(self._edge.UpdateOperation.delete_points(list(ids)))

    def find(
        self, queries: Sequence[Query], top_k: int, labels: Sequence[Sequence[str]], fields: list[str]
    ) -> list[Found]:
        """One batch of queries."""
        edge = self._edge
        filter = self._having(labels)
        requests = [
            edge.QueryRequest(
                limit=top_k, query=edge.Query.Nearest(edge.SparseVector(terms, weights), using=VECTOR), filter=filter,
                with_payload=fields,
            )
            for terms, weights in queries
        ]  # fmt: skip
        with self._refusals():
            found = self._open().query_batch(edge.QueryBatchRequest(requests))
        return [[(row.payload, float(row.score)) for row in rows if row.score > 0] for rows in found]

    def count(self, labels: Sequence[Sequence[str]]) -> int:
        """Count exactly."""
        with self._refusals():
            return int(self._open().count(self._edge.CountRequest(exact=True, filter=self._having(labels))))

    def flush(self) -> None:
        """Write to the disk, and index what is not indexed."""
        with self._refusals():
            self._open().flush()
            self._open().optimize()

    def size(self) -> int | None:
        """Space that the files take, which are made larger than what is in them."""
        found = (path.stat() for path in self._folder.rglob("*") if path.is_file())
        return sum(min(one.st_size, 512 * getattr(one, "st_blocks", one.st_size)) for one in found)

    def close(self) -> None:
        """Give up the lock."""
        if self._shard is not None:
            self._shard.close()
            self._shard = None

    def _having(self, labels: Sequence[Sequence[str]]) -> Any:
        edge = self._edge
        return edge.Filter(must=[edge.FieldCondition("labels", edge.MatchAny(list(some))) for some in labels])

    def _open(self) -> Any:
        if self._shard is None:
            # What opens a folder also writes to it.
            if not (self._folder / _CONFIG).is_file():
                raise IndexFileError(f"{self._folder} was not made by isthmus index; choose another name")
            self._shard = self._edge.EdgeShard.load(str(self._folder))
        return self._shard

    @contextmanager
    def _refusals(self) -> Iterator[None]:
        try:
            yield
        except (EngineError, IndexFileError):
            raise
        except Exception as error:
            # It has no exceptions of its own.
            busy = "; another process has it open" if "WouldBlock" in str(error) else ""
            raise EngineError(f"{self._where} cannot be read or written ({str(error)[:200]}){busy}") from error


def _weights(vectors: Any) -> dict[int, float]:
    found = vectors.get(VECTOR) if isinstance(vectors, dict) else None
    return {} if found is None else dict(zip(map(int, found.indices), map(float, found.values), strict=True))
