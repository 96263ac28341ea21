"""Indexes that a server answers from: a folder that is followed, or another engine that is asked."""

from __future__ import annotations

import logging
import math
import time
from pathlib import Path
from typing import Protocol, cast

from isthmus.engines import Engine, is_engine_url, open_engine
from isthmus.engines.base import Location
from isthmus.engines.embedded import EmbeddedEngine
from isthmus.engines.seismic import FOLDER, HEADER, SeismicEngine
from isthmus.engines.server import ServerEngine
from isthmus.errors import EngineAwayError, IndexFileError, InputError, IsthmusError
from isthmus.index.format import MANIFEST, verify
from isthmus.index.header import VectorHeader
from isthmus.index.query_encoder import QueryEncoder

# Seconds after which a server is asked again whether its vectors are still those of the encoder.
RECHECK = 10.0
# Seconds after which a folder that cannot be read is looked at again.
MENDED = 1.0
Folder = EmbeddedEngine | SeismicEngine
# Seconds for which a server that took no connection is left alone: where packets are lost, every attempt takes a while.
AWAY = 0.5
_SEISMIC = "seismic"
_KINDS = {
    "opensearch": "OpenSearch",
    "elasticsearch": "Elasticsearch",
    "milvus": "Milvus",
    "qdrant": "Qdrant",
    "postgresql": "PostgreSQL",
}
_logger = logging.getLogger(__name__)


class Source(Protocol):
    """An index that is open; it belongs to one thread.

    Attributes:
        name: What those who search may know of where it is.
        header: The encoder that made it, and how its documents were encoded.
        problem: What is wrong with it, for those who search; or None.
    """

    name: str
    header: VectorHeader
    problem: str | None

    def admit(self, queries: QueryEncoder) -> None:
        """Take the encoder of the queries; once, before anything is searched."""

    def current(self) -> Engine:
        """The index as it is now."""

    def generation(self) -> int | None:
        """How often it was changed; None where that is not counted."""

    def fields(self) -> list[str] | None:
        """Metadata fields that can be filtered by; None where any may be asked for."""

    def fail(self, error: IsthmusError) -> str:
        """Keep in mind that reading failed, and say so in words for those who search."""

    def succeed(self) -> None:
        """Keep in mind that reading worked."""

    def close(self) -> None:
        """Give back connections and locks."""


class FolderSource:
    """An index folder, with or without Seismic's lists, that is opened anew when a writer has changed it.

    Where something else has, as a restored copy does, file by file and in place, all files are compared with their
    digests before the index is used.

    Args:
        url: The folder, behind ``seismic:`` where its lists are to be searched.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._seismic = is_engine_url(url)
        self._folder = Path(Location.parse(url).path if self._seismic else url)
        self._queries: QueryEncoder | None = None
        self.name = self._folder.absolute().name
        self.problem: str | None = None
        self._failed_on: dict[Path, tuple[int, ...] | None] = {}
        self._looked = 0.0
        self._seen = self._look()
        self._index = self._open()
        self.header: VectorHeader = self._index.manifest

    def admit(self, queries: QueryEncoder) -> None:
        """Check the index that is open, and from now on every one that takes its place."""
        self._check(self._index, queries)
        self._queries = queries

    def current(self) -> Folder:
        """The index as it is on disk now; the one before where that cannot be used, with the reason in the log."""
        seen = self._look()
        if seen != self._seen or (self.problem is not None and self._is_mended()):
            # What is opened may be later than what was seen; then it is opened once more, which costs a millisecond.
            in_place = self.problem is not None or _number(seen) == _number(self._seen)
            self._seen = seen
            try:
                opened = self._open()
                if self._queries is not None:
                    self._check(opened, self._queries)
                if in_place:
                    verify(self._folder, opened.manifest)
                self._index, self.problem = opened, None
                self.header = opened.manifest
            except (IsthmusError, OSError) as error:
                # The reason names folders, which are no business of those who search.
                lists = ", or has no lists yet" if self._seismic else ""
                problem = f"the index on disk is damaged or of another model{lists}; the server's log says more"
                self.problem = self.problem or problem
                _logger.warning("still searching the index as it was, because the new one cannot be used: %s", error)
        return self._index

    def generation(self) -> int:
        """That of the manifest."""
        return self._index.manifest.generation

    def fields(self) -> list[str]:
        """Those of any document; none for Seismic, which cannot filter."""
        entries = () if self._seismic else self._index.manifest.segments
        return sorted({field for entry in entries for field in entry.fields})

    def fail(self, error: IsthmusError) -> str:
        """A damaged file stays one until another index takes its place, or it is mended."""
        self.problem = "the index is damaged; the server's log says which file, and what to do"
        return self.problem

    def succeed(self) -> None:
        """One query that works tells nothing about the files that others read."""

    def close(self) -> None:
        """Nothing to give back: open files go with the last reference."""

    def _open(self) -> Folder:
        return cast(Folder, open_engine(self._url))

    def _look(self) -> tuple[tuple[int, ...] | None, ...]:
        """What every change of the index, and of Seismic's lists, changes: a new file has another number."""
        header = self._folder / FOLDER / HEADER
        return tuple(_stamp(path) for path in (self._folder / MANIFEST, *((header,) if self._seismic else ())))

    def _is_mended(self) -> bool:
        """Whether anything in the folder is other than when this was asked last; looks once a second."""
        if time.monotonic() - self._looked < MENDED:
            return False
        self._looked = time.monotonic()
        before, self._failed_on = self._failed_on, {path: _stamp(path) for path in self._folder.rglob("*")}
        return self._failed_on != before

    def _check(self, index: Folder, queries: QueryEncoder) -> None:
        queries.check(index.manifest, f"the index {self._folder}")


