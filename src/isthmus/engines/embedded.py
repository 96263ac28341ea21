"""The index in a folder, as an engine."""

from __future__ import annotations

from typing import Any, cast

from isthmus.engines.base import Location
from isthmus.index.build import Change, build_index, change_index
from isthmus.index.options import ChangeOptions, IndexOptions, QueryOptions
from isthmus.index.sparse_index import SparseIndex


class EmbeddedEngine(SparseIndex):
    """A folder: exact, in this process."""

    def close(self) -> None:
        """Nothing to give back: open files go with the last reference."""


class EmbeddedBackend:
    """Folders."""

    def open(self, location: Location, options: QueryOptions) -> EmbeddedEngine:
        """Open a folder."""
        return cast(EmbeddedEngine, EmbeddedEngine.open(location.path, options))

    def build(self, location: Location, model: Any, corpus: Any, options: IndexOptions) -> Change:
        """Build a folder."""
        return build_index(model, corpus, location.path, options)

    def change(self, location: Location, options: ChangeOptions, *, model: Any = None, corpus: Any = None) -> Change:
        """Change a folder."""
        return change_index(location.path, options, model=model, corpus=corpus)


EMBEDDED = EmbeddedBackend()
