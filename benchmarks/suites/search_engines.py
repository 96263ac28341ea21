"""The collections and engines of ``search.py``: vectors made up or encoded; how each engine is built."""

from __future__ import annotations

import json
import lzma
import os
from collections.abc import Callable, Iterator
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, vstack

from benchmarks.harness import BRIDGE, ENCODER, TOKENIZER, timed
from isthmus.encoders.fingerprint import Fingerprint
from isthmus.engines import open_engine
from isthmus.engines.base import Header, Location
from isthmus.index.build import PART_SIZE
from isthmus.index.encoded_files import read_parts
from isthmus.index.exact import search
from isthmus.index.format import Manifest
from isthmus.index.writer import IndexWriter
from isthmus.reading.corpus import Document

VOCABULARY, TOPICS, TOPIC_TERMS = 30_522, 2_000, 400
# Entries drawn for a document; some columns come twice and count once.
DRAWN, SHARE_OF_TOPIC = 200, 0.6
WEIGHT_MEAN, WEIGHT_SPREAD, WEIGHT_LARGEST = -0.6, 0.7, 3.5
QUERY_TERMS = (20, 41)
CHUNK = 10_000
TOP_K = 10
TARGET = "ko"
IDENTITY = Fingerprint("synthetic", "synthetic")
TEXT = "A passage of two hundred characters, which an index stores and reads back for every hit that it shows. " * 2
# Milvus Lite reads all vectors into Python objects at the first search of every process.
LARGEST = {"milvus-lite": 20_000}
MODULES = {
    "seismic": ("isthmus.engines.seismic", "seismic"),
    "milvus-lite": ("isthmus.engines.milvus", "pymilvus", "milvus_lite"),
}
# What is found, with its milliseconds.
Ask = Callable[[csr_matrix], tuple[list[int], float]]


class Vectors(NamedTuple):
    """Documents, queries, and the best documents of each query with their scores."""

    documents: csr_matrix
    queries: csr_matrix
    best: NDArray[np.float32]


def synthetic(documents: int, queries: int) -> Vectors:
    """Columns by Zipf's law, from one of 2,000 topics or from the whole vocabulary; log-normal weights.

    A query takes most of its columns from a document, the rest from that document's topic: something is relevant.
    """
    rng = np.random.default_rng(0)
    terms = np.stack([rng.permutation(VOCABULARY)[:TOPIC_TERMS] for _ in range(TOPICS)])
    parts, topics = [], []
    for start in range(0, documents, CHUNK):
        size = min(CHUNK, documents - start)
        topic = rng.integers(0, TOPICS, size)
        drawn = np.clip(rng.normal(DRAWN, DRAWN / 4, size), 30, 3 * DRAWN).astype(np.int64)
        rows = np.repeat(np.arange(size), drawn)
        parts.append(_rows_of(rng, rows, _columns(rng, rows, topic, terms), size))
        topics.append(topic)
    made, all_topics = vstack(parts, format="csr"), np.concatenate(topics)
    lists = []
    for place in rng.integers(0, documents, queries):
        size = int(rng.integers(*QUERY_TERMS))
        own = made[int(place)].indices
        taken = rng.choice(own, min(len(own), int(size * 0.7)), replace=False)
        others = _columns(rng, np.zeros(size - len(taken), dtype=np.int64), all_topics[place : place + 1], terms)
        lists.append(_rows_of(rng, np.zeros(size, dtype=np.int64), np.concatenate([taken, others]), 1))
    return _with_best(made, vstack(lists, format="csr"))


def _columns(rng: Any, rows: NDArray[np.int64], topic: NDArray[np.int64], terms: NDArray[np.int64]) -> Any:
    """A column for every entry: by rank from the topic of its row, or from the vocabulary."""
    of_topic = rng.random(len(rows)) < SHARE_OF_TOPIC
    chosen = np.searchsorted(_ranks(VOCABULARY), rng.random(len(rows)))
    place = np.searchsorted(_ranks(TOPIC_TERMS), rng.random(int(of_topic.sum())))
    chosen[of_topic] = terms[topic[rows[of_topic]], place]
    return chosen


