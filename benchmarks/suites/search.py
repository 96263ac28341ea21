"""Engines on the same collections: building, disk, memory, opening, time of a query, recall.

    python -m benchmarks search --documents 200000 --real
    python -m benchmarks search --documents 1000000 --engines "embedded, f32" "embedded, u8"
    python -m benchmarks search --pipeline 100000

Every engine is built in one process and searched in another, both with one thread; rows that the output file has
already are kept. A million documents are the embedded index's alone: Seismic takes minutes and gigabytes to build
there, and products with the whole matrix need no measurement. A row:

- ``build_s``: from vectors on the disk to an index on the disk, without encoding; ``build_memory``: peak in bytes.
- ``bytes``: on the disk.
- ``open_ms``: opening in a fresh process, libraries loaded; files may still be in the system's page cache.
  ``cold_open_ms``, ``cold_first_ms``: the same and the first query, in a process of their own, after the files were
  taken out of that cache.
- ``first_ms``: the first query after it. ``p50_ms``, ``p99_ms``: all queries, one after the other, 10 hits with their
  documents where the engine stores any; the first one is not among them. ``again_ms``: median of a second pass.
- ``memory``: peak of the searching process in bytes, mapped files that were touched included.
- ``recall@10``: share of the 10 best that came back, where a document as good as the tenth, to a thousandth of its
  score, counts as one of them.

Milvus Lite gets 20,000 documents at most. Collections: ``synthetic`` (Zipf columns, log-normal weights, about 135
entries a document, 20 to 40 a query) and ``real`` (the mini encoder carried into Korean, passages of ISTHMUS_DATA).
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness import ENCODER, RESULTS, ROOT, Row, machine, markdown, say, timed, write_json
from benchmarks.suites import search_engines as engines
from benchmarks.suites.search_engines import BUILDERS, LARGEST, MODULES, TOP_K, Vectors, load_matrix, opener
from isthmus.reading.storage import read_json

QUERIES = 500
LIBRARIES = ("numpy", "scipy", "pyseismic-lsr", "pymilvus", "milvus-lite")
ONE_THREAD = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS", "TOKENIZERS_PARALLELISM"), "1"
)
# Scores of equal documents differ in the last bits, by the order of addition; f16 weights by 2^-11.
TIE = 1e-3


def main(argv: Sequence[str] | None = None) -> None:
    """Measure what the output file does not have yet."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks search", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("-o", "--output", type=Path, default=RESULTS / "search.json", help="rows that it has are kept")
    parser.add_argument("--documents", type=int, nargs="+", default=[200_000], help="sizes of the synthetic collection")
    parser.add_argument("--queries", type=int, default=QUERIES)
    parser.add_argument("--engines", nargs="+", choices=list(BUILDERS), default=list(BUILDERS))
    parser.add_argument("--real", action="store_true", help="also the real collection; needs ISTHMUS_DATA")
    parser.add_argument("--pipeline", type=int, metavar="N", help="only the way from an encoder to an index of N texts")
    parser.add_argument("--model", default=ENCODER, help="encoder of the pipeline")
    parser.add_argument("--threads", type=int, default=1, help="threads of the pipeline; engines have one")
    parser.add_argument("--folder", type=Path, help="for temporary files; removed afterwards")
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.child:
        what, engine, folder = args.child
        # Libraries print, and the row is what standard output is for.
        with quiet():
            made = {"build": build_row, "search": search_row, "cold": cold_row}[what](engine, Path(folder))
        print(json.dumps(made))
        return
    os.environ |= ONE_THREAD
    content = read_json(args.output) if args.output.exists() else {"rows": [], "pipeline": []}
    with tempfile.TemporaryDirectory(dir=args.folder, prefix="isthmus-search-") as folder:
        if args.pipeline:
            # It loads torch, which would count as memory of the engines.
            from benchmarks.suites.search_pipeline import pipeline

            content["pipeline"] = pipeline(args.model, args.pipeline, Path(folder), args.threads)
            write_json(args.output, {**content, **machine()})
        else:
            measure_engines(args, content, Path(folder).resolve())


def measure_engines(args: argparse.Namespace, content: Row, folder: Path) -> None:
    """Make each collection once and give it to every engine that has no row for it."""
    keys = ("collection", "asked_for", "queries", "engine")
    done = {tuple(row[key] for key in keys) for row in content["rows"]}
    wanted = [("synthetic", size) for size in args.documents]
    wanted += [("real", max(args.documents))] if args.real else []
    for name, documents in wanted:
        sizes: dict[int, list[str]] = {}
        for engine in args.engines:
            if missing := [module for module in MODULES.get(engine, ()) if not find_spec(module)]:
                say(f"{engine} left out: {missing[0]} is not installed")
            elif (name, documents, args.queries, engine) not in done:
                sizes.setdefault(min(documents, LARGEST.get(engine, documents)), []).append(engine)
        for size, asked in sizes.items():
            made = engines.synthetic(size, args.queries) if name == "synthetic" else None
            made = made or engines.real(size, args.queries, folder / "e")
            collection = folder / f"{name}-{size}"
            for side in ("documents", "queries"):
                engines.save_matrix(collection, side, getattr(made, side))
            for engine in asked:
                place = dict(zip(keys, (name, documents, args.queries, engine), strict=True))
                row = measure(engine, collection, made, folder / "engine")
                content["rows"].append({**place, "libraries": machine(*LIBRARIES)["libraries"], **row})
                write_json(args.output, {**content, **machine()})
                say(f"{name} {size:,}, {engine}: {row['p50_ms']:.2f} ms, recall {row[f'recall@{TOP_K}']:.4f}")
            shutil.rmtree(collection)


