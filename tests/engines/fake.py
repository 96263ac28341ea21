"""A small server that speaks as much of OpenSearch as the engine uses, and remembers every request.

It takes wildcards, lists, ``_all`` and aliases wherever it takes a name, as OpenSearch does.
"""

from __future__ import annotations

import json
import re
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit

_ALL = b'{"query": {"bool": {}}}'


class Request(NamedTuple):
    """What came in."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class Fake:
    """Indexes in memory, behind one node or several.

    ``script`` holds replies to give first: (status, headers, body) each, or "drop"; ``dying`` holds for a node's port
    how many requests it still answers before it takes none any more.
    """

    def __init__(self) -> None:
        self.indexes: dict[str, dict[str, Any]] = {}
        self.aliases: dict[str, list[str]] = {}
        self.requests: list[Request] = []
        self.script: list[Any] = []
        self.busy_items: list[int] = []
        self.ports: list[int] = []
        self.dying: dict[int, int] = {}
        self.asked: list[int] = []
        self.handler: type[BaseHTTPRequestHandler] = BaseHTTPRequestHandler
        self._nodes: dict[int, ThreadingHTTPServer] = {}
        # Of the plugin neural-search on each node; and what the server says of its limit of clauses.
        self.plugins: list[str] = []
        self.settings: dict[str, Any] | None = None
        self.most_clauses = 1024

    @property
    def port(self) -> int:
        """That of the first node."""
        return self.ports[0]

    def start(self, port: int = 0) -> int:
        """Let a node listen, on a port of its own or again on one that it had."""
        self.dying.pop(port, None)
        server = ThreadingHTTPServer(("127.0.0.1", port), self.handler)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        self._nodes[server.server_port] = server
        return server.server_port

    def kill(self, port: int) -> None:
        """Take no connection any more, and answer on none that is open."""
        self.dying[port] = 0
        server = self._nodes.pop(port, None)
        if server is not None:
            server.shutdown()
            server.server_close()

    def reply(self, request: Request) -> tuple[int, Any]:
        """Status and body, as OpenSearch would answer."""
        parts = urlsplit(request.path)
        name, _, what = unquote(parts.path).strip("/").partition("/")
        query = parse_qs(parts.query)
        if name == "_aliases":
            for ((kind, change),) in (action.items() for action in json.loads(request.body)["actions"]):
                names = self.aliases.setdefault(change["alias"], [])
                (names.append if kind == "add" else names.remove)(change["index"])
            return 200, {"acknowledged": True}
        told = self._told(name)
        if told is not None:
            return 200, told
        if request.method == "PUT":
            return self._put(name, what, json.loads(request.body))
        names = self.named(name)
        if not names:
            reason = {"type": "index_not_found_exception", "reason": f"no such index [{name}]"}
            return 404, {"error": reason | {"root_cause": [reason]}, "status": 404}
        if request.method == "DELETE":
            if name in self.aliases:
                return 400, {"error": {"type": "illegal_argument_exception", "reason": "matches an alias"}}
            for one in names:
                del self.indexes[one]
            return 200, {"acknowledged": True}
        index = self.indexes[names[0]]
        rows = index["rows"]
        answers = {
            "_mapping": lambda: {one: {"mappings": self.indexes[one]["mappings"]} for one in names},
            "_alias": lambda: {one: {"aliases": self._aliases_of(one)} for one in names},
            "_bulk": lambda: self._bulk(rows, request.body),
            "_count": lambda: {
                "count": sum(_fits(row, json.loads(request.body or _ALL)["query"]) for row in rows.values())
            },
            "_stats/store": lambda: {"_all": {"primaries": {"store": {"size_in_bytes": 7}}}},
            "_refresh": lambda: {},
            "_mget": lambda: self._mget(rows, json.loads(request.body)["ids"], query.get("_source_includes")),
            "_search": lambda: self._search(rows, json.loads(request.body)),
        }
        found = answers[what]()
        return (400, found) if "error" in found else (200, found)

    def _put(self, name: str, what: str, body: Any) -> tuple[int, Any]:
        if what == "_mapping":
            self.indexes[name]["mappings"] |= body
        elif name in self.indexes:
            return 400, {"error": {"type": "resource_already_exists_exception", "reason": "already exists"}}
        else:
            self.indexes[name] = {"mappings": body["mappings"], "rows": {}}
        return 200, {"acknowledged": True}

    def _told(self, name: str) -> Any:
        """What the server says of itself."""
        if name == "_nodes" and self.plugins:
            plugins = [[{"name": "opensearch-neural-search", "version": one}] if one else [] for one in self.plugins]
            return {"nodes": {str(number): {"plugins": found} for number, found in enumerate(plugins)}}
        return self.settings if name == "_cluster" else None

    def _aliases_of(self, index: str) -> dict[str, Any]:
        return {alias: {} for alias, names in self.aliases.items() if index in names}

    def named(self, expression: str) -> list[str]:
        """What is meant by a name, an alias, a list, or a wildcard."""
        found: list[str] = []
        for part in expression.split(","):
            part = "*" if part == "_all" else part
            pattern = re.escape(part).replace("\\*", ".*")
            found += self.aliases.get(part) or [name for name in self.indexes if re.fullmatch(pattern, name)]
        return found

    def _mget(self, rows: dict[str, Any], ids: list[str], fields: list[str] | None) -> Any:
        docs = []
        for identifier in ids:
            found: dict[str, Any] = {"_id": identifier, "found": identifier in rows}
            if found["found"] and fields:
                wanted = [field for names in fields for field in names.split(",")]
                found["_source"] = {field: rows[identifier][field] for field in wanted if field in rows[identifier]}
            docs.append(found)
        return {"docs": docs}

    def _bulk(self, rows: dict[str, Any], body: bytes) -> Any:
        lines = [json.loads(line) for line in body.splitlines()]
        items = []
        while lines:
            ((kind, target),) = lines.pop(0).items()
            identifier = target["_id"]
            source = lines.pop(0) if kind == "index" else None
            result: dict[str, Any] = {"_id": identifier, "status": 200}
            if self.busy_items:
                result["status"] = self.busy_items.pop(0)
                if result["status"] >= 400:
                    result["error"] = {"type": "x", "reason": "no", "caused_by": {"type": "y", "reason": "too much"}}
            if result["status"] < 400:
                if source is not None:
                    rows[identifier] = source
                elif rows.pop(identifier, None) is None:
                    result["status"] = 404
            items.append({kind: result})
        return {"items": items}

    def _search(self, rows: dict[str, Any], body: Any) -> Any:
        if "aggs" in body:
            asked = body["aggs"]["values"]["terms"]
            counts = Counter(label for row in rows.values() for label in row[asked["field"]])
            found = [label for label, _ in counts.most_common() if re.fullmatch(asked["include"], label)]
            return {"aggregations": {"values": {"buckets": [{"key": key} for key in found[: asked["size"]]]}}}
        asked = body["query"]["bool"]
        wanted = self._asked(asked)
        clauses = len(wanted) + sum(len(one["terms"]["labels"]) for one in asked.get("filter", []))
        if clauses > self.most_clauses:
            return {"error": {"type": "too_many", "reason": f"maxClauseCount is set to {self.most_clauses}"}}
        hits = []
        for identifier, row in rows.items():
            if not _fits(row, body["query"]):
                continue
            score = 0.0
            for name, weight in wanted:
                score += weight * row.get("vector", {}).get(name, 0.0)
            if score > 0:
                left_out = body["_source"]["excludes"]
                source = {key: value for key, value in row.items() if key not in left_out}
                hits.append({"_id": identifier, "_score": score, "_source": source})
        hits.sort(key=lambda hit: -hit["_score"])
        if "collapse" in body:
            field = body["collapse"]["field"]
            hits = list({hit["_source"][field]: hit for hit in reversed(hits)}.values())
            hits.sort(key=lambda hit: -hit["_score"])
        return {"timed_out": False, "_shards": {"failed": 0}, "hits": {"hits": hits[: body["size"]]}}

    def _asked(self, query: Any) -> list[tuple[str, float]]:
        """Features and weights, however they are asked for."""
        if "must" in query:
            assert self.plugins, "no such query: neural_sparse"
            tokens = query["must"][0]["neural_sparse"]["vector"]["query_tokens"]
            assert max(tokens.values()) <= 64
            return list(tokens.items())
        found = []
        for clause in query["should"]:
            feature = clause["rank_feature"]
            assert feature["linear"] == {}
            field, _, name = feature["field"].partition(".")
            assert field == "vector"
            found.append((name, feature["boost"]))
        return found


def _fits(row: Any, query: Any) -> bool:
    """Whether a row has one of every list of labels."""
    return all(set(one["terms"]["labels"]) & set(row["labels"]) for one in query["bool"].get("filter", []))


@contextmanager
def serving(nodes: int = 1) -> Iterator[Fake]:
    """A fake on free ports of this machine."""
    fake = Fake()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # Otherwise headers and body go in two packets, and the second one waits for 40 ms.
        wbufsize = -1

        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            request = Request(self.command, self.path, dict(self.headers), body)
            port = self.server.server_address[1]
            if port in fake.dying:
                if not fake.dying[port]:
                    fake.kill(port)
                    self.close_connection = True
                    return
                fake.dying[port] -= 1
            fake.requests.append(request)
            fake.asked.append(port)
            headers: dict[str, str] = {}
            if fake.script:
                scripted = fake.script.pop(0)
                if scripted == "drop":
                    self.close_connection = True
                    return
                status, headers, value = scripted
            else:
                status, value = fake.reply(request)
            content = json.dumps(value).encode()
            self.send_response(status)
            for name, text in headers.items():
                self.send_header(name, text)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_PUT = do_POST = do_DELETE = answer

        def log_message(self, *_: Any) -> None:
            pass

    fake.handler = Handler
    fake.ports = [fake.start() for _ in range(nodes)]
    try:
        yield fake
    finally:
        for port in list(fake.ports):
            fake.kill(port)