def _ranks(size: int) -> NDArray[np.float64]:
    """Cumulative shares of a Zipf-Mandelbrot law."""
    shares = 1 / (np.arange(size) + 2.7) ** 1.07
    return np.cumsum(shares / shares.sum())[:-1]


def _rows_of(rng: Any, rows: NDArray[np.int64], found: Any, size: int) -> csr_matrix:
    """A matrix of these entries, each once, with random weights."""
    keys = np.unique(rows * VOCABULARY + found)
    weights = np.minimum(rng.lognormal(WEIGHT_MEAN, WEIGHT_SPREAD, len(keys)), WEIGHT_LARGEST).astype(np.float32)
    starts = np.searchsorted(keys // VOCABULARY, np.arange(size + 1))
    return csr_matrix((weights, (keys % VOCABULARY).astype(np.int32), starts), shape=(size, VOCABULARY))


def real(documents: int, queries: int, folder: Path) -> Vectors:
    """The English mini encoder carried into Korean, over passages of ISTHMUS_DATA; queries are headings of some.

    Raises:
        SystemExit: If ISTHMUS_DATA is not set.
    """
    if "ISTHMUS_DATA" not in os.environ:
        raise SystemExit("the real collection needs the folder that ISTHMUS_DATA names")
    import torch

    import isthmus
    from isthmus.encoders.encoding import encode_texts
    from isthmus.index import encode_corpus

    # Encoding is not what is measured here.
    torch.set_num_threads(os.cpu_count() or 1)
    texts, headings = _passages(Path(os.environ["ISTHMUS_DATA"]))
    tokenizer = TOKENIZER.format(language=TARGET)
    encoder, _ = isthmus.transfer(ENCODER, target_tokenizer=tokenizer, bridge=BRIDGE, show_progress_bar=False)
    encode_corpus(encoder, [{"id": str(place), "text": text} for place, text in enumerate(texts)], folder)
    # All of them, so that a smaller collection is a part of the larger one and nothing is encoded twice.
    found = vstack([vectors for _, vectors in read_parts(folder)], format="csr")[:documents]
    return _with_best(found, encode_texts(encoder, headings[:queries], role="query", show_progress_bar=False))


def _passages(data: Path) -> tuple[list[str], list[str]]:
    """Different passages, sections of documentation and distractors, and the headings of the sections."""
    files = (data / "sections" / f"en-{TARGET}.jsonl.xz", data / "distractors" / f"{TARGET}.jsonl.xz")
    rows = []
    for path in files:
        with lzma.open(path, "rt", encoding="utf-8") as stream:
            rows.append([json.loads(line) for line in stream])
    texts = dict.fromkeys([*(row["passage"] for row in rows[0]), *(row["text"] for row in rows[1])])
    headings = list(dict.fromkeys(row["query"] for row in rows[0]))
    return list(texts), [headings[place] for place in np.random.default_rng(0).permutation(len(headings))]


def _with_best(documents: csr_matrix, queries: csr_matrix) -> Vectors:
    documents.sort_indices()
    queries.sort_indices()
    return Vectors(documents, queries, search(queries, documents, TOP_K)[1])


def save_matrix(folder: Path, name: str, matrix: Any) -> None:
    """Write the arrays of a matrix so that they can be mapped into memory."""
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / f"{name}.shape.npy", np.array(matrix.shape))
    for part, kind in (("data", np.float32), ("indices", np.int32), ("indptr", np.int64)):
        np.save(folder / f"{name}.{part}.npy", getattr(matrix, part).astype(kind))


def _mapped(folder: Path, name: str) -> tuple[tuple[Any, ...], tuple[int, ...]]:
    """The arrays of a matrix that was saved, and its shape."""
    arrays = [np.load(folder / f"{name}.{part}.npy", mmap_mode="r") for part in ("data", "indices", "indptr")]
    return tuple(arrays), tuple(np.load(folder / f"{name}.shape.npy").tolist())


