"""Qdrant: a named sparse vector for each document; a server, or Qdrant Edge in this process."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from scipy.sparse import csr_matrix

from isthmus.engines.base import Header, Location, check_id, digest, entries, labels
from isthmus.engines.connection import Server
from isthmus.engines.qdrant_points import VECTOR, EdgePoints, Points, ServerPoints, point_id
from isthmus.engines.server import ServerBackend
from isthmus.errors import InputError, NotFoundError
from isthmus.index.hits import Hit
from isthmus.reading.corpus import Document

# Kept as a point without a vector, which no search finds; no id of a document leads to it.
HEADER_POINT = str(uuid.uuid5(uuid.UUID(int=0), "isthmus"))
_AT_ONCE = 256
_PAYLOAD = ["id", "title", "text", "metadata", "passage"]


class Qdrant(Server):
    """A collection.

    Args:
        location: Where it is. ``QDRANT_API_KEY`` in the environment holds a server's key.

    Raises:
        InputError: If the key would go over the network in the clear.
        MissingExtraError: If qdrant-client, or for a folder qdrant-edge-py, is not installed.
    """

    weights = "f32"

    def __init__(self, location: Location) -> None:
        self.where = location.url
        self.name = location.name or Path(location.path).name
        if not self.name:
            raise InputError(f"{location.url!r} must be qdrant:FOLDER or qdrant://HOST:PORT/COLLECTION")
        self._points: Points = ServerPoints(location) if location.name else EdgePoints(location)

    def hurry(self) -> None:
        """Nothing: a server is asked once."""

    def exists(self) -> bool:
        """Whether the collection, or an alias of this name, is there."""
        return self._points.exists()

    def read(self) -> tuple[str, Header]:
        """Read the point that holds it."""
        if not self.exists():
            raise NotFoundError(f"{self.where} does not exist; make it with isthmus index")
        found = self._points.read([HEADER_POINT], ["isthmus"]).get(HEADER_POINT)
        return self._points.own_name(), Header.from_dict((found or {}).get("isthmus"), self.where)

    def create(self, header: Header, *, shards: int | None = None, replicas: int | None = None) -> None:
        """Make the collection, and store the header."""
        self._points.create()
        self._points.put([(HEADER_POINT, {}, {"isthmus": header.to_dict()})])

    def remove(self) -> None:
        """Delete the collection."""
        self._points.remove()

    def put(self, documents: Sequence[Document], vectors: csr_matrix, *, text: bool) -> None:
        """Upsert points whose ids are made of the documents' ids."""
        rows = []
        for number, document in enumerate(documents):
            check_id(document.id, self.where)
            terms, weights = entries(vectors[number], self.where)
            # As JSON has it, without what UTF-8 cannot say.
            stored = json.loads(document.to_json(text=text).decode("utf-8", errors="replace"))
            payload = stored | {"labels": labels(document), "digest": digest(document)}
            rows.append((point_id(document.id), {VECTOR: (terms, weights.tolist())} if terms else {}, payload))
        for start in range(0, len(rows), _AT_ONCE):
            self._points.put(rows[start : start + _AT_ONCE])

    def missing(self, ids: Sequence[str]) -> list[str]:
        """Ask for the points."""
        found = self._payloads(ids, ["id"])
        return [identifier for identifier in ids if identifier not in found]

    def digests(self, ids: Sequence[str]) -> Mapping[str, str]:
        """Read what is stored with the points."""
        found = self._payloads(ids, ["id", "digest"])
        return {identifier: payload["digest"] for identifier, payload in found.items() if "digest" in payload}

    def delete(self, ids: Sequence[str]) -> None:
        """Delete by the points' ids."""
        for start in range(0, len(ids), _AT_ONCE):
            self._points.delete([point_id(identifier) for identifier in ids[start : start + _AT_ONCE]])

    def flush(self) -> None:
        """Write to the disk and index what is not indexed, where that is up to this process."""
        self._points.flush()

    def count(self, labels: Sequence[Sequence[str]] = ()) -> int:
        """Count the points but the header, which has no labels."""
        return self._points.count(labels) - (not labels)

    def size(self) -> int | None:
        """Size of a folder's files; a server does not tell."""
        return self._points.size()

    def find(
        self, vector: csr_matrix, top_k: int, labels: Sequence[Sequence[str]], *, split: bool = False
    ) -> list[Hit]:
        """Search by dot product."""
        return self.find_many([vector], top_k, labels)[0]

    def find_many(self, vectors: Sequence[csr_matrix], top_k: int, labels: Sequence[Sequence[str]]) -> list[list[Hit]]:
        """Search for all in one request; a vector without a term finds nothing."""
        asked = [entries(vector, self.where) for vector in vectors]
        filled = [place for place, (terms, _) in enumerate(asked) if terms]
        hits: list[list[Hit]] = [[] for _ in asked]
        if filled:
            queries = [(asked[place][0], asked[place][1].tolist()) for place in filled]
            found = self._points.find(queries, top_k, labels, _PAYLOAD)
            for place, rows in zip(filled, found, strict=True):
                hits[place] = [Hit(payload["id"], score, Document.from_row(payload)) for payload, score in rows]
        return hits

    def stored(self, identifier: str) -> Mapping[int, float] | None:
        """Read the vector back."""
        return self._points.vector(point_id(identifier))

    def document(self, identifier: str) -> Document | None:
        """Read the payload back."""
        found = self._payloads([identifier], _PAYLOAD).get(identifier)
        return None if found is None else Document.from_row(found)

    def close(self) -> None:
        """Close the connection; a folder's lock is given up."""
        self._points.close()

    def _payloads(self, ids: Sequence[str], fields: list[str]) -> dict[str, Mapping[str, Any]]:
        """Payloads by the documents' ids."""
        found: dict[str, Mapping[str, Any]] = {}
        for start in range(0, len(ids), _AT_ONCE):
            some = {point_id(identifier): identifier for identifier in ids[start : start + _AT_ONCE]}
            found |= {some[id]: payload for id, payload in self._points.read(list(some), fields).items()}
        return found


QDRANT = ServerBackend(Qdrant)
