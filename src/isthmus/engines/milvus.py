"""Milvus: a sparse inverted index with inner product; a cluster, or Milvus Lite in this process."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix

from isthmus.engines.base import Header, Location, check_id, digest, entries, labels, refuse_in_clear
from isthmus.engines.connection import Server
from isthmus.engines.server import ServerBackend
from isthmus.errors import EngineError, InputError, MissingExtraError, NotFoundError
from isthmus.index.hits import Hit
from isthmus.reading.corpus import Document

PORT = 19530
LITE_COLLECTION = "isthmus"
# Before it, Milvus Lite took the inner product of sparse vectors for BM25 without saying so.
LITE_VERSION = (3, 2, 2)
# Kept as a document, because Milvus Lite forgets descriptions; it lies at a dimension that no query has.
_HEADER_ID = "__isthmus__"
_ROWS_AT_ONCE = 256
_ID_BYTES, _LABELS, _LABEL_BYTES = 512, 256, 8192
_METRIC = {"metric_type": "IP"}


class Milvus(Server):
    """A collection.

    Args:
        location: Where it is. ``MILVUS_TOKEN`` in the environment holds a cluster's token, ``user:password`` or a key.

    Raises:
        InputError: If the token would go over the network in the clear, or a file has another ending than .db.
        MissingExtraError: If pymilvus, or for a file Milvus Lite, is not installed or too old.
        EngineError: If the server does not answer.
    """

    weights = "f32"
    most = 16_384

    def __init__(self, location: Location) -> None:
        try:
            import pymilvus
        except ImportError as error:
            raise MissingExtraError("pymilvus", "milvus") from error
        # It logs each refusal with a traceback before it raises it.
        logging.getLogger("pymilvus").setLevel(logging.CRITICAL)
        self._pymilvus = pymilvus
        self.where = location.url
        self._file = None if location.host else Path(location.path)
        if self._file is None:
            self.name = location.name
            token = os.environ.get("MILVUS_TOKEN", "")
            if token:
                refuse_in_clear(location)
            scheme = "https" if location.tls else "http"
            target = {"uri": f"{scheme}://{location.host}:{location.port or PORT}", "token": token}
        else:
            self.name = LITE_COLLECTION
            _check_lite(location)
            target = {"uri": location.path}
        with self._refusals():
            self._client = pymilvus.MilvusClient(**target)
        self._opened = False

    def hurry(self) -> None:
        """Nothing: pymilvus has its own patience."""

    def exists(self) -> bool:
        """Whether the collection is there."""
        with self._refusals():
            return bool(self._client.has_collection(self.name))

    def read(self) -> tuple[str, Header]:
        """Read the row that holds it."""
        if not self.exists():
            raise NotFoundError(f"{self.where} does not exist; make it with isthmus index")
        with self._refusals():
            told = self._client.describe_collection(self.name)
        name = told["collection_name"]
        if name == self.name and name in told.get("aliases", ()):
            # Milvus Lite and some servers drop what is behind an alias.
            name = "another collection"
        try:
            rows = self._rows([_HEADER_ID], "document")
        except EngineError:
            rows = []
        return name, Header.from_dict(rows[0]["document"] if rows else None, self.where)

    def create(self, header: Header, *, shards: int | None = None, replicas: int | None = None) -> None:
        """Make schema and index, and store the header."""
        kinds = self._pymilvus.DataType
        schema = self._client.create_schema(auto_id=False, enable_dynamic_field=False)
        schema.add_field("id", kinds.VARCHAR, is_primary=True, max_length=_ID_BYTES)
        schema.add_field("vector", kinds.SPARSE_FLOAT_VECTOR)
        schema.add_field("document", kinds.JSON)
        schema.add_field(
            "labels", kinds.ARRAY, element_type=kinds.VARCHAR, max_capacity=_LABELS, max_length=_LABEL_BYTES
        )
        indexes = self._client.prepare_index_params()
        indexes.add_index("vector", index_type="SPARSE_INVERTED_INDEX", **_METRIC)
        with self._refusals():
            self._client.create_collection(self.name, schema=schema, index_params=indexes, consistency_level="Strong")
            row = {"id": _HEADER_ID, "vector": {header.vocabulary_size: 1.0}, "document": header.to_dict()}
            self._client.upsert(self.name, [row | {"labels": []}])

    def remove(self) -> None:
        """Drop the collection."""
        with self._refusals():
            self._client.drop_collection(self.name)

    def put(self, documents: Sequence[Document], vectors: csr_matrix, *, text: bool) -> None:
        """Upsert by id; documents without an active entry are left out, because Milvus takes no empty vector."""
        rows = []
        for number, document in enumerate(documents):
            terms, weights = entries(vectors[number], self.where)
            check_id(document.id, self.where, taken=_HEADER_ID)
            if not terms and document.passage is not None:
                # Passages have no gaps; like the header it lies at a dimension that no query has.
                terms, weights = [vectors.shape[1]], np.ones(1, dtype=np.float32)
            if terms:
                stored = json.loads(document.to_json(text=text)) | {"digest": digest(document)}
                vector = dict(zip(terms, weights.tolist(), strict=True))
                found = [label for label in labels(document) if len(label.encode()) <= _LABEL_BYTES]
                rows.append({"id": document.id, "vector": vector, "document": stored, "labels": found[:_LABELS]})
        for start in range(0, len(rows), _ROWS_AT_ONCE):
            with self._refusals():
                self._client.upsert(self.name, rows[start : start + _ROWS_AT_ONCE])

    def missing(self, ids: Sequence[str]) -> list[str]:
        """Ask for the ids."""
        found: set[str] = set()
        for start in range(0, len(ids), _ROWS_AT_ONCE):
            found |= {row["id"] for row in self._rows(ids[start : start + _ROWS_AT_ONCE], "id")}
        return [identifier for identifier in ids if identifier not in found or identifier == _HEADER_ID]

    def digests(self, ids: Sequence[str]) -> Mapping[str, str]:
        """Read the rows back; those of earlier versions have none."""
        found: dict[str, str] = {}
        for start in range(0, len(ids), _ROWS_AT_ONCE):
            for row in self._rows(ids[start : start + _ROWS_AT_ONCE], "document"):
                stored = row["document"]
                stored = json.loads(stored) if isinstance(stored, (str, bytes)) else stored
                if row["id"] != _HEADER_ID and "digest" in stored:
                    found[row["id"]] = stored["digest"]
        return found

    def delete(self, ids: Sequence[str]) -> None:
        """Delete by id."""
        for start in range(0, len(ids), _ROWS_AT_ONCE):
            with self._refusals():
                self._client.delete(self.name, filter=_among(ids[start : start + _ROWS_AT_ONCE]))

    def flush(self) -> None:
        """Flush."""
        with self._refusals():
            self._client.flush(self.name)

    def count(self, labels: Sequence[Sequence[str]] = ()) -> int:
        """Count the documents, which are those with an active entry."""
        self._open()
        with self._refusals():
            rows = self._client.query(
                self.name, filter=_having(labels), output_fields=["count(*)"], consistency_level="Strong"
            )
        # The header has no labels.
        return int(rows[0]["count(*)"]) - (not labels)

    def size(self) -> int | None:
        """Size of the files of Milvus Lite; a cluster does not tell."""
        if self._file is None:
            return None
        return sum(path.stat().st_size for path in self._file.rglob("*") if path.is_file())

    def find(
        self, vector: csr_matrix, top_k: int, labels: Sequence[Sequence[str]], *, split: bool = False
    ) -> list[Hit]:
        """Search by inner product; filters are expressions over the array of labels."""
        terms, weights = entries(vector, self.where)
        if not terms:
            return []
        self._open()
        with self._refusals():
            (found,) = self._client.search(
                self.name,
                [dict(zip(terms, weights.tolist(), strict=True))],
                anns_field="vector",
                limit=top_k,
                filter=_having(labels),
                output_fields=["document"],
                search_params={**_METRIC, "params": {"drop_ratio_search": 0.0}},
                consistency_level="Strong",
            )
        return [Hit(row["id"], float(row["distance"]), _document(row["entity"]["document"])) for row in found]

    def stored(self, identifier: str) -> Mapping[int, float] | None:
        """Read the vector back."""
        rows = self._rows([identifier], "vector")
        return {int(term): float(weight) for term, weight in rows[0]["vector"].items()} if rows else None

    def document(self, identifier: str) -> Document | None:
        """Read the row back; the header is none."""
        rows = self._rows([identifier], "document")
        return _document(rows[0]["document"]) if rows and identifier != _HEADER_ID else None

    def close(self) -> None:
        """Close the connection; Milvus Lite gives up its lock."""
        self._client.close()

    def _rows(self, ids: Sequence[str], field: str) -> list[dict[str, Any]]:
        """One field of the rows with these ids."""
        self._open()
        with self._refusals():
            rows: list[dict[str, Any]] = self._client.query(
                self.name, filter=_among(ids), output_fields=[field], consistency_level="Strong"
            )
        return rows

    def _open(self) -> None:
        if not self._opened:
            with self._refusals():
                self._client.load_collection(self.name)
            self._opened = True

    @contextmanager
    def _refusals(self) -> Iterator[None]:
        try:
            yield
        except self._pymilvus.MilvusException as error:
            raise EngineError(f"{self.where} does not answer or refuses ({error.message}); check it") from error


def _check_lite(location: Location) -> None:
    """Refuse a file that Milvus Lite would not open well.

    Raises:
        InputError: If the file has another ending.
        MissingExtraError: If Milvus Lite is not there.
        EngineError: If it is too old.
    """
    if not location.path.endswith(".db"):
        raise InputError(f"{location.url!r} must be milvus:FILE.db or milvus://HOST:PORT/COLLECTION")
    try:
        found = version("milvus-lite")
    except PackageNotFoundError as error:
        raise MissingExtraError("milvus-lite", "milvus") from error
    if tuple(int(part) for part in found.split(".")[:3]) < LITE_VERSION:
        raise EngineError(
            f"milvus-lite must be {'.'.join(map(str, LITE_VERSION))} or later, got {found}, which scores wrongly; run: "
            "pip install -U 'isthmus[milvus]'"
        )


def _among(ids: Sequence[str]) -> str:
    """An expression for the rows with these ids. Given ids, pymilvus 3.0.2 writes them into one without escapes."""
    return f"id in {_quoted(ids)}"


def _having(labels: Sequence[Sequence[str]]) -> str:
    """An expression for the rows that have one of every list of labels."""
    return " and ".join(f"array_contains_any(labels, {_quoted(either)})" for either in labels)


def _quoted(texts: Sequence[str]) -> str:
    """A list in Milvus's expressions. Its escapes are not all of JSON's: Milvus Lite does not know those with u."""
    escapes = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r"})
    return "[" + ", ".join(f'"{text.translate(escapes)}"' for text in texts) + "]"


def _document(stored: Any) -> Document:
    return Document.from_row(json.loads(stored) if isinstance(stored, (str, bytes)) else stored)


MILVUS = ServerBackend(Milvus)
