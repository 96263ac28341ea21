"""The engines of benchmarks/search.py: how each is built from vectors, opened and asked."""

from __future__ import annotations

import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix
from search_collections import TOP_K, load, windows

from isthmus.encoders.fingerprint import Fingerprint
from isthmus.engines import open_engine
from isthmus.engines.base import Header, Location
from isthmus.index.format import Manifest
from isthmus.index.writer import IndexWriter
from isthmus.reading.corpus import Document

IDENTITY = Fingerprint("synthetic", "synthetic")
TEXT = "A passage of two hundred characters, which an index stores and reads back for every hit that it shows. " * 2
# Milvus Lite reads all vectors into Python objects at the first search of every process.
LARGEST = {"milvus-lite": 20_000}
MODULES = {
    "seismic": ("isthmus.engines.seismic", "seismic"),
    "milvus-lite": ("isthmus.engines.milvus", "pymilvus", "milvus_lite"),
}
Ask = Callable[[csr_matrix], tuple[list[int], float]]


def build(engine: str, collection: Path, folder: Path) -> None:
    """From vectors on the disk to an index on the disk."""
    documents = load(collection, "documents")
    BUILDERS[engine](documents, folder)


def embedded(weights: Any) -> Callable[[csr_matrix, Path], None]:
    def make(documents: csr_matrix, folder: Path) -> None:
        new = Manifest(0, documents.shape[1], weights, True, IDENTITY)
        with IndexWriter(folder / "idx", new=new) as writer:
            for start, vectors in windows(documents):
                writer.add(named(start, vectors.shape[0]), vectors)
            writer.commit()

    return make


def seismic(documents: csr_matrix, folder: Path) -> None:
    from isthmus.engines.seismic import make_lists

    embedded("f32")(documents, folder)
    make_lists(folder / "idx")


def milvus(documents: csr_matrix, folder: Path) -> None:
    from isthmus.engines.milvus import Milvus

    server = Milvus(Location.parse(f"milvus:{folder / 'vectors.db'}"))
    server.create(Header(IDENTITY, documents.shape[1]))
    for start, vectors in windows(documents):
        server.put(named(start, vectors.shape[0]), vectors, text=True)
    server.flush()
    server.close()


def by_document(documents: csr_matrix, folder: Path) -> None:
    for name in ("data", "indices", "indptr"):
        np.save(folder / f"{name}.npy", getattr(documents, name))
    np.save(folder / "shape.npy", np.array(documents.shape))


def by_dimension(documents: csr_matrix, folder: Path) -> None:
    by_document(documents.tocsc(), folder)


def named(start: int, count: int) -> list[Document]:
    return [Document(str(start + place), TEXT) for place in range(count)]


BUILDERS: dict[str, Callable[[csr_matrix, Path], None]] = {
    "embedded, f32": embedded("f32"),
    "embedded, f16": embedded("f16"),
    "embedded, u8": embedded("u8"),
    "seismic": seismic,
    "scipy, by document": by_document,
    "numpy, by dimension": by_dimension,
    "milvus-lite": milvus,
}


def opener(engine: str, folder: Path) -> Callable[[], Ask]:
    """What opens an engine; libraries are loaded before, the index is not."""
    if engine == "scipy, by document":
        return lambda: scipy_product(folder)
    if engine == "numpy, by dimension":
        return lambda: numpy_lists(folder)
    urls = {"seismic": f"seismic:{folder / 'idx'}", "milvus-lite": f"milvus:{folder / 'vectors.db'}"}
    for module in MODULES.get(engine, ("isthmus.engines.embedded",)):
        import_module(module)

    def open_url() -> Ask:
        opened = open_engine(urls.get(engine, str(folder / "idx")))
        return lambda query: timed(lambda: [int(hit.id) for hit in opened.search(query, TOP_K)])

    return open_url


def scipy_product(folder: Path) -> Ask:
    """One product of the matrix with a dense query, then the best scores."""
    data, indices, indptr, shape = arrays(folder)
    documents = csr_matrix((data, indices, indptr), shape=shape, copy=False)
    return lambda query: timed(lambda: best(documents @ query.toarray().ravel()))


def numpy_lists(folder: Path) -> Ask:
    """Inverted lists in plain numpy: what a few lines give."""
    data, rows, starts, shape = arrays(folder)

    def ask(query: csr_matrix) -> list[int]:
        scores = np.zeros(shape[0], dtype=np.float32)
        for term, weight in zip(query.indices, query.data, strict=True):
            span = slice(starts[term], starts[term + 1])
            # A document comes once in a list, so nothing is added twice.
            scores[rows[span]] += weight * data[span]
        return best(scores)

    return lambda query: timed(lambda: ask(query))


def arrays(folder: Path) -> tuple[Any, Any, Any, tuple[int, int]]:
    data, indices, indptr = (np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("data", "indices", "indptr"))
    rows, columns = np.load(folder / "shape.npy").tolist()
    return data, indices, indptr, (rows, columns)


def best(scores: Any) -> list[int]:
    found = np.argpartition(-scores, TOP_K)[:TOP_K] if len(scores) > TOP_K else np.arange(len(scores))
    return found[scores[found] > 0].tolist()


def timed(call: Callable[[], list[int]]) -> tuple[list[int], float]:
    """A result with its milliseconds."""
    started = time.perf_counter()
    found = call()
    return found, (time.perf_counter() - started) * 1000
