"""A cluster of three nodes that loses the one that is talked to while an index is built.

    python -m benchmarks cluster
    python -m benchmarks cluster --documents 2000

Needs ISTHMUS_OPENSEARCH, a folder with a program that starts nodes (see CONTRIBUTING.md), Java, and ISTHMUS_DATA for
the sentences. Three shards with a replica each; the first node of the URL is killed (SIGKILL) when 40 % of the
documents were sent, and started again, on its own data, at 70 %. Searches are sent all the while. In the end every
document is read back and compared with the exact index, weight by weight, and queries are compared. What must be
0: ``lost``, ``more`` (documents that nobody sent, or twice), ``wrong`` (another weight or text). Searches that failed
are counted.
"""

from __future__ import annotations

import argparse
import json
import lzma
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix

from benchmarks.harness import Row, machine, parse, parser_of, say, timed, write_json
from isthmus.engines import open_engine
from isthmus.engines.base import Header, Location, digest
from isthmus.engines.bulk import kept_features
from isthmus.engines.comparison import compare, sample_queries
from isthmus.engines.contents import read_documents
from isthmus.engines.opensearch import OpenSearch
from isthmus.engines.server import fill
from isthmus.errors import EngineError
from isthmus.index import SparseIndex, build_index
from isthmus.index.encoded_files import read_parts
from isthmus.reading.corpus import Document

NODES, SHARDS, REPLICAS, QUERIES = 3, 3, 1, 200
KILLED, BACK = 0.4, 0.7
MODEL = "published/splade-tiny"
LENGTHS = range(20, 400)
PAUSE = 0.02
Windows = Iterator[tuple[list[Document], csr_matrix]]


class Nodes:
    """Nodes on this machine, started and killed by the program in ISTHMUS_OPENSEARCH.

    Raises:
        SystemExit: If there is no such folder.
    """

    def __init__(self, place: Path, count: int) -> None:
        folder = os.environ.get("ISTHMUS_OPENSEARCH")
        if not folder:
            raise SystemExit("the suite needs the folder that ISTHMUS_OPENSEARCH names")
        self._program, self._place = [sys.executable, str(Path(folder) / "cluster.py")], str(place)
        started = self._run("start", "--nodes", str(count))
        self.nodes = json.loads(started)["nodes"]

    def url(self, name: str) -> str:
        """Of an index, with all nodes."""
        return f"opensearch://{','.join(node['url'].removeprefix('http://') for node in self.nodes)}/{name}"

    def kill(self, node: int) -> None:
        """SIGKILL."""
        self._run("kill", self.nodes[node]["name"])

    def restart(self, node: int) -> subprocess.Popen[bytes]:
        """Start it again; it takes some seconds."""
        command = [*self._program, "restart", self._place, self.nodes[node]["name"]]
        return subprocess.Popen(command, stdout=subprocess.DEVNULL)

    def stop(self) -> None:
        """All of them."""
        self._run("stop")

    def _run(self, verb: str, *rest: str) -> bytes:
        return subprocess.run([*self._program, verb, self._place, *rest], check=True, stdout=subprocess.PIPE).stdout


@dataclass
class Searches:
    """Queries that are sent, one after the other, until they are stopped."""

    url: str
    queries: Sequence[csr_matrix]
    seconds: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def __enter__(self) -> Searches:
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._send, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()

    def _send(self) -> None:
        engine = open_engine(self.url, any_model=True)
        while not self._stopped.wait(PAUSE):
            query = self.queries[len(self.seconds) % len(self.queries)]
            started = time.perf_counter()
            try:
                engine.search(query)
            except EngineError as error:
                self.errors.append(str(error)[:200])
            self.seconds.append(time.perf_counter() - started)
        engine.close()


def main(argv: Sequence[str] | None = None) -> None:
    """Encode, build, kill, compare."""
    parser = parser_of(__doc__, "cluster")
    parser.add_argument("--documents", type=int, default=20_000)
    parser.add_argument("--queries", type=int, default=QUERIES)
    parser.add_argument("--model", default=MODEL)
    parser.add_argument("--folder", type=Path, help="where the encoded documents are kept; default: nowhere")
    args = parse(parser, argv)
    with tempfile.TemporaryDirectory(prefix="isthmus-cluster-") as temporary:
        kept = args.folder or Path(temporary) / "collection"
        exact = collection(args, kept)
        queries = sample_queries(exact, args.queries)
        nodes = Nodes(Path(temporary) / "nodes", NODES)
        try:
            row = lose_a_node(nodes, exact, read_parts(kept / "encoded"), queries)
        finally:
            nodes.stop()
    row = {"model": args.model, **row, **machine("numpy", "urllib3")}
    write_json(args.output, {"rows": [row]})
    say(json.dumps(row))


def collection(args: argparse.Namespace, folder: Path) -> SparseIndex:
    """Sentences, encoded, and the exact index of them; what is there is taken."""
    from isthmus.index import encode_corpus

    if not (folder / "idx").exists():
        rows = [{"id": f"s{place}", "text": text} for place, text in enumerate(sentences(args.data, args.documents))]
        encode_corpus(args.model, rows, folder / "encoded")
        build_index(args.model, folder / "encoded", folder / "idx")
    return SparseIndex.open(folder / "idx")


