"""Changing an index: one writer at a time, and readers see the state before or the state after."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from itertools import count, takewhile
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import numpy as np
from scipy.sparse import csr_matrix

from isthmus.encoders.splitting import passage_id
from isthmus.errors import InputError, OutputError
from isthmus.index.folder import check_encoder, named_manifests, refuse_links, remove_unnamed, segment_folders
from isthmus.index.format import (
    SEGMENTS,
    Manifest,
    SegmentEntry,
    copy_stored,
    manifest_digest,
    read_manifest,
    verify_segment,
    write_array,
    write_manifest,
    written,
)
from isthmus.index.merge import SEGMENTS_KEPT, groups_to_merge, merge
from isthmus.index.options import MemoryLimits
from isthmus.index.reader import Segment
from isthmus.index.segments import SegmentsWriter, id_digest
from isthmus.reading.corpus import Document
from isthmus.reading.disk import locked, make_folder, put_through, writing
from isthmus.reading.storage import atomic_write


class IndexWriter:
    """The one writer of an index folder; use it in a ``with`` statement. Nothing shows before :meth:`commit`.

    What its caller saw before the folder was locked is compared with what is there, and a commit builds on the state
    that the writer found, or fails.

    Args:
        folder: The index.
        new: Make an index that starts as this manifest, which has no segments.
        replaces: What the caller saw in the place of the new index, as :func:`isthmus.index.folder.check_free` told
            it; None for no index. Something else is not replaced.
        onto: What the caller saw of an index that is there, and made vectors for; another encoder's is not changed.
        tokens: What stands for each dimension; for a new index.
        limits: Of memory.

    Attributes:
        manifest: What the next commit starts from.
        added: Documents added so far.
        empty: Those among them without an active entry, which no query finds.

    Raises:
        OutputError: If another writer is at work or was since the caller looked, or the folder cannot be written.
        NotFoundError: If there is no index and ``new`` is None.
    """

    def __init__(
        self,
        folder: Path,
        *,
        new: Manifest | None = None,
        replaces: str | None = None,
        onto: Manifest | None = None,
        tokens: Sequence[str] | None = None,
        limits: MemoryLimits | None = None,
    ) -> None:
        self.folder = folder
        self._new, self._replaces, self._onto = new, replaces, onto
        self._tokens = tokens
        self._limits = limits or MemoryLimits()
        self._stack = ExitStack()
        self.manifest: Manifest
        self.added = self.empty = 0
        self._segments_writer: SegmentsWriter
        self._old: list[Segment]
        self._deleted: dict[str, set[int]]
        # What the manifest on the disk must be for a commit to take its place.
        self._found: str | None
        # States that a power cut could leave; None while they are not known.
        self._kept: list[Manifest] | None = None
        self._last_number = self._documents = 0

    def __enter__(self) -> IndexWriter:
        if self._new is None:
            read_manifest(self.folder)
        refuse_links(self.folder)
        self._stack.enter_context(locked(self.folder))
        try:
            self._begin()
        except BaseException:
            self._remove_unnamed()
            self._stack.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._segments_writer.discard()
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
        firsts = [document for document in documents if document.is_first]
        self.added += len(firsts)
        self._documents += len(firsts)
        self.empty += count_empty(documents, vectors)
        for identifier in self._known(firsts):
            if not update:
                raise InputError(
                    f"document {identifier!r} is in the index already; leave it out, or replace it with update "
                    "(--update)"
                )
            self._mark(self._places(identifier))
        with writing(self.folder):
            self._segments_writer.add(documents, vectors, error=error)

    def delete(self, ids: Iterable[str]) -> int:
        """Delete documents of the last commit; returns how many there were.

        Raises:
            InputError: If an id is not in the index; nothing is deleted then.
        """
        found = {identifier: self._places(identifier) for identifier in ids}
        for identifier, places in found.items():
            if not places:
                raise InputError(f"document {identifier!r} must be in the index, and is not; take it off the list")
        for places in found.values():
            self._mark(places)
        return len(found)

    def commit(self, *, compact: bool = False) -> Manifest:
        """Make all changes visible in one step and remove what is no longer named.

        Args:
            compact: Merge everything into one segment and drop deleted documents from the disk. Without, segments are
                merged only when there are more than eight.

        Raises:
            OutputError: If the disk is full, or something else has changed the index; it is as it was.
        """
        with writing(self.folder):
            self._segments_writer.close_segment()
            entries = [self._with_deletions(segment) for segment in self._old] + self._segments_writer.entries
            entries = [entry for entry in entries if entry.deletions < entry.documents]
            entries = self._merged(entries, 1 if compact else SEGMENTS_KEPT, rewrite=compact)
            documents = self._documents if self.manifest.split else None
            self.manifest = replace(self.manifest, segments=tuple(entries), documents=documents)
            put_through(self.folder / SEGMENTS)
            if manifest_digest(self.folder) != self._found:
                raise OutputError(f"{self.folder} was changed by something else meanwhile; run the command again")
            write_manifest(self.folder, self.manifest)
            self._found = manifest_digest(self.folder)
        self._kept = [self.manifest]
        self._remove_unnamed()
        self._start()
        return self.manifest

    def copy(self, manifest: Manifest, files: Mapping[str, BinaryIO]) -> None:
        """Take the segments and tokens of another index into this new one, under their names where those are free.

        Args:
            manifest: Of the other index.
            files: Its open files, by their paths below its folder.

        Raises:
            IndexFileError: If a file is not as the manifest says.
            OutputError: If the disk is full.
        """
        with writing(self.folder):
            tokens = {}
            for name, expected in manifest.files.items():
                free = not (self.folder / name).exists()
                path = self.folder / (name if free else f"tokens-{self.manifest.generation:08d}.json")
                tokens[path.name] = copy_stored(files[name], path, expected)
            self.manifest = replace(self.manifest, files=tokens)
            for entry in manifest.segments:
                folder = self.folder / SEGMENTS / entry.name
                if folder.exists():
                    folder = next(self._fresh_folders())
                else:
                    folder.mkdir()
                    self._last_number = max(self._last_number, int(folder.name))
                for name, expected in entry.files.items():
                    copy_stored(files[f"{SEGMENTS}/{entry.name}/{name}"], folder / name, expected)
                put_through(folder)
                self._segments_writer.entries.append(replace(entry, name=folder.name))

    def _begin(self) -> None:
        # A power cut must not bring back an older state than that which is built on.
        with writing(self.folder):
            put_through(self.folder)
            self._found = manifest_digest(self.folder)
        self._kept = named_manifests(self.folder)
        if self._new is None:
            self.manifest = read_manifest(self.folder)
            if self._onto is not None:
                check_encoder(self.folder, self._onto, self.manifest)
        else:
            if self._found != self._replaces:
                raise OutputError(
                    f"{self.folder} was written by another process since this one began; choose another folder, or "
                    "run the command again if it is to be replaced"
                )
            before = max((one.generation for one in self._kept or ()), default=0)
            self.manifest = replace(self._new, generation=max(self._new.generation, before))
        self._documents = self.manifest.documents or 0
        self._last_number = max((int(path.name) for path in segment_folders(self.folder)), default=0)
        with writing(self.folder):
            make_folder(self.folder / SEGMENTS)
            if self._new is not None and self._tokens is not None:
                path = self.folder / f"tokens-{self.manifest.generation + 1:08d}.json"
                atomic_write(path, json.dumps(list(self._tokens), ensure_ascii=False).encode("utf-8", "surrogatepass"))
                self.manifest = replace(self.manifest, files={path.name: written(path)})
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

    def _places(self, identifier: str) -> list[tuple[Segment, int]]:
        """Where a document, or each of its passages, is; empty where it is not."""
        split = self.manifest.split
        ids: Iterator[str] = (passage_id(identifier, number) for number in count()) if split else iter([identifier])
        found = ([(s, row) for s in self._old if (row := s.row_of(id)) is not None][:1] for id in ids)
        return [place for places in takewhile(bool, found) for place in places]

    def _mark(self, places: Sequence[tuple[Segment, int]]) -> None:
        """Delete a document by its places."""
        self._documents -= 1
        for segment, row in places:
            self._deleted.setdefault(segment.entry.name, set()).add(row)

    def _known(self, documents: Sequence[Document]) -> Iterator[str]:
        """Ids of those ``documents``, or of which these are first passages, that are in the index."""
        digests = np.array([id_digest(document.id) for document in documents], dtype=np.uint64)
        for segment in self._old:
            gone = self._deleted.get(segment.entry.name, set())
            places = np.searchsorted(segment.id_digests, digests)
            places[places == segment.documents] = 0
            for position in np.flatnonzero(segment.id_digests[places] == digests).tolist():
                row = segment.row_of(documents[position].id)
                if row is not None and row not in gone:
                    yield documents[position].document_id

    def _with_deletions(self, segment: Segment) -> SegmentEntry:
        rows = self._deleted.get(segment.entry.name)
        if not rows:
            return segment.entry
        deleted = np.union1d(segment.deleted, np.array(sorted(rows), dtype=np.int32)).astype(np.int32)
        path = segment.folder / f"deleted-{self.manifest.generation:08d}.npy"
        write_array(path, deleted)
        files = {name: file for name, file in segment.entry.files.items() if name != segment.entry.deleted}
        files[path.name] = written(path)
        put_through(segment.folder)
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

    def _remove_unnamed(self) -> None:
        """Remove what no state names that a power cut could leave: the one on the disk, and the last one put through.

        The two differ where a commit failed after the new manifest had taken its place.
        """
        named = named_manifests(self.folder)
        if named is not None and self._kept is not None:
            remove_unnamed(self.folder, [*self._kept, *named])


def count_empty(documents: Sequence[Document], vectors: csr_matrix) -> int:
    """Documents without an active entry, which no query finds; of several passages, another one may be found."""
    empty = np.flatnonzero(np.diff(vectors.indptr) == 0).tolist()
    return sum((passage := documents[row].passage) is None or passage.of == 1 for row in empty)