def load_matrix(folder: Path, name: str) -> csr_matrix:
    """Map a matrix that was saved."""
    arrays, shape = _mapped(folder, name)
    return csr_matrix(arrays, shape=shape, copy=False)


def _windows(documents: csr_matrix) -> Iterator[tuple[list[Document], csr_matrix]]:
    """The matrix in pieces of as many rows as encoding gives, with documents."""
    for start in range(0, documents.shape[0], PART_SIZE):
        vectors = documents[start : start + PART_SIZE]
        yield [Document(str(start + place), TEXT) for place in range(vectors.shape[0])], vectors


def _embedded(documents: csr_matrix, folder: Path, weights: Any) -> None:
    with IndexWriter(folder / "idx", new=Manifest(0, documents.shape[1], weights, True, IDENTITY)) as writer:
        for named, vectors in _windows(documents):
            writer.add(named, vectors)
        writer.commit()


def _seismic(documents: csr_matrix, folder: Path) -> None:
    from isthmus.engines.seismic import make_lists

    _embedded(documents, folder, "f32")
    make_lists(folder / "idx")


def _milvus(documents: csr_matrix, folder: Path) -> None:
    from isthmus.engines.milvus import Milvus

    server = Milvus(Location.parse(f"milvus:{folder / 'vectors.db'}"))
    server.create(Header(IDENTITY, documents.shape[1]))
    for named, vectors in _windows(documents):
        server.put(named, vectors, text=True)
    server.flush()
    server.close()


# From vectors to an index in a folder.
BUILDERS: dict[str, Callable[[csr_matrix, Path], None]] = {
    **{f"embedded, {weights}": partial(_embedded, weights=weights) for weights in ("f32", "f16", "u8")},
    "seismic": _seismic,
    "scipy, by document": lambda documents, folder: save_matrix(folder, "index", documents),
    "numpy, by dimension": lambda documents, folder: save_matrix(folder, "index", documents.tocsc()),
    "milvus-lite": _milvus,
}


def opener(engine: str, folder: Path) -> Callable[[], Ask]:
    """What opens an engine; libraries are loaded before, the index is not."""
    if engine == "scipy, by document":
        return lambda: _asking(_scipy_product(folder))
    if engine == "numpy, by dimension":
        return lambda: _asking(_numpy_lists(folder))
    urls = {"seismic": f"seismic:{folder / 'idx'}", "milvus-lite": f"milvus:{folder / 'vectors.db'}"}
    for module in MODULES.get(engine, ("isthmus.engines.embedded",)):
        import_module(module)

    def open_url() -> Ask:
        opened = open_engine(urls.get(engine, str(folder / "idx")))
        return _asking(lambda query: [int(hit.id) for hit in opened.search(query, TOP_K)])

    return open_url


def _asking(ask: Callable[[csr_matrix], list[int]]) -> Ask:
    def call(query: csr_matrix) -> tuple[list[int], float]:
        found, seconds = timed(lambda: ask(query))
        return found, seconds * 1000

    return call


def _scipy_product(folder: Path) -> Callable[[csr_matrix], list[int]]:
    """One product of the matrix with a dense query, then the best scores."""
    documents = load_matrix(folder, "index")
    return lambda query: _best(documents @ query.toarray().ravel())


def _numpy_lists(folder: Path) -> Callable[[csr_matrix], list[int]]:
    """Inverted lists in plain numpy: what a few lines give."""
    (data, rows, starts), shape = _mapped(folder, "index")

    def ask(query: csr_matrix) -> list[int]:
        scores = np.zeros(shape[0], dtype=np.float32)
        for term, weight in zip(query.indices, query.data, strict=True):
            span = slice(starts[term], starts[term + 1])
            # A document comes once in a list, so nothing is added twice.
            scores[rows[span]] += weight * data[span]
        return _best(scores)

    return ask


def _best(scores: Any) -> list[int]:
    found = np.argpartition(-scores, TOP_K)[:TOP_K] if len(scores) > TOP_K else np.arange(len(scores))
    best: list[int] = found[scores[found] > 0].tolist()
    return best
