"""Changing an index: one writer at a time, and readers see the state before or the state after."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from types import TracebackType

import numpy as np
from scipy.sparse import csr_matrix

from isthmus.errors import IndexFileError, InputError
from isthmus.index.format import (
    MANIFEST,
    SEGMENT_NAME,
    SEGMENTS,
    Manifest,
    SegmentEntry,
    is_leftover,
    locked,
    read_manifest,
    stored,
    verify_segment,
    write_manifest,
    writing,
)
from isthmus.index.merge import SEGMENTS_KEPT, groups_to_merge, merge
from isthmus.index.options import MemoryLimits
from isthmus.index.reader import Segment
from isthmus.index.segments import SegmentsWriter, id_digest
from isthmus.reading.corpus import Document
from isthmus.reading.storage import atomic_write


class IndexWriter:
    """The one writer of an index folder; use it in a ``with`` statement. Nothing shows before :meth:`commit`.

    Args:
        folder: The index.
        new: Make an index that starts as this manifest, which has no segments, in place of what is there.
        tokens: What stands for each dimension; for a new index.
        limits: Of memory.

    Attributes:
        manifest: What the next commit starts from.
        added: Documents added so far.
        empty: Those among them without an active entry, which no query finds.

    Raises:
        OutputError: If another writer is at work, or the folder cannot be written.
        NotFoundError: If there is no index and ``new`` is None.
    """

    def __init__(
        self,
        folder: Path,
        *,
        new: Manifest | None = None,
        tokens: Sequence[str] | None = None,
        limits: MemoryLimits | None = None,
    ) -> None:
        self.folder = folder
        self._new = new
        self._tokens = tokens
        self._limits = limits or MemoryLimits()
        self._stack = ExitStack()
        self.manifest: Manifest
        self.added = self.empty = 0
        self._segments_writer: SegmentsWriter
        self._old: list[Segment]
        self._deleted: dict[str, set[int]]

    def __enter__(self) -> IndexWriter:
        if self._new is None:
            read_manifest(self.folder)
        self._stack.enter_context(locked(self.folder))
        try:
            self._begin()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._segments_writer.discard()
        try:
            self._remove_unnamed()
        finally:
            self._stack.close()

    def add(
        self, documents: Sequence[Document], vectors: csr_matrix, *, update: bool = False, error: float = 0.0
    ) -> None:
        """Add documents with their vectors, one row each.

        Args:
            documents: Ids must be new in this and all earlier calls since the last commit.
            vectors: float32 of shape (documents, vocabulary).
            update: Replace documents of the index that have the same id.
            error: How far the weights are off already, for the bound that the index states.

        Raises:
            InputError: If an id is in the index and ``update`` is off, or a vector does not fit.
            OutputError: If the disk is full.
        """
        self.added += len(documents)
        self.empty += int((np.diff(vectors.indptr) == 0).sum())
        for segment, row, identifier in self._known(documents):
            if not update:
                raise InputError(
                    f"document {identifier!r} is in the index already; leave it out, or replace it with update "
                    "(--update)"
                )
            self._deleted.setdefault(segment.entry.name, set()).add(row)
        with writing(self.folder):
            self._segments_writer.add(documents, vectors, error=error)

    def delete(self, ids: Iterable[str]) -> int:
        """Delete documents of the last commit; returns how many there were.

        Raises:
            InputError: If an id is not in the index; nothing is deleted then.
        """
        found: dict[str, set[int]] = {}
        for identifier in ids:
            place = next(((s, row) for s in self._old if (row := s.row_of(identifier)) is not None), None)
            if place is None:
                raise InputError(f"document {identifier!r} must be in the index, and is not; take it off the list")
            found.setdefault(place[0].entry.name, set()).add(place[1])
        for name, rows in found.items():
            self._deleted.setdefault(name, set()).update(rows)
        return sum(map(len, found.values()))

    def commit(self, *, compact: bool = False) -> Manifest:
        """Make all changes visible in one step and remove what is no longer named.

        Args:
            compact: Merge everything into one segment and drop deleted documents from the disk. Without, segments are
                merged only when there are more than eight.

        Raises:
            OutputError: If the disk is full; the index is as it was.
        """
        with writing(self.folder):
            self._segments_writer.close_segment()
            entries = [self._with_deletions(segment) for segment in self._old] + self._segments_writer.entries
            entries = [entry for entry in entries if entry.deletions < entry.documents]
            entries = self._merged(entries, 1 if compact else SEGMENTS_KEPT, rewrite=compact)
            self.manifest = replace(self.manifest, segments=tuple(entries))
            write_manifest(self.folder, self.manifest)
        self._remove_unnamed()
        self._start()
        return self.manifest

    def _begin(self) -> None:
        if self._new is None:
            self.manifest = read_manifest(self.folder)
        else:
            self.manifest = self._new
            if (self.folder / MANIFEST).exists():
                self.manifest = replace(self._new, generation=_generation(self.folder))
        self._last_number = max((int(path.name) for path in self._segment_folders()), default=0)
        with writing(self.folder):
            (self.folder / SEGMENTS).mkdir(exist_ok=True)
            if self._new is not None and self._tokens is not None:
                path = self.folder / f"tokens-{self.manifest.generation + 1:08d}.json"
                atomic_write(path, json.dumps(list(self._tokens), ensure_ascii=False).encode("utf-8", "surrogatepass"))
                self.manifest = replace(self.manifest, files={path.name: stored(path)})
        self._start()

    def _start(self) -> None:
        """Begin a further set of changes."""
        self.manifest = replace(self.manifest, generation=self.manifest.generation + 1)
        self._old = [self._open(entry) for entry in self.manifest.segments]
        self._deleted = {}
        self._segments_writer = SegmentsWriter(
            self._fresh_folders(),
            self.manifest.vocabulary_size,
            weights=self.manifest.weights,
            text=self.manifest.text,
            limits=self._limits,
        )

    def _open(self, entry: SegmentEntry) -> Segment:
        folder = self.folder / SEGMENTS / entry.name
        return Segment(folder, entry, self.manifest.vocabulary_size, self.manifest.weights)

    def _fresh_folders(self) -> Iterator[Path]:
        while True:
            self._last_number += 1
            folder = self.folder / SEGMENTS / f"{self._last_number:08d}"
            folder.mkdir()
            yield folder

    def _known(self, documents: Sequence[Document]) -> Iterator[tuple[Segment, int, str]]:
        """Which of ``documents`` are in the index, with their place."""
        digests = np.array([id_digest(document.id) for document in documents], dtype=np.uint64)
        for segment in self._old:
            gone = self._deleted.get(segment.entry.name, set())
            places = np.searchsorted(segment.id_digests, digests)
            places[places == segment.documents] = 0
            for position in np.flatnonzero(segment.id_digests[places] == digests).tolist():
                identifier = documents[position].id
                row = segment.row_of(identifier)
                if row is not None and row not in gone:
                    yield segment, row, identifier

    def _with_deletions(self, segment: Segment) -> SegmentEntry:
        rows = self._deleted.get(segment.entry.name)
        if not rows:
            return segment.entry
        deleted = np.union1d(segment.deleted, np.array(sorted(rows), dtype=np.int32)).astype(np.int32)
        path = segment.folder / f"deleted-{self.manifest.generation:08d}.npy"
        np.save(path, deleted)
        files = {name: file for name, file in segment.entry.files.items() if name != segment.entry.deleted}
        files[path.name] = stored(path)
        return replace(segment.entry, files=files, deleted=path.name, deletions=len(deleted))

    def _merged(self, entries: list[SegmentEntry], limit: int, *, rewrite: bool) -> list[SegmentEntry]:
        merged = []
        for group in groups_to_merge([entry.postings for entry in entries], limit):
            first = entries[group[0]]
            if len(group) == 1 and not (rewrite and first.deletions):
                merged.append(first)
                continue
            segments = [self._open(entries[position]) for position in group]
            for segment in segments:
                # A merged segment gets digests of its own, which would vouch for what was damaged before.
                verify_segment(segment.folder, segment.entry)
            folder = next(self._fresh_folders())
            weights, text = self.manifest.weights, self.manifest.text
            merged.append(merge(segments, folder, weights=weights, text=text, at_once=self._limits.merged))
        return merged

    def _segment_folders(self) -> list[Path]:
        return [path for path in (self.folder / SEGMENTS).glob("*") if SEGMENT_NAME.fullmatch(path.name)]

    def _remove_unnamed(self) -> None:
        """Remove files that the manifest on disk does not name; who has them open keeps them.

        Where the system refuses to remove an open file, the next writer tries again.
        """
        named, files = {}, {}
        if (self.folder / MANIFEST).exists():
            try:
                manifest = read_manifest(self.folder)
            except IndexFileError:
                # What cannot be read may still be worth a repair.
                return
            named, files = {entry.name: entry for entry in manifest.segments}, dict(manifest.files)
        for folder in self._segment_folders():
            if folder.name not in named:
                shutil.rmtree(folder, ignore_errors=True)
            else:
                _unlink(path for path in folder.glob("deleted-*.npy") if path.name not in named[folder.name].files)
        _unlink(path for path in self.folder.iterdir() if path.name not in files and is_leftover(path))
        if not (self.folder / MANIFEST).exists():
            with suppress(OSError):
                (self.folder / SEGMENTS).rmdir()


def _unlink(paths: Iterable[Path]) -> None:
    for path in paths:
        try:
            path.unlink(missing_ok=True)
        except OSError:
            continue


def _generation(folder: Path) -> int:
    """Generation of the index that is to be replaced, 0 where it cannot be read."""
    try:
        return read_manifest(folder).generation
    except IndexFileError:
        return 0
