"""Collections of sparse vectors for benchmarks/search.py: made up, or of a real encoder."""

from __future__ import annotations

import json
import lzma
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, vstack

from isthmus.index.build import PART_SIZE
from isthmus.index.encoded_files import read_parts
from isthmus.index.exact import search

VOCABULARY, TOPICS, TOPIC_TERMS = 30_522, 2_000, 400
# Entries drawn for a document; some columns come twice and count once.
DRAWN, SHARE_OF_TOPIC = 200, 0.6
WEIGHT_MEAN, WEIGHT_SPREAD, WEIGHT_LARGEST = -0.6, 0.7, 3.5
QUERY_TERMS = (20, 41)
CHUNK = 10_000
TOP_K = 10
TARGET = "ko"


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
        parts.append(rows_of(rng, rows, columns(rng, rows, topic, terms), size))
        topics.append(topic)
    made = vstack(parts, format="csr")
    all_topics = np.concatenate(topics)
    lists = []
    for place in rng.integers(0, documents, queries):
        size = int(rng.integers(*QUERY_TERMS))
        own = made[int(place)].indices
        taken = rng.choice(own, min(len(own), int(size * 0.7)), replace=False)
        others = columns(rng, np.zeros(size - len(taken), dtype=np.int64), all_topics[place : place + 1], terms)
        lists.append(rows_of(rng, np.zeros(size, dtype=np.int64), np.concatenate([taken, others]), 1))
    return with_best(made, vstack(lists, format="csr"))


def columns(rng: Any, rows: NDArray[np.int64], topic: NDArray[np.int64], terms: NDArray[np.int64]) -> Any:
    """A column for every entry: by rank from the topic of its row, or from the vocabulary."""
    of_topic = rng.random(len(rows)) < SHARE_OF_TOPIC
    chosen = np.searchsorted(ranks(VOCABULARY), rng.random(len(rows)))
    place = np.searchsorted(ranks(TOPIC_TERMS), rng.random(int(of_topic.sum())))
    chosen[of_topic] = terms[topic[rows[of_topic]], place]
    return chosen


def ranks(size: int) -> NDArray[np.float64]:
    """Cumulative shares of a Zipf-Mandelbrot law."""
    shares = 1 / (np.arange(size) + 2.7) ** 1.07
    return np.cumsum(shares / shares.sum())[:-1]


def rows_of(rng: Any, rows: NDArray[np.int64], found: Any, size: int) -> csr_matrix:
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

    texts, headings = passages(Path(os.environ["ISTHMUS_DATA"]))
    encoder, _ = isthmus.transfer(
        "isthmus/mini-splade-en",
        target_tokenizer=f"isthmus/tokenizer-{TARGET}",
        bridge="isthmus/mini-bridge",
        show_progress_bar=False,
    )
    encode_corpus(encoder, [{"id": str(place), "text": text} for place, text in enumerate(texts)], folder)
    # All of them, so that a smaller collection is a part of the larger one and nothing is encoded twice.
    found = vstack([vectors for _, vectors in read_parts(folder)], format="csr")[:documents]
    return with_best(found, encode_texts(encoder, headings[:queries], role="query", show_progress_bar=False))


def passages(data: Path) -> tuple[list[str], list[str]]:
    """Different passages, sections of documentation and distractors, and the headings of the sections."""
    sections = json_lines(data / "sections" / f"en-{TARGET}.jsonl.xz")
    distractors = json_lines(data / "distractors" / f"{TARGET}.jsonl.xz")
    texts = dict.fromkeys([*(row["passage"] for row in sections), *(row["text"] for row in distractors)])
    headings = list(dict.fromkeys(row["query"] for row in sections))
    return list(texts), [headings[place] for place in np.random.default_rng(0).permutation(len(headings))]


def json_lines(path: Path) -> list[dict[str, Any]]:
    with lzma.open(path, "rt", encoding="utf-8") as stream:
        return [json.loads(line) for line in stream]


def with_best(documents: csr_matrix, queries: csr_matrix) -> Vectors:
    """Add the scores of the best documents of each query."""
    documents.sort_indices()
    queries.sort_indices()
    return Vectors(documents, queries, search(queries, documents, TOP_K)[1])


def save(folder: Path, vectors: Vectors) -> None:
    """Write arrays that can be mapped into memory."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, matrix in (("documents", vectors.documents), ("queries", vectors.queries)):
        np.save(folder / f"{name}.shape.npy", np.array(matrix.shape))
        np.save(folder / f"{name}.indptr.npy", matrix.indptr.astype(np.int64))
        np.save(folder / f"{name}.indices.npy", matrix.indices.astype(np.int32))
        np.save(folder / f"{name}.data.npy", matrix.data.astype(np.float32))
    np.save(folder / "best.npy", vectors.best)


def load(folder: Path, name: str) -> csr_matrix:
    """Map a matrix that :func:`save` wrote."""
    arrays = [np.load(folder / f"{name}.{part}.npy", mmap_mode="r") for part in ("data", "indices", "indptr")]
    return csr_matrix(tuple(arrays), shape=tuple(np.load(folder / f"{name}.shape.npy")), copy=False)


def windows(documents: csr_matrix) -> Iterator[tuple[int, csr_matrix]]:
    """The matrix in pieces of as many rows as encoding gives."""
    for start in range(0, documents.shape[0], PART_SIZE):
        yield start, documents[start : start + PART_SIZE]
