"""The files of an encoded corpus.

::

    encoded/
      encoding.json             settings and the encoder's fingerprint; "complete" once every part is there
      tokens.json               what stands for each dimension
      part-00000000.safetensors documents 0 to 1023 with their vectors, in the order of the corpus, and so on
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors
from scipy.sparse import csr_matrix

from isthmus.encoders.fingerprint import Identity
from isthmus.errors import IndexFileError, InputError, NotFoundError
from isthmus.index.format import check_version
from isthmus.index.quantize import Weights, error_bound, pack, scale_for, unpack
from isthmus.reading.corpus import Document

FORMAT = "isthmus-encoding"
VERSION = 1
HEADER = "encoding.json"
TOKENS = "tokens.json"
REMEDY = "remove the file and run isthmus encode again"
Encode = Callable[[Sequence[str]], csr_matrix]


@dataclass(frozen=True)
class Encoding:
    """What an encoded corpus was made with; the same settings continue it, others are refused.

    Attributes:
        identity: The encoder.
        vocabulary_size: Dimensions of the vectors.
        weights: How weights are stored.
        part_size: Documents in a part.
        settings: Options of :func:`isthmus.encoders.encoding.encode_texts`.
        complete: Documents, postings, parts, documents without text, and the error bound of the weights, once all is
            done.
    """

    identity: Identity
    vocabulary_size: int
    weights: Weights
    part_size: int
    settings: dict[str, Any] = field(default_factory=dict)
    complete: dict[str, Any] | None = None

    def to_bytes(self) -> bytes:
        """JSON for :data:`HEADER`."""
        content = {"format": FORMAT, "version": VERSION, **asdict(self)}
        return json.dumps(content, indent=1, ensure_ascii=False).encode()


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
    shape = (len(documents), vocabulary_size)
    return csr_matrix((vectors.data.astype(np.float32), vectors.indices, np.cumsum(lengths)), shape=shape)


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
    vectors = encode_documents(documents, encode, vocabulary_size)
    largest = float(np.abs(vectors.data).max(initial=0.0))
    scale = scale_for(weights, largest)
    lines = [document.to_json() + b"\n" for document in documents]
    tensors = {
        "indptr": vectors.indptr.astype(np.int64),
        "indices": vectors.indices.astype(np.int32),
        "weights": pack(vectors.data, weights, scale),
        "documents": np.frombuffer(b"".join(lines), dtype=np.uint8),
    }
    metadata = {
        "corpus": corpus_digest(documents),
        "digest": _digest(tensors),
        "scale": scale,
        "error": error_bound(weights, largest),
        "counts": [len(documents), vectors.nnz, sum(not document.content for document in documents)],
    }
    # One entry, because safetensors writes several in any order, and equal parts are to be equal files.
    return bytes(save_tensors(tensors, metadata={"part": json.dumps(metadata)}))


def corpus_digest(documents: Sequence[Document]) -> str:
    """Digest of the documents a part was made of."""
    digest = hashlib.blake2b(digest_size=16)
    for document in documents:
        digest.update(document.to_json() + b"\n")
    return digest.hexdigest()


def read_encoding(folder: Path) -> Encoding:
    """Read the header of an encoded corpus.

    Raises:
        NotFoundError: If there is none.
        IndexFileError: If it is damaged or of a later version.
    """
    path = folder / HEADER
    try:
        content = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise NotFoundError(f"{folder} must be an encoded corpus, but has no {HEADER}; run isthmus encode") from error
    except (OSError, ValueError) as error:
        raise IndexFileError(f"{path} is damaged ({error}); {REMEDY}") from error
    check_version(content, path, FORMAT, VERSION)
    try:
        content = {key: value for key, value in content.items() if key not in ("format", "version")}
        return Encoding(**{**content, "identity": Identity(**content["identity"])})
    except (KeyError, TypeError) as error:
        raise IndexFileError(f"{path} is damaged ({error!r}); {REMEDY}") from error


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
    try:
        with safe_open(path, framework="numpy") as file:
            metadata: dict[str, Any] = json.loads((file.metadata() or {})["part"])
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise IndexFileError(f"{path} is damaged ({error}); {REMEDY}") from error
    return metadata


def _read_part(path: Path, vocabulary_size: int) -> tuple[list[Document], csr_matrix]:
    metadata = part_metadata(path)
    try:
        tensors = load_tensors(path.read_bytes())
    except (OSError, SafetensorError) as error:
        raise IndexFileError(f"{path} is damaged ({error}); {REMEDY}") from error
    if _digest(tensors) != metadata["digest"]:
        raise IndexFileError(f"{path} is damaged (its digest differs); {REMEDY}")
    documents = [Document.from_json(line) for line in tensors["documents"].tobytes().splitlines()]
    data = unpack(tensors["weights"], metadata["scale"])
    shape = (len(documents), vocabulary_size)
    return documents, csr_matrix((data, tensors["indices"], tensors["indptr"]), shape=shape)


def _digest(tensors: dict[str, NDArray[Any]]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for name in sorted(tensors):
        digest.update(f"{name} {tensors[name].dtype} {tensors[name].shape}".encode())
        digest.update(np.ascontiguousarray(tensors[name]).data)
    return digest.hexdigest()
