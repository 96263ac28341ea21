"""The files of an index folder, and the checks between them and whoever reads them.

::

    idx/
      manifest.json               the one file that says what is in the index; replaced in one step
      tokens-00000001.json        what stands for each dimension, for explanations
      segments/00000001/          never changed once the manifest names it
        starts.npy                int64 (vocabulary + 1): where each dimension's list starts
        rows.npy                  int32 (postings): documents of the segment, ascending within a list
        weights.npy               float32, float16 or uint8 (postings)
        documents.jsonl           one document a line, in the order of the corpus
        document_starts.npy       int64 (documents + 1): where each line starts
        id_digests.npy            uint64 (documents), ascending, and id_rows.npy, int32: which row has an id
        field_starts.npy          int64 (fields + 1): where each metadata field starts in the next two
        field_rows.npy            int32: documents that have a value in the field, ascending
        field_codes.npy           int32: which of its values
        field_values.jsonl        the values of each field, one field a line
        deleted-00000003.npy      int32: rows that are deleted as of generation 3
      .lock                       held by the one writer
"""

from __future__ import annotations

import hashlib
import json
import math
import mmap
from collections.abc import Mapping
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, ClassVar

import numpy as np
from numpy.lib.format import dtype_to_descr, write_array_header_1_0
from numpy.typing import NDArray

from isthmus.encoders.fingerprint import Fingerprint
from isthmus.errors import IndexFileError
from isthmus.index.header import VectorHeader, check_version
from isthmus.index.options import Weights
from isthmus.reading.disk import put_through
from isthmus.reading.storage import atomic_write

MANIFEST = "manifest.json"
SEGMENTS = "segments"
REBUILD = "build it again with isthmus index, or restore a copy"
_CHUNK = 2**22
# A .npy file: magic and version, the header's length, the header.
_VERSION_END, _PREAMBLE = 8, 10


@dataclass(frozen=True)
class Stored:
    """Size in bytes and digest of a file."""

    bytes: int
    digest: str


@dataclass(frozen=True)
class SegmentEntry:
    """A segment, as the manifest describes it.

    Attributes:
        name: Its folder.
        documents: Rows, deleted ones included.
        postings: Entries of all lists, those of deleted rows included.
        scale: What stored weights are multiplied by.
        error: How far a stored weight can be from what the encoder gave.
        fields: Metadata fields that can be filtered by.
        files: The files that make it up.
        deleted: File of deleted rows, or None.
        deletions: How many they are.
    """

    name: str
    documents: int
    postings: int
    scale: float
    error: float
    fields: tuple[str, ...]
    files: Mapping[str, Stored]
    deleted: str | None = None
    deletions: int = 0


@dataclass(frozen=True)
class Manifest(VectorHeader):
    """The state of an index at one moment.

    Attributes:
        generation: Counts the changes.
        vocabulary_size: Dimensions of the vectors.
        weights: How weights are stored.
        text: Whether title and text are stored.
        identity: The encoder; None for vectors of unknown origin.
        settings: How the documents were encoded.
        segments: In the order of their documents.
        files: The file of tokens, where there is one.
        documents: How many documents an index of passages has; None for one of documents.
    """

    FORMAT: ClassVar[str] = "isthmus-index"
    VERSION: ClassVar[int] = 2
    FILE: ClassVar[str] = MANIFEST
    ABSENT: ClassVar[str] = f"an index, but has no {MANIFEST}; make one with isthmus index"
    REMEDY: ClassVar[str] = REBUILD

    generation: int
    vocabulary_size: int
    weights: Weights
    text: bool
    identity: Fingerprint | None
    settings: Mapping[str, Any] = field(default_factory=dict)
    segments: tuple[SegmentEntry, ...] = ()
    files: Mapping[str, Stored] = field(default_factory=dict)
    documents: int | None = None

    def to_bytes(self) -> bytes:
        """JSON with a digest of itself."""
        content = self.to_dict()
        return json.dumps(content | {"digest": _digest_of_json(content)}, indent=1, ensure_ascii=False).encode()

    @classmethod
    def from_dict(cls, content: Any, where: str | Path) -> Manifest:
        """Check the digest too."""
        check_version(content, where, cls.FORMAT, cls.VERSION)
        if content.pop("digest", None) != _digest_of_json(content):
            raise cls.damaged(where, "its digest differs")
        return super().from_dict(content, where)

    @classmethod
    def _made(cls, fields: dict[str, Any]) -> Manifest:
        entries = tuple(
            SegmentEntry(**{**entry, "fields": tuple(entry["fields"]), "files": _files(entry)})
            for entry in fields["segments"]
        )
        return super()._made({**fields, "files": _files(fields), "segments": entries})


def read_manifest(folder: Path) -> Manifest:
    """Read and check ``manifest.json``.

    Raises:
        NotFoundError: If there is no index.
        IndexFileError: If it is damaged, of another kind or of a later version.
    """
    return Manifest.read(folder)


