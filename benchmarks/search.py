"""Engines on the same collections: building, disk, memory, opening, time of a query, recall.

    python benchmarks/search.py --json --documents 200000 --real -o benchmarks/results/search.json
    python benchmarks/search.py --json --documents 1000000 --engines "embedded, f32" "embedded, u8" \
        -o benchmarks/results/search.json
    python benchmarks/search.py --json --pipeline 100000 -o benchmarks/results/search.json

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
import platform
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from search_collections import TOP_K, Vectors, load, real, save, synthetic
from search_engines import BUILDERS, LARGEST, build, opener

from isthmus.reading.storage import atomic_write, read_json

QUERIES = 500
LIBRARIES = ("numpy", "scipy", "pyseismic-lsr", "pymilvus", "milvus-lite")
NEEDS = {"seismic": "pyseismic-lsr", "milvus-lite": "milvus-lite"}
ONE_THREAD = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS", "TOKENIZERS_PARALLELISM"), "1"
)
MODEL = "isthmus/mini-splade-en"
# Scores of equal documents differ in the last bits, by the order of addition; f16 weights by 2^-11.
TIE = 1e-3


def main() -> None:
    """Measure what the output file does not have yet."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--json", action="store_true", help="print the rows as JSON on standard output")
    parser.add_argument("-o", "--output", type=Path, help="also write them here; rows that are there are kept")
    parser.add_argument("--documents", type=int, nargs="+", default=[200_000], help="sizes of the synthetic collection")
    parser.add_argument("--queries", type=int, default=QUERIES)
    parser.add_argument("--engines", nargs="+", choices=list(BUILDERS), default=list(BUILDERS))
    parser.add_argument("--real", action="store_true", help="also the real collection; needs ISTHMUS_DATA")
    parser.add_argument("--pipeline", type=int, metavar="N", help="only the way from an encoder to an index of N texts")
    parser.add_argument("--model", default=MODEL, help="encoder of the pipeline")
    parser.add_argument("--threads", type=int, default=1, help="threads of the pipeline; engines have one")
    parser.add_argument("--folder", type=Path, help="for temporary files; removed afterwards")
    parser.add_argument("--child", nargs=3, metavar=("WHAT", "ENGINE", "FOLDER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        what, engine, folder = options.child
        made = {"build": build_row, "search": search_row, "cold": cold_row}[what](engine, Path(folder))
        print(json.dumps(made))
        return
    os.environ |= ONE_THREAD
    results = Results(options.output)
    with tempfile.TemporaryDirectory(dir=options.folder, prefix="isthmus-search-") as folder:
        if options.pipeline:
            measure_pipeline(options, results, Path(folder))
        else:
            measure_engines(options, results, Path(folder))
    if options.json:
        print(json.dumps(results.stages if options.pipeline else results.rows, indent=1))


class Results:
    """Rows of earlier runs and of this one, written after each."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        found: dict[str, Any] = read_json(path) if path is not None and path.exists() else {}
        self.rows: list[dict[str, Any]] = found.get("rows", [])
        self.stages: list[dict[str, Any]] = found.get("pipeline", [])

    def has(self, collection: str, documents: int, queries: int, engine: str) -> bool:
        """Whether a row is there."""
        wanted = (collection, documents, queries, engine)
        keys = ("collection", "asked_for", "queries", "engine")
        return any(tuple(row[key] for key in keys) == wanted for row in self.rows)

    def write(self) -> None:
        """Write everything."""
        if self._path is not None:
            content = {"rows": self.rows, "pipeline": self.stages, **machine()}
            atomic_write(self._path, (json.dumps(content, indent=1) + "\n").encode())


def measure_engines(options: argparse.Namespace, results: Results, folder: Path) -> None:
    """Make each collection once and give it to every engine that has no row for it."""
    wanted = [("synthetic", size) for size in options.documents]
    wanted += [("real", max(options.documents))] if options.real else []
    for name, documents in wanted:
        sizes: dict[int, list[str]] = {}
        for engine in options.engines:
            if engine in NEEDS and not installed(NEEDS[engine]):
                print(f"{engine} left out: {NEEDS[engine]} is not installed", file=sys.stderr)
            elif not results.has(name, documents, options.queries, engine):
                sizes.setdefault(min(documents, LARGEST.get(engine, documents)), []).append(engine)
        for size, engines in sizes.items():
            collection = folder / f"{name}-{size}"
            made = (
                synthetic(size, options.queries) if name == "synthetic" else real(size, options.queries, folder / "e")
            )
            save(collection, made)
            for engine in engines:
                row = measure(engine, collection, made, folder / "engine")
                common = {"collection": name, "asked_for": documents, "queries": options.queries, "engine": engine,
                          "libraries": libraries()}  # fmt: skip
                results.rows.append({**common, **row})
                results.write()
                print(summary(results.rows[-1]), file=sys.stderr, flush=True)
            remove(collection)


def measure(engine: str, collection: Path, made: Vectors, folder: Path) -> dict[str, Any]:
    """A row: build in one process, search in another, compare with the best scores."""
    remove(folder)
    folder.mkdir()
    (folder / "collection").symlink_to(collection)
    row: dict[str, Any] = {
        "documents": made.documents.shape[0],
        "entries": made.documents.nnz / made.documents.shape[0],
        "query_entries": made.queries.nnz / made.queries.shape[0],
    }
    for what in ("build", "search", "cold"):
        command = [sys.executable, __file__, "--child", what, engine, str(folder)]
        row |= json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout)
        if what == "build":
            files = [path for path in folder.rglob("*") if path.is_file() and path.parent.name != "collection"]
            row["bytes"] = sum(path.stat().st_size for path in files)
    row[f"recall@{TOP_K}"] = recall(made, json.loads((folder / "hits.json").read_text()))
    remove(folder)
    return row


def build_row(engine: str, folder: Path) -> dict[str, Any]:
    """Build in this process."""
    started = time.perf_counter()
    # The libraries print, and the row is what standard output is for.
    with quiet():
        build(engine, folder / "collection", folder)
    return {"build_s": time.perf_counter() - started, "build_memory": peak()}


def search_row(engine: str, folder: Path) -> dict[str, Any]:
    """Open and search in this process."""
    queries = load(folder / "collection", "queries")
    rows = [queries[place].copy() for place in range(queries.shape[0])]
    with quiet():
        call = opener(engine, folder)
        started = time.perf_counter()
        ask = call()
        opened = (time.perf_counter() - started) * 1000
        first = ask(rows[0])[1]
        found, times = zip(*(ask(row) for row in rows), strict=True)
        again = [ask(row)[1] for row in rows]
    (folder / "hits.json").write_text(json.dumps(found))
    p50, p99 = np.percentile(times, [50, 99])
    measured = {"open_ms": opened, "first_ms": first, "p50_ms": p50, "p99_ms": p99, "again_ms": np.median(again)}
    return {**measured, "memory": peak()}


def cold_row(engine: str, folder: Path) -> dict[str, Any]:
    """Open and ask once in this process, with nothing of the index in the page cache."""
    queries = load(folder / "collection", "queries")
    with quiet():
        call = opener(engine, folder)
        evict(folder)
        started = time.perf_counter()
        ask = call()
        opened = (time.perf_counter() - started) * 1000
        return {"cold_open_ms": opened, "cold_first_ms": ask(queries[0])[1]}


def evict(folder: Path) -> None:
    """Ask the system to forget what it holds of the files below a folder."""
    os.sync()
    for path in folder.rglob("*"):
        if path.is_file() and hasattr(os, "posix_fadvise"):
            with path.open("rb") as stream:
                os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


class quiet:
    """Send what libraries print to standard error."""

    def __enter__(self) -> None:
        self._kept = os.dup(1)
        os.dup2(2, 1)

    def __exit__(self, *_: object) -> None:
        sys.stdout.flush()
        os.dup2(self._kept, 1)
        os.close(self._kept)


def recall(made: Vectors, found: list[list[int]]) -> float:
    """Mean share of the best documents, scored again, that came back."""
    shares = []
    for place, ids in enumerate(found):
        best = made.best[place][made.best[place] > 0]
        if not len(best):
            continue
        scores = made.documents[ids] @ made.queries[place].toarray().ravel() if ids else np.zeros(0)
        shares.append(min(1.0, float((scores >= best[-1] * (1 - TIE)).sum()) / len(best)))
    return float(np.mean(shares))


def measure_pipeline(options: argparse.Namespace, results: Results, folder: Path) -> None:
    """Time the stages, unless they are there."""
    # It loads torch, which would count as memory of the engines.
    from search_pipeline import pipeline

    if not any((row["model"], row["asked_for"]) == (options.model, options.pipeline) for row in results.stages):
        found = pipeline(options.model, options.pipeline, folder, options.threads)
        common = {"model": options.model, "asked_for": options.pipeline, "threads": options.threads}
        # One size is enough to look at.
        results.stages = [{**common, **row} for row in found]
        results.write()
    for row in results.stages:
        print(
            f"{row['stage']:24} {row['seconds']:9.3f} s; {row['floor']} {row['floor_seconds']:.3f} s", file=sys.stderr
        )


def summary(row: dict[str, Any]) -> str:
    """One line for people."""
    times = ", ".join(f"{name} {row[f'{name}_ms']:.2f}" for name in ("open", "first", "p50", "p99", "again"))
    return (
        f"{row['collection']} {row['documents']:,} x {row['entries']:.0f}, {row['engine']}: "
        f"built in {row['build_s']:.1f} s, {row['bytes'] / 1e6:.0f} MB, {row['memory'] / 1e6:.0f} MB held; {times} ms; "
        f"recall {row[f'recall@{TOP_K}']:.4f}"
    )


def peak() -> int:
    """Most memory that this process held at once."""
    status = Path("/proc/self/status")
    if status.exists():
        # What getrusage tells starts with the memory of the process that started this one.
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def installed(package: str) -> bool:
    try:
        return bool(version(package))
    except PackageNotFoundError:
        return False


def remove(path: Path) -> None:
    """Remove a folder, if it is there."""
    shutil.rmtree(path, ignore_errors=True)


def machine() -> dict[str, Any]:
    """Where this ran."""
    return {"threads": 1, "python": platform.python_version(), "processor": platform.machine()}


def libraries() -> dict[str, str]:
    """Versions of what the engines are made of."""
    return {name: version(name) for name in LIBRARIES if installed(name)}


if __name__ == "__main__":
    main()
