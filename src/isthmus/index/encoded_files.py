"""A corpus that is encoded: its files, and how they are made, resumable, by one process, several or a cluster.

A part is a function of its documents and the settings alone, so it does not matter who makes it or when.

::

    encoded/
      encoding.json             settings and the encoder's fingerprint; "complete" once every part is there
      tokens.json               what stands for each dimension
      part-00000000.safetensors documents 0 to 1023 with their vectors, in the order of the corpus, and so on
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors
from scipy.sparse import csr_matrix

from isthmus.encoders.options import CorpusOptions
from isthmus.encoders.truncation import count_truncated
from isthmus.errors import IndexFileError, InputError, OutputError
from isthmus.index.encoded_header import HEADER, EncodedHeader
from isthmus.index.options import Shard, Weights
from isthmus.index.quantize import error_bound, pack, scale_for, unpack
from isthmus.reading.corpus import Document, in_windows
from isthmus.reading.disk import locked, writing
from isthmus.reading.storage import atomic_write

TOKENS = "tokens.json"
Encode = Callable[[Sequence[str]], csr_matrix]


def encode_documents(documents: Sequence[Document], encode: Encode, vocabulary_size: int) -> csr_matrix:
    """Vectors of documents, one row each; a document without text gets an empty one.

    Args:
        documents: A window of the corpus; ``encode`` sorts it by length.
        encode: Texts to vectors.
        vocabulary_size: Columns of the result.
    """
    contents = [document.content for document in documents]
    filled = [row for row, content in enumerate(contents) if content]
    vectors = encode([contents[row] for row in filled]) if filled else csr_matrix((0, vocabulary_size))
    lengths = np.zeros(len(documents) + 1, dtype=np.int64)
    lengths[np.asarray(filled, dtype=np.int64) + 1] = np.diff(vectors.indptr)
    starts, shape = np.cumsum(lengths), (len(documents), vocabulary_size)
    return csr_matrix((vectors.data.astype(np.float32), vectors.indices, starts), shape=shape)


def make_part(documents: Sequence[Document], encode: Encode, vocabulary_size: int, weights: Weights) -> bytes:
    """Encode a window of the corpus and write it out as one safetensors file, in memory.

    Args:
        documents: The window.
        encode: Texts to vectors.
        vocabulary_size: Dimensions of the vectors.
        weights: How to store weights; u8 has one scale per part.

    Raises:
        InputError: If a vector does not fit the storage.
    """
    with count_truncated() as counted:
        vectors = encode_documents(documents, encode, vocabulary_size)
    largest = float(np.abs(vectors.data).max(initial=0.0))
    scale = scale_for(weights, largest)
    tensors = {
        "indptr": vectors.indptr.astype(np.int64),
        "indices": vectors.indices.astype(np.int32),
        "weights": pack(vectors.data, weights, scale),
        "documents": np.frombuffer(b"".join(one.to_json() + b"\n" for one in documents), dtype=np.uint8),
    }
    metadata = {
        "corpus": corpus_digest(documents),
        "digest": _digest(tensors),
        "scale": scale,
        "error": error_bound(weights, largest),
        "counts": [sum(one.is_first for one in documents), vectors.nnz, sum(not one.content for one in documents)],
        "passages": len(documents),
        "truncated": counted["document"],
    }
    # One entry, because safetensors writes several in any order, and equal parts are to be equal files.
    return bytes(save_tensors(tensors, metadata={"part": json.dumps(metadata)}))


def corpus_digest(documents: Sequence[Document]) -> str:
    """Digest of the documents a part was made of."""
    lines = b"".join(document.to_json() + b"\n" for document in documents)
    return hashlib.blake2b(lines, digest_size=16).hexdigest()


def read_encoding(folder: Path) -> EncodedHeader:
    """Read the header of an encoded corpus.

    Raises:
        NotFoundError: If there is none.
        IndexFileError: If it is damaged or of a later version.
    """
    return EncodedHeader.read(folder)


def read_parts(folder: Path) -> Iterator[tuple[list[Document], csr_matrix]]:
    """Documents and float32 vectors of a complete encoded corpus, part by part.

    Raises:
        InputError: If the encoding was not finished.
        IndexFileError: If a part is missing or damaged.
    """
    encoding = read_encoding(folder)
    if encoding.complete is None:
        raise InputError(f"{folder} must be finished; run isthmus encode again with the same corpus to continue it")
    for number in range(encoding.complete["parts"]):
        yield _read_part(folder / part_name(number), encoding.vocabulary_size)


def read_tokens(folder: Path) -> list[str] | None:
    """What stands for each dimension, where it is known."""
    try:
        tokens: list[str] = json.loads((folder / TOKENS).read_bytes().decode("utf-8", errors="surrogatepass"))
    except (OSError, ValueError):
        return None
    return tokens or None


def part_name(number: int) -> str:
    """File of a part."""
    return f"part-{number:08d}.safetensors"


def part_metadata(path: Path) -> dict[str, Any]:
    """What a part says about itself.

    Raises:
        IndexFileError: If it is missing or damaged.
    """
    return _opened_part(path)[0]


def _opened_part(path: Path) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """What a part says about itself, and its tensors; read and not mapped, because a mapped file may be cut off."""
    try:
        content = path.read_bytes()
        tensors = load_tensors(content)
        # The length of the header, and the header.
        head = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        metadata: dict[str, Any] = json.loads(head["__metadata__"]["part"])
        counts = metadata["counts"]
        if len(counts) != 3 or any(type(count) is not int or not 0 <= count < 2**63 for count in counts):
            raise ValueError(f"counts must be three numbers, got {counts!r:.80}")
        float(metadata["error"])
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise EncodedHeader.damaged(path, error) from error
    return metadata, tensors


def _read_part(path: Path, vocabulary_size: int) -> tuple[list[Document], csr_matrix]:
    metadata, tensors = _opened_part(path)
    try:
        if _digest(tensors) != metadata["digest"]:
            raise EncodedHeader.damaged(path, "its digest differs")
        documents = [Document.from_json(line) for line in tensors["documents"].tobytes().splitlines()]
        data = unpack(tensors["weights"], metadata["scale"])
        shape = (len(documents), vocabulary_size)
        vectors = csr_matrix((data, tensors["indices"], tensors["indptr"]), shape=shape)
        vectors.check_format()
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        if isinstance(error, IndexFileError):
            raise
        raise EncodedHeader.damaged(path, error) from error
    return documents, vectors


def _digest(tensors: dict[str, NDArray[Any]]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for name in sorted(tensors):
        digest.update(f"{name} {tensors[name].dtype} {tensors[name].shape}".encode())
        digest.update(np.ascontiguousarray(tensors[name]).data)
    return digest.hexdigest()


class PartMaker(Protocol):
    """Who makes the parts of an encoded corpus: this process, others, or a cluster."""

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


def check_begun(folder: Path) -> None:
    """Refuse a folder that holds something else than parts, before anything is loaded; writes nothing."""
    if (folder / HEADER).exists():
        read_encoding(folder)
        return
    others = sorted(path.name for path in folder.iterdir() if path.name[0] != ".") if folder.is_dir() else []
    if set(others) - {TOKENS}:
        raise OutputError(f"{folder} must be empty or an encoded corpus, got {others[0]}; choose another folder")


def write_parts(
    corpus: Iterable[Document],
    folder: Path,
    encoding: EncodedHeader,
    maker: PartMaker,
    *,
    tokens: Sequence[str] = (),
    on_part: Callable[[int, bool], None] = lambda documents, fresh: None,
    shard: Shard | None = None,
) -> EncodedHeader:
    """Encode what is not encoded yet.

    Args:
        corpus: The whole corpus, from its start, also when an earlier run is continued.
        folder: Where the parts go.
        encoding: Encoder and settings.
        maker: Who makes the parts.
        tokens: What stands for each dimension.
        on_part: Called with the number of documents of each finished part and whether this run made it.
        shard: Which parts to make, where others make the rest; None makes all, and completes the folder.

    Returns:
        ``encoding`` with its counts; those of the shard.

    Raises:
        InputError: If the folder was begun with another encoder, other settings or another corpus.
        OutputError: If another process writes there, or the disk is full; finished parts are kept.
        CollectionError: If the corpus is malformed.
    """
    with locked(folder, "" if shard is None else shard.name), writing(folder):
        _begin(folder, encoding, tokens, clean=shard is None)
        totals, error, parts = np.zeros(5, dtype=np.int64), 0.0, 0
        for metadata, fresh in _finished(corpus, folder, encoding, maker, shard or Shard()):
            totals += [*metadata["counts"], metadata.get("passages", 0), metadata.get("truncated", 0)]
            error, parts = max(error, metadata["error"]), parts + 1
            on_part(metadata["counts"][0], fresh)
        if shard is None and len(made := sorted(folder.glob("part-*.safetensors"))) > parts:
            raise InputError(_other_corpus(made[-1]))
        documents, postings, empty, passages, truncated = totals.tolist()
        complete = {"documents": documents, "postings": postings, "parts": parts, "empty": empty, "error": error}
        split = {"truncated": truncated} | ({"passages": passages} if encoding.split else {})
        done = replace(encoding, complete=complete | split)
        if shard is None:
            atomic_write(folder / HEADER, done.to_bytes())
    return done


def _begin(folder: Path, encoding: EncodedHeader, tokens: Sequence[str], *, clean: bool) -> None:
    patterns = (".part-*.safetensors.*", f".{HEADER}.*", f".{TOKENS}.*")
    for unfinished in (one for pattern in patterns for one in folder.glob(pattern) if clean):
        unfinished.unlink(missing_ok=True)
    check_begun(folder)
    if not (folder / HEADER).exists():
        content = json.dumps(list(tokens), ensure_ascii=False)
        atomic_write(folder / TOKENS, content.encode("utf-8", errors="surrogatepass"))
        atomic_write(folder / HEADER, encoding.to_bytes())
        return
    begun = read_encoding(folder)
    begun.identity.check(encoding.identity, f"the vectors in {folder}")
    # Options that came later than a header were not stated there, and had their defaults.
    try:
        both = [replace(one, settings=CorpusOptions.of(None, **one.settings).to_dict()) for one in (begun, encoding)]
    except (TypeError, ValueError) as error:
        raise EncodedHeader.damaged(folder / HEADER, error) from error
    for name in ("vocabulary_size", "weights", "part_size", "settings"):
        found, asked = (getattr(one, name) for one in both)
        if found != asked:
            raise InputError(
                f"{folder} was begun with {name} {found!r}, got {asked!r}; use the same, or choose another folder"
            )


def _finished(
    corpus: Iterable[Document], folder: Path, encoding: EncodedHeader, maker: PartMaker, shard: Shard
) -> Iterator[tuple[dict[str, Any], bool]]:
    """Metadata of each part of a shard, found or made."""
    running: list[tuple[int, Future[bytes]]] = []
    windows = in_windows(corpus, encoding.part_size)
    for number, documents in islice(enumerate(windows), shard.number - 1, None, shard.count):
        path = folder / part_name(number)
        if path.exists():
            metadata = part_metadata(path)
            if metadata.get("corpus") != corpus_digest(documents):
                raise InputError(_other_corpus(path))
            yield metadata, False
            continue
        running.append((number, maker.submit(documents, encoding.weights)))
        # Twice as many as there are workers, so that none waits while this process reads and writes.
        while len(running) >= 2 * maker.size - 1:
            yield _write_part(folder, *running.pop(0))
    while running:
        yield _write_part(folder, *running.pop(0))


def _write_part(folder: Path, number: int, future: Future[bytes]) -> tuple[dict[str, Any], bool]:
    path = folder / part_name(number)
    atomic_write(path, future.result())
    return part_metadata(path), True


def _other_corpus(path: Path) -> str:
    return (
        f"{path} was made of other documents than the corpus has in that place; the corpus must be the one that "
        f"{path.parent} was begun with: choose another folder for a changed one"
    )
