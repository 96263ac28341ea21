"""OpenSearch and Elasticsearch: a ``rank_features`` field, asked so that scores are dot products."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote

import numpy as np
from scipy.sparse import csr_matrix

from isthmus.engines.base import Header, Location, entries
from isthmus.engines.bulk import action, batches, mapping, meta_of, source
from isthmus.engines.connection import Request, Server
from isthmus.engines.http import ATTEMPTS, BLOCKED, BUSY, Http, is_block, reason_of
from isthmus.engines.search_request import (
    CLAUSES,
    CLAUSES_PATH,
    PLUGINS_PATH,
    clause_limit,
    having,
    heaviest,
    knows_query_tokens,
    search_body,
    values_body,
)
from isthmus.errors import EngineError, IndexFileError, InputError, NotFoundError
from isthmus.index.hits import Hit
from isthmus.reading.corpus import Document

PORT = 9200
_BULK_BYTES = 5_000_000
_IDS_AT_ONCE = 1000
_VALUES = 1000


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
    divides = True
    collapses = True

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
        self._scheme = location.scheme
        self._neural: bool | None = None
        self._clauses: int | None = None

    def hurry(self) -> None:
        """Wait for nobody who takes no connection."""
        self._http.hurry()

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

    def create(
        self, header: Header, *, shards: int | None = None, replicas: int | None = None, alias: str | None = None
    ) -> None:
        """Put the mapping; ``alias`` is what the index is made for, and gets when it is finished."""
        self._http.ask("PUT", self._index, mapping(header, shards=shards, replicas=replicas, alias=alias))

    def remove(self) -> None:
        """Delete the index."""
        self._http.ask("DELETE", self._index, known=(404,))

    def generations(self) -> list[tuple[str, Header, bool]]:
        """Indexes that were made for the alias that the URL names: name, header, and whether they were finished."""
        found = self._http.ask("GET", f"{self._index}-*/_mapping", known=(404,))[1]
        own = re.compile(re.escape(self.name) + r"-\d{8}-\d{6}")
        made = []
        for name, entry in sorted(found.items()):
            meta = (entry.get("mappings") or {}).get("_meta") if isinstance(entry, dict) else None
            if own.fullmatch(name) and isinstance(meta, dict) and meta.get("isthmus_alias") == self.name:
                made.append((name, Header.from_dict(meta.get("isthmus"), name), bool(meta.get("isthmus_finished"))))
        return made

    def finish(self, header: Header, alias: str) -> None:
        """Note that everything is there."""
        self._http.ask("PUT", f"{self._index}/_mapping", {"_meta": meta_of(header, alias, finished=True)})

    def move(self, before: str | None, after: str) -> None:
        """Give the alias that the URL names to another index, in one request."""
        actions: list[dict[str, Any]] = [{"add": {"index": after, "alias": self.name}}]
        if before is not None:
            actions.insert(0, {"remove": {"index": before, "alias": self.name}})
        self._http.ask("POST", "/_aliases", {"actions": actions})

    def aliases(self) -> list[str]:
        """Those of the index."""
        found = self._http.ask("GET", f"{self._index}/_alias")[1]
        return sorted(found.get(self.name, {}).get("aliases", {}))

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
        return [row["_id"] for row in self._rows(ids, "_source=false") if not row.get("found")]

    def digests(self, ids: Sequence[str]) -> Mapping[str, str]:
        """Ask for what is stored with the documents; those of earlier versions have none."""
        rows = (row for row in self._rows(ids, "_source_includes=digest") if row.get("found"))
        return {row["_id"]: row["_source"]["digest"] for row in rows if "digest" in row.get("_source", {})}

    def delete(self, ids: Sequence[str]) -> None:
        """Delete in bulk."""
        for batch in batches((action("delete", identifier) for identifier in ids), _BULK_BYTES):
            self._bulk(batch)

    def flush(self) -> None:
        """Refresh."""
        self._http.ask("POST", f"{self._index}/_refresh")

    def count(self, labels: Sequence[Sequence[str]] = ()) -> int:
        """Count by filter."""
        body = {"query": {"bool": {"filter": having(labels)}}}
        return int(self._http.ask("POST", f"{self._index}/_count", body)[1]["count"])

    def values(self, field: str) -> list[str] | None:
        """Let the server gather the labels of the field."""
        reply = self._http.ask("POST", f"{self._index}/_search", values_body(field, _VALUES))[1]
        return [bucket["key"].removeprefix(f"{field}=") for bucket in reply["aggregations"]["values"]["buckets"]]

    def size(self) -> int | None:
        """Size of the primary shards; serverless offers do not tell."""
        status, reply = self._http.ask("GET", f"{self._index}/_stats/store", known=(400, 403, 404, 405, 410))
        return None if status >= 400 else int(reply["_all"]["primaries"]["store"]["size_in_bytes"])

    def find(
        self, vector: csr_matrix, top_k: int, labels: Sequence[Sequence[str]], *, split: bool = False
    ) -> list[Hit]:
        """Add up one clause for each term, the heaviest where the server takes no more."""
        if not vector.nnz or not vector.data.any():
            return []
        request = self.request(vector, top_k, labels, split=split)
        reply = self._http.ask(request.method, request.path, request.body)[1]
        if reply.get("timed_out") or reply["_shards"].get("failed"):
            raise EngineError(f"{self.where} searched a part of its shards only; look at the cluster's health")
        return [Hit(row["_id"], float(row["_score"]), _document(row)) for row in reply["hits"]["hits"]]

    def request(
        self, vector: csr_matrix, top_k: int, labels: Sequence[Sequence[str]], *, split: bool = False
    ) -> Request:
        """The search request; the first one asks the server what it has."""
        terms, weights = entries(vector, self.where)
        if not terms:
            raise InputError(f"the query must have a term to ask {self.where} for, got none; write another one")
        left_out = self.left_out(vector, labels)
        terms, weights = heaviest(terms, weights, len(terms) - left_out)
        if self._neural is None:
            self._neural = self._scheme == "opensearch" and knows_query_tokens(self._tell(PLUGINS_PATH))
        body = search_body(terms, weights, top_k, labels, neural=self._neural, split=split)
        return Request("POST", f"{self._index}/_search", body, left_out)

    def left_out(self, vector: csr_matrix, labels: Sequence[Sequence[str]]) -> int:
        """What is above the cluster's limit of clauses, which every label counts for too."""
        needed = int(np.count_nonzero(vector.data)) + sum(map(len, labels))
        if needed <= CLAUSES:
            return 0
        if self._clauses is None:
            self._clauses = clause_limit(self._tell(CLAUSES_PATH))
        return max(0, needed - self._clauses)

    def stored(self, identifier: str) -> Mapping[int, float] | None:
        """Read the features back from the stored source."""
        body = {"ids": [identifier]}
        row = self._http.ask("POST", f"{self._index}/_mget?_source_includes=vector", body)[1]["docs"][0]
        if not row.get("found"):
            return None
        return {int(name[1:]): float(weight) for name, weight in row["_source"].get("vector", {}).items()}

    def document(self, identifier: str) -> Document | None:
        """Read the rest of the stored source."""
        path = f"{self._index}/_mget?_source_includes=title,text,metadata,passage"
        row = self._http.ask("POST", path, {"ids": [identifier]})[1]["docs"][0]
        return _document(row) if row.get("found") else None

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def _tell(self, path: str) -> Any:
        """What the server says of itself; None where it does not, as to users with few rights."""
        status, reply = self._http.ask("GET", path, known=(400, 401, 403, 404, 405, 410))
        return reply if status < 400 else None

    def _rows(self, ids: Sequence[str], asked: str) -> Iterator[dict[str, Any]]:
        """What the server says of each id."""
        for start in range(0, len(ids), _IDS_AT_ONCE):
            part = list(ids[start : start + _IDS_AT_ONCE])
            yield from self._http.ask("POST", f"{self._index}/_mget?{asked}", {"ids": part})[1]["docs"]

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


def _document(row: Mapping[str, Any]) -> Document:
    return Document.from_row(row.get("_source", {}) | {"id": row["_id"]})
