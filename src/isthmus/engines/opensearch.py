"""OpenSearch and Elasticsearch: a ``rank_features`` field, asked with ``linear``, so that scores are dot products.

Without a function such a query scores by saturation, w / (w + pivot), which is no dot product. Both servers keep nine
significant bits of a weight and cut the rest off; weights are rounded to nine bits before they are sent, which halves
the error and makes what is stored what was sent: at most 2^-9 (0.2 %) from the encoder's weight. Scores are exact
products of these.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from isthmus.engines.base import Header, Location, entries, labels
from isthmus.engines.connection import Server
from isthmus.engines.http import ATTEMPTS, BLOCKED, BUSY, Http, is_block, reason_of
from isthmus.engines.server import ServerBackend
from isthmus.errors import EngineError, IndexFileError, InputError, NotFoundError
from isthmus.index.hits import Hit
from isthmus.reading.corpus import Document

PORT = 9200
_BULK_BYTES = 5_000_000
_IDS_AT_ONCE = 1000
_ID_BYTES = 512
_LABEL_CHARACTERS = 8191
_SMALLEST = np.float32(2.0**-126)


def nine_bits(weights: NDArray[np.float32]) -> NDArray[np.float32]:
    """Weights rounded to nine significant bits; positive and normal ones only."""
    bits = weights.view(np.uint32)
    # 15 of the 23 stored bits of the fraction go; half of the last one kept is added first.
    return ((bits + np.uint32(1 << 14)) & np.uint32(0xFFFFFFFF - 0x7FFF)).view(np.float32)


def mapping(header: Header) -> dict[str, Any]:
    """Body of the request that makes an index. Shards and replicas are up to the cluster."""
    stored_only = {"type": "text", "index": False}
    return {
        "mappings": {
            "dynamic": False,
            "_meta": {"isthmus": header.to_dict()},
            "properties": {
                "vector": {"type": "rank_features"},
                "labels": {"type": "keyword", "ignore_above": _LABEL_CHARACTERS},
                "title": stored_only,
                "text": stored_only,
                "metadata": {"type": "object", "enabled": False},
            },
        }
    }


def source(document: Document, terms: Sequence[int], weights: NDArray[np.float32], *, text: bool) -> dict[str, Any]:
    """What is stored of a document; a dimension is a feature named ``t`` and its number, because names have no dots."""
    row: dict[str, Any] = {}
    if text:
        row = {"title": document.title, "text": document.text}
    row |= {"metadata": document.metadata, "labels": labels(document)}
    kept = weights >= _SMALLEST
    features = {f"t{term}": float(w) for term, w, keep in zip(terms, nine_bits(weights), kept, strict=True) if keep}
    return row | ({"vector": features} if features else {})


def action(kind: str, identifier: str, row: Mapping[str, Any] | None = None) -> bytes:
    """One action of a bulk request, as lines.

    Raises:
        InputError: If the id is longer than servers take.
    """
    if len(identifier.encode("utf-8", errors="replace")) > _ID_BYTES:
        raise InputError(f"id must have at most {_ID_BYTES} bytes for this engine, got {identifier[:60]!r}...")
    lines = [{kind: {"_id": identifier}}, *([] if row is None else [row])]
    text = "".join(json.dumps(line, ensure_ascii=False, default=str) + "\n" for line in lines)
    return text.encode("utf-8", errors="replace")


class OpenSearch(Server):
    """An index of an OpenSearch or Elasticsearch cluster.

    Args:
        location: Where it is.
        backoff: Seconds of the first wait when the server is busy.
        sleep: How to wait.

    Raises:
        InputError: If the URL names no server, or credentials do not fit.
        MissingExtraError: If urllib3 is not installed.
    """

    weights = "9 bits"

    def __init__(
        self, location: Location, *, backoff: float = 0.5, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        if not location.host:
            raise InputError(f"{location.url!r} must be {location.scheme}://HOST:PORT/INDEX")
        self.where, self.name = location.url, location.name
        self._http = Http(location, PORT, backoff=backoff)
        self._index = "/" + quote(location.name, safe="")
        self._backoff = backoff
        self._sleep = sleep

    def exists(self) -> bool:
        """Whether the index is there."""
        return self._mapping() is not None

    def read(self) -> tuple[str, Header]:
        """Read ``_meta`` of the mapping."""
        found = self._mapping()
        if found is None:
            raise NotFoundError(f"{self.where} does not exist; make it with isthmus index")
        name, made = found
        meta = made.get("_meta")
        return name, Header.from_dict(meta.get("isthmus") if isinstance(meta, dict) else None, self.where)

    def create(self, header: Header) -> None:
        """Put the mapping."""
        self._http.ask("PUT", self._index, mapping(header))

    def remove(self) -> None:
        """Delete the index."""
        self._http.ask("DELETE", self._index, known=(404,))

    def put(self, documents: Sequence[Document], vectors: csr_matrix, *, text: bool) -> None:
        """Index by id, in bulk requests of about 5 MB."""
        rows = (
            action("index", document.id, source(document, *entries(vectors[row], self.where), text=text))
            for row, document in enumerate(documents)
        )
        for batch in batches(rows, _BULK_BYTES):
            self._bulk(batch)

    def missing(self, ids: Sequence[str]) -> list[str]:
        """Ask for the documents without their content."""
        absent: list[str] = []
        for start in range(0, len(ids), _IDS_AT_ONCE):
            part = list(ids[start : start + _IDS_AT_ONCE])
            reply = self._http.ask("POST", f"{self._index}/_mget?_source=false", {"ids": part})[1]
            absent += [row["_id"] for row in reply["docs"] if not row.get("found")]
        return absent

    def delete(self, ids: Sequence[str]) -> None:
        """Delete in bulk."""
        for batch in batches((action("delete", identifier) for identifier in ids), _BULK_BYTES):
            self._bulk(batch)

    def flush(self) -> None:
        """Refresh."""
        self._http.ask("POST", f"{self._index}/_refresh")

    def count(self) -> int:
        """Count all documents."""
        return int(self._http.ask("GET", f"{self._index}/_count")[1]["count"])

    def size(self) -> int | None:
        """Size of the primary shards; serverless offers do not tell."""
        status, reply = self._http.ask("GET", f"{self._index}/_stats/store", known=(400, 403, 404, 405, 410))
        return None if status >= 400 else int(reply["_all"]["primaries"]["store"]["size_in_bytes"])

    def find(self, vector: csr_matrix, top_k: int, labels: Sequence[Sequence[str]]) -> list[Hit]:
        """Add up one ``linear`` clause for each term."""
        terms, weights = entries(vector, self.where)
        if not terms:
            return []
        clauses = [
            {"rank_feature": {"field": f"vector.t{term}", "linear": {}, "boost": float(weight)}}
            for term, weight in zip(terms, weights, strict=True)
        ]
        query: dict[str, Any] = {"should": clauses, "minimum_should_match": 1}
        if labels:
            query["filter"] = [{"terms": {"labels": list(either)}} for either in labels]
        body = {
            "query": {"bool": query},
            "size": top_k,
            # Counting all matches would forbid the server to skip those that cannot win.
            "track_total_hits": False,
            "_source": {"excludes": ["vector", "labels"]},
        }
        reply = self._http.ask("POST", f"{self._index}/_search", body)[1]
        if reply.get("timed_out") or reply["_shards"].get("failed"):
            raise EngineError(f"{self.where} searched a part of its shards only; look at the cluster's health")
        return [Hit(row["_id"], float(row["_score"]), _document(row)) for row in reply["hits"]["hits"]]

    def stored(self, identifier: str) -> Mapping[int, float] | None:
        """Read the features back from the stored source."""
        body = {"ids": [identifier]}
        row = self._http.ask("POST", f"{self._index}/_mget?_source_includes=vector", body)[1]["docs"][0]
        if not row.get("found"):
            return None
        return {int(name[1:]): float(weight) for name, weight in row["_source"].get("vector", {}).items()}

    def document(self, identifier: str) -> Document | None:
        """Read the rest of the stored source."""
        path = f"{self._index}/_mget?_source_includes=title,text,metadata"
        row = self._http.ask("POST", path, {"ids": [identifier]})[1]["docs"][0]
        return _document(row) if row.get("found") else None

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def _mapping(self) -> tuple[str, dict[str, Any]] | None:
        """The index's own name and its mapping; None where nothing is there.

        Raises:
            IndexFileError: If the name is an alias of several.
            EngineError: If something else than a mapping comes back.
        """
        status, reply = self._http.ask("GET", f"{self._index}/_mapping", known=(404,))
        if status == 404:
            return None
        if isinstance(reply, dict) and len(reply) > 1:
            raise IndexFileError(f"{self.where} is an alias of {', '.join(sorted(reply))}; name one of them")
        # The key is the index behind an alias.
        for name, entry in reply.items() if isinstance(reply, dict) else ():
            made = entry.get("mappings") if isinstance(entry, dict) else None
            if isinstance(made, dict):
                return name, made
        raise EngineError(
            f"{self.where} must answer with the mapping of one index, got {str(reply)[:60]!r}; check HOST:PORT"
        )

    def _bulk(self, actions: Sequence[bytes]) -> None:
        """Send actions; those that the server was too busy for are sent again.

        Raises:
            EngineError: If one is refused, the index is blocked, or the server stays busy.
        """
        for attempt in range(ATTEMPTS):
            items = self._http.ask("POST", f"{self._index}/_bulk", b"".join(actions))[1]["items"]
            results = [next(iter(item.items())) for item in items]
            # A document to delete that is gone already is what was wanted.
            failed = [
                (action, result)
                for action, (kind, result) in zip(actions, results, strict=True)
                if result["status"] >= 300 and not (kind == "delete" and result["status"] == 404)
            ]
            if not failed:
                return
            # A full disk comes with the status of a busy server, and no patience helps.
            for result in (result for _, result in failed if is_block(result)):
                raise EngineError(f"{self.where} takes no documents: {reason_of(result)}; {BLOCKED}")
            for result in (result for _, result in failed if result["status"] not in BUSY):
                raise EngineError(f"{self.where} refused document {result['_id']!r}: {reason_of(result)}")
            reason = reason_of(failed[0][1])
            actions = [action for action, _ in failed]
            self._sleep(self._backoff * 2**attempt)
        raise EngineError(
            f"{self.where} stays too busy for {len(actions)} documents ({reason}); try again later with --update"
        )


def batches(actions: Iterator[bytes], size: int) -> Iterator[list[bytes]]:
    """Cut a stream of actions into bulk requests of about ``size`` bytes."""
    batch: list[bytes] = []
    held = 0
    for one in actions:
        if batch and held + len(one) > size:
            yield batch
            batch, held = [], 0
        batch.append(one)
        held += len(one)
    if batch:
        yield batch


def _document(row: Mapping[str, Any]) -> Document:
    stored = row.get("_source", {})
    return Document(row["_id"], stored.get("text", ""), stored.get("title", ""), stored.get("metadata", {}))


OPENSEARCH = ServerBackend(OpenSearch)
