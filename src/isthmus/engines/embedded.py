"""The index in a folder, as an engine."""

from __future__ import annotations

from typing import Any, cast

from isthmus.engines.base import Location
from isthmus.index.build import Change, build_index, change_index
from isthmus.index.sparse_index import SparseIndex


class EmbeddedEngine(SparseIndex):
    """A folder: exact, memory-mapped, in this process."""

    def close(self) -> None:
        """Nothing to give back: mapped files go with the last reference."""


class EmbeddedBackend:
    """Folders."""

    def open(self, location: Location, *, model: Any, any_model: bool, trust_remote_code: bool) -> EmbeddedEngine:
        """Open a folder."""
        options: dict[str, Any] = {"model": model, "any_model": any_model, "trust_remote_code": trust_remote_code}
        return cast(EmbeddedEngine, EmbeddedEngine.open(location.path, **options))

    def build(self, location: Location, model: Any, corpus: Any, **options: Any) -> Change:
        """Build a folder."""
        return build_index(model, corpus, location.path, **options)

    def change(self, location: Location, **options: Any) -> Change:
        """Change a folder."""
        return change_index(location.path, **options)


EMBEDDED = EmbeddedBackend()
