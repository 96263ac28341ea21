"""Encoding a corpus into part files: atomic, resumable, by one process, several, or a cluster.

A part is a function of its documents and the settings alone, so it does not matter who makes it or when.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from isthmus.errors import InputError, OutputError
from isthmus.index.encoded_files import (
    HEADER,
    TOKENS,
    Encode,
    Encoding,
    corpus_digest,
    make_part,
    part_metadata,
    part_name,
    read_encoding,
)
from isthmus.index.format import locked, writing
from isthmus.index.quantize import Weights
from isthmus.reading.corpus import Corpus, Document, in_windows
from isthmus.reading.storage import atomic_write


class Pool(Protocol):
    """Who makes parts: this process, others, or a cluster."""

    size: int

    def submit(self, documents: Sequence[Document], weights: Weights) -> Future[bytes]:
        """Start :func:`make_part`."""


class Inline:
    """Makes parts in this process, at once.

    Args:
        encode: Texts to vectors.
        vocabulary_size: Dimensions of the vectors.
    """

    size = 1

    def __init__(self, encode: Encode, vocabulary_size: int) -> None:
        self._encode = encode
        self._vocabulary_size = vocabulary_size

    def submit(self, documents: Sequence[Document], weights: Weights) -> Future[bytes]:
        """Make a part and give it as a future that is done."""
        future: Future[bytes] = Future()
        future.set_result(make_part(documents, self._encode, self._vocabulary_size, weights))
        return future


def write_parts(
    corpus: Corpus,
    folder: Path,
    encoding: Encoding,
    pool: Pool,
    *,
    tokens: Sequence[str] = (),
    on_part: Callable[[int, bool], None] = lambda documents, fresh: None,
) -> Encoding:
    """Encode what is not encoded yet.

    Args:
        corpus: The whole corpus, from its start, also when an earlier run is continued.
        folder: Where the parts go.
        encoding: Encoder and settings.
        pool: Who makes the parts.
        tokens: What stands for each dimension.
        on_part: Called with the number of documents of each finished part and whether this run made it.

    Returns:
        ``encoding`` with its counts.

    Raises:
        InputError: If the folder was begun with another encoder, other settings or another corpus.
        OutputError: If another process writes there, or the disk is full; finished parts are kept.
        CollectionError: If the corpus is malformed.
    """
    with locked(folder), writing(folder):
        _begin(folder, encoding, tokens)
        totals = np.zeros(3, dtype=np.int64)
        error, parts = 0.0, 0
        for number, metadata, fresh in _finished(corpus, folder, encoding, pool):
            totals += metadata["counts"]
            error, parts = max(error, metadata["error"]), max(parts, number + 1)
            on_part(metadata["counts"][0], fresh)
        if len(made := sorted(folder.glob("part-*.safetensors"))) > parts:
            raise InputError(_other_corpus(made[-1]))
        documents, postings, empty = totals.tolist()
        complete = {"documents": documents, "postings": postings, "parts": parts, "empty": empty, "error": error}
        done = replace(encoding, complete=complete)
        atomic_write(folder / HEADER, done.to_bytes())
    return done


def _begin(folder: Path, encoding: Encoding, tokens: Sequence[str]) -> None:
    for unfinished in folder.glob(".part-*.safetensors.*"):
        unfinished.unlink(missing_ok=True)
    if not (folder / HEADER).exists():
        others = sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
        if set(others) - {TOKENS}:
            raise OutputError(f"{folder} must be empty or an encoded corpus, got {others[0]}; choose another folder")
        content = json.dumps(list(tokens), ensure_ascii=False).encode("utf-8", errors="surrogatepass")
        atomic_write(folder / TOKENS, content)
        atomic_write(folder / HEADER, encoding.to_bytes())
        return
    found = read_encoding(folder)
    found.identity.check(encoding.identity, f"the vectors in {folder}")
    for name in ("vocabulary_size", "weights", "part_size", "settings"):
        if getattr(found, name) != getattr(encoding, name):
            raise InputError(
                f"{folder} was begun with {name} {getattr(found, name)!r}, got {getattr(encoding, name)!r}; use the "
                "same, or choose another folder"
            )


def _finished(
    corpus: Corpus, folder: Path, encoding: Encoding, pool: Pool
) -> Iterator[tuple[int, dict[str, Any], bool]]:
    """Number and metadata of each part, found or made."""
    running: list[tuple[int, Future[bytes]]] = []
    numbered = zip(count(), in_windows(corpus, encoding.part_size), strict=False)
    for number, documents in numbered:
        path = folder / part_name(number)
        if path.exists():
            metadata = part_metadata(path)
            if metadata["corpus"] != corpus_digest(documents):
                raise InputError(_other_corpus(path))
            yield number, metadata, False
            continue
        running.append((number, pool.submit(documents, encoding.weights)))
        # Twice as many as there are workers, so that none waits while this process reads and writes.
        while len(running) >= 2 * pool.size - 1:
            yield _write_part(folder, *running.pop(0))
    while running:
        yield _write_part(folder, *running.pop(0))


def _write_part(folder: Path, number: int, future: Future[bytes]) -> tuple[int, dict[str, Any], bool]:
    path = folder / part_name(number)
    atomic_write(path, future.result())
    return number, part_metadata(path), True


def _other_corpus(path: Path) -> str:
    return (
        f"{path} was made of other documents than the corpus has in that place; the corpus must be the one that "
        f"{path.parent} was begun with: choose another folder for a changed one"
    )