def sentences(data: Path, count: int) -> list[str]:
    """The first English sentences of the parallel text, each once."""
    found: dict[str, None] = {}
    for path in sorted((Path(data) / "parallel").glob("en-*.tsv.xz")):
        with lzma.open(path, "rt", encoding="utf-8") as stream:
            for line in stream:
                text = line.split("\t")[1].strip()
                if len(text) in LENGTHS:
                    found[text] = None
                if len(found) == count:
                    return list(found)
    raise SystemExit(f"{data} has {len(found):,} sentences only")


def lose_a_node(nodes: Nodes, exact: SparseIndex, windows: Windows, queries: Sequence[csr_matrix]) -> Row:
    """Build an index, lose the node that is talked to, get it back, and compare."""
    url, documents = nodes.url("cluster-run"), len(exact)
    server = OpenSearch(Location.parse(url))
    manifest = exact.manifest
    assert manifest.identity is not None
    header = Header(manifest.identity, manifest.vocabulary_size, manifest.settings)
    version = server._http.ask("GET", "/")[1]["version"]["number"]
    server.create(header, shards=SHARDS, replicas=REPLICAS)
    slowest: list[float] = []
    state: dict[str, Any] = {}

    def passing() -> Windows:
        sent, before = 0, time.perf_counter()
        for window, vectors in windows:
            if sent >= KILLED * documents and "killed_at" not in state:
                nodes.kill(0)
                state["killed_at"] = sent
            if sent >= BACK * documents and "back_at" not in state:
                state["restarted"], state["back_at"] = nodes.restart(0), sent
            yield window, vectors
            sent += len(window)
            slowest.append(time.perf_counter() - before)
            before = time.perf_counter()

    with Searches(url, queries) as searches:
        change, build_s = timed(lambda: fill(server, passing(), text=True))
        state.pop("restarted").wait()
        _, green_s = timed(lambda: wait_for_green(server))
    server.flush()
    found = contents(server, exact)
    parity = compare(exact, open_engine(url, any_model=True), queries)
    server.close()
    p50, p99 = np.percentile(searches.seconds, [50, 99])
    return {
        "engine": "opensearch", "version": version, "nodes": len(nodes.nodes), "shards": SHARDS, "replicas": REPLICAS,
        "documents": documents, "sent": change.added, **state, "build_s": build_s, "slowest_window_s": max(slowest),
        "median_window_s": float(np.median(slowest)), "green_s": green_s, **found, "searches": len(searches.seconds),
        "search_errors": len(searches.errors), "errors": sorted(set(searches.errors))[:3], "search_p50_s": p50,
        "search_p99_s": p99, "search_slowest_s": max(searches.seconds), "queries": parity.queries,
        "recall@10": parity.recall, "drift": parity.drift, "hits": parity.hits, "unknown": parity.unknown,
    }  # fmt: skip


def wait_for_green(server: OpenSearch) -> None:
    """Until every replica is where it should be; for two minutes at most.

    Raises:
        EngineError: If it takes longer.
    """
    for _ in range(24):
        status, reply = server._http.ask("GET", "/_cluster/health?wait_for_status=green&timeout=5s", known=(408,))
        if status == 200 and reply["status"] == "green" and reply["number_of_nodes"] == NODES:
            return
        time.sleep(1)
    raise EngineError(f"the cluster must be green, got {reply}")


def contents(server: OpenSearch, exact: SparseIndex) -> Row:
    """Every document read back, and compared with what the exact index has."""
    lost = wrong = compared = 0
    for documents, vectors in read_documents(exact):
        rows = server._rows([document.id for document in documents], "_source_includes=vector,digest,text")
        for number, (document, row) in enumerate(zip(documents, rows, strict=True)):
            compared += 1
            if not row.get("found"):
                lost += 1
                continue
            features = {int(name[1:]): np.float32(w) for name, w in row["_source"].get("vector", {}).items()}
            vector = vectors[number]
            same = features == kept_features(vector.indices.tolist(), vector.data)
            told = row["_source"]
            wrong += not (same and told["text"] == document.text and told["digest"] == digest(document))
    return {"compared": compared, "lost": lost, "wrong": wrong, "more": server.count() - (compared - lost)}


def table(results: Path) -> str:
    """The run, a line for each thing that must hold."""
    from benchmarks.harness import markdown
    from isthmus.reading.storage import read_json

    (row,) = read_json(results / "cluster.json")["rows"]
    lines = [
        ["documents sent / there, once each, every weight as sent",
         f"{row['sent']:,} / {row['compared'] - row['lost'] - row['wrong']:,}"],
        ["lost / wrong / more than were sent", f"{row['lost']} / {row['wrong']} / {row['more']}"],
        ["node killed after / back after", f"{row['killed_at']:,} / {row['back_at']:,} documents"],
        ["build; median and slowest window of 1,024", f"{row['build_s']:.0f} s; {row['median_window_s']:.1f} s, "
         f"{row['slowest_window_s']:.1f} s"],
        ["searches meanwhile / failed", f"{row['searches']:,} / {row['search_errors']}"],
        ["median and slowest search", f"{row['search_p50_s'] * 1000:.0f} ms, {row['search_slowest_s']:.1f} s"],
        [f"recall@10 of {row['queries']} queries against the exact index; largest difference of a score",
         f"{row['recall@10']:.4f}; {row['drift']:.2%}"],
    ]  # fmt: skip
    text = f"OpenSearch {row['version']}, {row['nodes']} nodes, {row['shards']} shards, {row['replicas']} replica."
    return markdown(["", "found"], lines, text)


TABLES = {"cluster": table}
