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
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
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
# Rows and dimensions are int32.
_LARGEST = 2**31 - 1


@dataclass(frozen=True)
class Stored:
    """Size in bytes and digest of a file."""

    bytes: int
    digest: str

    def __post_init__(self) -> None:
        if self.bytes < 0:
            raise ValueError(f"bytes must be 0 or more, got {self.bytes}")


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

    def __post_init__(self) -> None:
        # Paths are made of these names, for writing and removing too.
        _check_names("name", [self.name], r"\d{8}")
        _check_names("files", self.files, r"[a-z_]+\.(npy|jsonl)|deleted-\d{8}\.npy")
        _check_names("deleted", [] if self.deleted is None else [self.deleted], r"deleted-\d{8}\.npy")
        if not 0 <= self.deletions <= self.documents <= _LARGEST or not 0 <= self.postings:
            raise ValueError(
                f"documents, postings and deletions must be 0 or more, and no more deleted than there are, got "
                f"{self.documents}, {self.postings} and {self.deletions}"
            )
        if self.deletions and self.deleted is None:
            raise ValueError(f"deleted must name a file for {self.deletions} deletions, got none")


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

    def __post_init__(self) -> None:
        _check_names("files", self.files, r"tokens-\d{8}\.json")
        names = [entry.name for entry in self.segments]
        if len(set(names)) < len(names):
            raise ValueError(f"segments must have a name each, got {', '.join(names)}")
        if not 1 <= self.vocabulary_size <= _LARGEST:
            raise ValueError(f"vocabulary_size must be 1 to {_LARGEST}, got {self.vocabulary_size}")

    def to_bytes(self) -> bytes:
        """JSON with a digest of itself."""
        content = self.to_dict()
        text = json.dumps(content | {"digest": _digest_of_json(content)}, indent=1, ensure_ascii=False)
        # Metadata may have half a surrogate pair in the name of a field.
        return text.encode("utf-8", errors="surrogatepass")

    @classmethod
    def from_dict(cls, content: Any, where: str | Path) -> Manifest:
        """Check the digest too."""
        check_version(content, where, cls.FORMAT, cls.VERSION)
        if content.pop("digest", None) != _digest_of_json(content):
            raise cls.damaged(where, "its digest differs")
        return super().from_dict(content, where)


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


def write_array(path: Path, array: NDArray[Any]) -> None:
    """Write a ``.npy`` file; what numpy itself buffers is lost without an error where the disk is full."""
    with path.open("wb") as stream:
        write_header(stream, array.dtype, array.shape)
        stream.write(np.ascontiguousarray(array).data)


def write_header(stream: BinaryIO, dtype: Any, shape: tuple[int, ...]) -> None:
    """Write what a ``.npy`` file of version 1 starts with."""
    header = {"descr": dtype_to_descr(np.dtype(dtype)), "fortran_order": False, "shape": shape}
    write_array_header_1_0(stream, header)


def _compare(path: Path, expected: Stored) -> None:
    try:
        found = stored(path)
    except OSError as error:
        raise IndexFileError(f"{path} is missing ({error.strerror}); {REBUILD}") from error
    if found.bytes != expected.bytes:
        raise IndexFileError(f"{path} must have {expected.bytes} bytes, got {found.bytes}; it is damaged: {REBUILD}")
    if found != expected:
        raise IndexFileError(f"{path} is damaged (its digest differs); {REBUILD}")


def _check_names(field: str, names: Iterable[str], pattern: str) -> None:
    for name in names:
        if not re.fullmatch(pattern, name, re.ASCII):
            raise ValueError(f"{field} must have names like those that Isthmus gives, got {name!r:.80}")


def _digest_of_json(content: Any) -> str:
    return hashlib.blake2b(json.dumps(content, sort_keys=True).encode(), digest_size=16).hexdigest()