def manifest_digest(folder: Path) -> str | None:
    """The digest of ``manifest.json`` as it lies there, damaged or not; None where there is none.

    It tells a writer that an index is the one it saw: the manifest has the generation and the encoder's fingerprint.
    """
    try:
        return digest_of((folder / MANIFEST).read_bytes())
    except FileNotFoundError:
        return None


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Replace ``manifest.json``: readers see the old state or the new one.

    Raises:
        OutputError: If it cannot be written.
    """
    atomic_write(folder / MANIFEST, manifest.to_bytes())


def stored(path: Path) -> Stored:
    """Take the size and the digest of a file."""
    digest = hashlib.blake2b(digest_size=16)
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    return Stored(path.stat().st_size, digest.hexdigest())


def written(path: Path) -> Stored:
    """Write a file through to the disk and take its size and digest."""
    put_through(path)
    return stored(path)


def copy_stored(source: BinaryIO, path: Path, expected: Stored) -> Stored:
    """Copy an open file and write it through to the disk.

    Raises:
        IndexFileError: If it is not as ``expected``, which is given back otherwise.
    """
    digest, size = hashlib.blake2b(digest_size=16), 0
    with path.open("wb") as stream:
        while chunk := source.read(_CHUNK):
            digest.update(chunk)
            size += stream.write(chunk)
    if Stored(size, digest.hexdigest()) != expected:
        raise IndexFileError(f"{source.name} is damaged (its digest differs); {REBUILD}")
    put_through(path)
    return expected


def verify(folder: Path, manifest: Manifest) -> None:
    """Read every file of an index and compare its digest.

    Raises:
        IndexFileError: Names the first file that differs.
    """
    for entry in manifest.segments:
        verify_segment(folder / SEGMENTS / entry.name, entry)
    for name, expected in manifest.files.items():
        _compare(folder / name, expected)


def verify_segment(folder: Path, entry: SegmentEntry) -> None:
    """Read every file of a segment and compare its digest.

    Raises:
        IndexFileError: Names the first file that differs.
    """
    for name, expected in entry.files.items():
        _compare(folder / name, expected)


def digest_of(content: bytes) -> str:
    """The digest by which files are compared."""
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def check_size(path: Path, expected: Stored) -> None:
    """Refuse a file that was cut off or grew.

    Raises:
        IndexFileError: If its size is not what the manifest says, or it is gone.
    """
    try:
        size = path.stat().st_size
    except OSError as error:
        raise IndexFileError(f"{path} is missing ({error.strerror}); {REBUILD}") from error
    if size != expected.bytes:
        raise IndexFileError(f"{path} must have {expected.bytes} bytes, got {size}; it is damaged: {REBUILD}")


def mapped(path: Path) -> mmap.mmap | bytes:
    """Map a file into memory; it stays readable when it is removed."""
    with path.open("rb") as stream:
        # An empty file cannot be mapped.
        return mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) if path.stat().st_size else b""


def write_array(path: Path, array: NDArray[Any]) -> None:
    """Write a ``.npy`` file; what numpy itself buffers is lost without an error where the disk is full."""
    with path.open("wb") as stream:
        write_header(stream, array.dtype, array.shape)
        stream.write(np.ascontiguousarray(array).data)


def write_header(stream: BinaryIO, dtype: Any, shape: tuple[int, ...]) -> None:
    """Write what a ``.npy`` file of version 1 starts with."""
    header = {"descr": dtype_to_descr(np.dtype(dtype)), "fortran_order": False, "shape": shape}
    write_array_header_1_0(stream, header)


def map_array(path: Path, dtype: Any, shape: tuple[int, ...]) -> NDArray[Any]:
    """Map a ``.npy`` file into memory.

    The header must be the one that is expected, so nothing of the file is evaluated: no pickle, and no Python literal,
    which CPython 3.11 before 3.11.5 cannot parse in several threads.

    Raises:
        IndexFileError: If it does not hold an array of this dtype and shape.
        FileNotFoundError: If it is gone.
    """
    content = mapped(path)
    expected = BytesIO()
    write_header(expected, dtype, shape)
    start = _PREAMBLE + int.from_bytes(content[_PREAMBLE - 2 : _PREAMBLE], "little")
    # The padding behind a header is up to numpy.
    if content[:_VERSION_END] != expected.getvalue()[:_VERSION_END] or (
        content[_PREAMBLE:start].rstrip() != expected.getvalue()[_PREAMBLE:].rstrip()
    ):
        raise IndexFileError(f"{path} must hold {np.dtype(dtype)} of shape {shape}; it is damaged: {REBUILD}")
    try:
        return np.frombuffer(content, dtype, math.prod(shape), start).reshape(shape)
    except ValueError as error:
        raise IndexFileError(f"{path} is damaged ({error}); {REBUILD}") from error


def _compare(path: Path, expected: Stored) -> None:
    check_size(path, expected)
    if stored(path) != expected:
        raise IndexFileError(f"{path} is damaged (its digest differs); {REBUILD}")


def _files(content: Mapping[str, Any]) -> dict[str, Stored]:
    return {name: Stored(**file) for name, file in content["files"].items()}


def _digest_of_json(content: Any) -> str:
    return hashlib.blake2b(json.dumps(content, sort_keys=True).encode(), digest_size=16).hexdigest()