def measure(engine: str, collection: Path, made: Vectors, folder: Path) -> Row:
    """A row: build in one process, search in another, compare with the best scores."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    (folder / "collection").symlink_to(collection)
    count = made.documents.shape[0]
    row: Row = {
        "documents": count, "entries": made.documents.nnz / count,
        "query_entries": made.queries.nnz / made.queries.shape[0],
    }  # fmt: skip
    for what in ("build", "search", "cold"):
        command = [sys.executable, "-m", "benchmarks", "search", "--child", what, engine, str(folder)]
        row |= json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True, cwd=ROOT).stdout)
        if what == "build":
            row["bytes"] = sum(path.stat().st_size for path in files_of(folder))
    row[f"recall@{TOP_K}"] = recall(made, json.loads((folder / "hits.json").read_text()))
    shutil.rmtree(folder)
    return row


def files_of(folder: Path) -> list[Path]:
    """The files of an index."""
    return [path for path in folder.rglob("*") if path.is_file() and path.parent.name != "collection"]


def build_row(engine: str, folder: Path) -> Row:
    """Build in this process."""
    documents = load_matrix(folder / "collection", "documents")
    _, seconds = timed(lambda: BUILDERS[engine](documents, folder))
    return {"build_s": seconds, "build_memory": peak()}


def search_row(engine: str, folder: Path) -> Row:
    """Open and search in this process."""
    queries = load_matrix(folder / "collection", "queries")
    rows = [queries[place].copy() for place in range(queries.shape[0])]
    ask, opened = timed(opener(engine, folder))
    first = ask(rows[0])[1]
    found, times = zip(*(ask(row) for row in rows), strict=True)
    again = [ask(row)[1] for row in rows]
    (folder / "hits.json").write_text(json.dumps(found))
    p50, p99 = np.percentile(times, [50, 99])
    measured = {"open_ms": opened * 1000, "first_ms": first, "p50_ms": p50, "p99_ms": p99, "again_ms": np.median(again)}
    return {**measured, "memory": peak()}


def cold_row(engine: str, folder: Path) -> Row:
    """Open and ask once in this process, with nothing of the index in the page cache."""
    queries, call = load_matrix(folder / "collection", "queries"), opener(engine, folder)
    os.sync()
    for path in files_of(folder):
        if hasattr(os, "posix_fadvise"):
            with path.open("rb") as stream:
                os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    ask, opened = timed(call)
    return {"cold_open_ms": opened * 1000, "cold_first_ms": ask(queries[0])[1]}


@contextmanager
def quiet() -> Iterator[None]:
    """Send what libraries print to standard error."""
    kept = os.dup(1)
    os.dup2(2, 1)
    yield
    sys.stdout.flush()
    os.dup2(kept, 1)
    os.close(kept)


def recall(made: Vectors, found: list[list[int]]) -> float:
    """Mean share of the best documents, scored again, that came back."""
    shares = []
    for place, ids in enumerate(found):
        best = made.best[place][made.best[place] > 0]
        if len(best):
            scores = made.documents[ids] @ made.queries[place].toarray().ravel() if ids else np.zeros(0)
            shares.append(min(1.0, float((scores >= best[-1] * (1 - TIE)).sum()) / len(best)))
    return float(np.mean(shares))


def peak() -> int:
    """Most memory that this process held at once."""
    status = Path("/proc/self/status")
    if status.exists():
        # What getrusage tells starts with the memory of the process that started this one.
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def engines_table(results: Path) -> str:
    """Engines on the same collections."""
    found = read_json(results / "search.json")["rows"]
    rows = [
        [
            f"{row['collection']}, {row['engine']}", f"{row['documents']:,}", f"{row['build_s']:.1f}",
            f"{row['build_memory'] / 1e6:,.0f}", f"{row['bytes'] / 1e6:,.0f}", f"{row['memory'] / 1e6:,.0f}",
            f"{row['cold_open_ms']:,.1f}", f"{row['cold_first_ms']:,.1f}", f"{row['open_ms']:,.1f}",
            f"{row['p50_ms']:.2f}", f"{row['p99_ms']:.2f}", f"{row['recall@10']:.3f}",
        ]
        for row in found
    ]  # fmt: skip
    text = (
        f"One thread. Synthetic: Zipf columns, {found[0]['entries']:.0f} entries a document, "
        f"{found[0]['query_entries']:.0f} a query; {found[0]['queries']} queries, one after the other. Build: from "
        "vectors on the disk, without encoding; "
        "build MB and memory MB: most that building and searching held. Cold: with the files taken out of the system's "
        "page cache; open ms: with them in it. A document as good as the tenth, to a thousandth, counts as found."
    )
    header = ["collection, engine", "documents", "build s", "build MB", "disk MB", "memory MB"]
    header += ["cold open ms", "cold first ms", "open ms", "p50 ms", "p99 ms"]
    return markdown([*header, "recall@10"], rows, text)


def pipeline_table(results: Path) -> str:
    """From an encoder's folder to a searchable index, stage by stage."""
    found: list[dict[str, Any]] = read_json(results / "search.json")["pipeline"]
    rows = [
        [
            row["stage"], f"{row['seconds']:,.3f}", row["floor"], f"{row['floor_seconds']:,.3f}",
            f"{row['seconds'] / row['floor_seconds']:.1f}",
        ]
        for row in found
    ]  # fmt: skip
    first, threads = found[0], found[0].get("threads", 1)
    text = (
        f"{first['documents']:,} passages of English, {first['postings']:,} postings, {first['bytes'] / 1e6:.0f} MB. "
        f"Seconds on {threads} {'thread' if threads == 1 else 'threads'}."
    )
    return markdown(["stage", "seconds", "least it could take", "seconds", "times"], rows, text)


TABLES = {"search": engines_table, "search-pipeline": pipeline_table}