class ServerSource:
    """An index or collection of another engine.

    Args:
        url: As :mod:`isthmus.engines` takes it.
    """

    def __init__(self, url: str) -> None:
        location = Location.parse(url)
        self.name = location.name or Path(location.path).name
        self.problem: str | None = None
        self._where = url
        self._kind = _KINDS.get(location.scheme, location.scheme)
        self._away: EngineAwayError | None = None
        self._engine = cast(ServerEngine, open_engine(url))
        self._engine.server.hurry()
        self.header: VectorHeader = self._engine.header

    def admit(self, queries: QueryEncoder) -> None:
        """Check the index, and give the engine the encoder, by which it names tokens."""
        queries.check(self._engine.header, self._where)
        self._engine = ServerEngine(self._engine.server, model=queries.open(), any_model=True)
        # It asks an encoder for names that is open.
        self._engine.encoder()
        self._queries = queries
        self._checked = time.monotonic()

    def current(self) -> ServerEngine:
        """The engine, whose index somebody may have made anew.

        Raises:
            IndexFileError: If another encoder, or not Isthmus, made what is there now.
            NotFoundError: If nothing is there any more.
            EngineError: If the server does not answer.
        """
        if self._away is not None and time.monotonic() < self._away_until:
            raise EngineAwayError(str(self._away))
        self._away = None
        if time.monotonic() - self._checked >= RECHECK:
            header = self._engine.server.header()
            try:
                self._queries.check(header, self._where)
            except InputError as error:
                raise IndexFileError(str(error)) from error
            self.header = self._engine.header = header
            self._checked = time.monotonic()
        return self._engine

    def generation(self) -> None:
        """Servers do not count."""

    def fields(self) -> None:
        """Servers take any; one that no document has finds nothing."""

    def fail(self, error: IsthmusError) -> str:
        """A server may come back any time, and its index may be another one then."""
        self.problem = "the search engine does not answer, or its index cannot be used; the server's log says more"
        self._checked = -math.inf
        if isinstance(error, EngineAwayError):
            self.problem = (
                f"the {self._kind} server of the index {self.name!r} cannot be reached; try again in a second"
            )
            if self._away is None:
                self._away, self._away_until = error, time.monotonic() + AWAY
        return self.problem

    def succeed(self) -> None:
        """It is back."""
        self.problem = None

    def close(self) -> None:
        """Close the connection."""
        self._engine.close()


def open_source(url: str) -> Source:
    """Open an index, wherever it is.

    Args:
        url: A folder, or a URL of :mod:`isthmus.engines`.
    """
    local = not is_engine_url(url) or Location.parse(url).scheme == _SEISMIC
    return FolderSource(url) if local else ServerSource(url)


def _number(seen: tuple[tuple[int, ...] | None, ...]) -> int | None:
    """Of the file that the manifest is: who writes one puts another in its place."""
    return None if seen[0] is None else seen[0][0]


def _stamp(path: Path) -> tuple[int, ...] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size
