"""What an evaluation found, with what is needed to repeat it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus import __version__
from isthmus.reading.storage import atomic_write

PACKAGES = ("torch", "transformers", "sentence-transformers", "ir-measures", "bm25s", "numpy", "scipy")


def versions() -> dict[str, str | None]:
    """Versions of the packages that influence a result; None where one is not installed."""
    found: dict[str, str | None] = {"isthmus": __version__}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    return found


@dataclass(frozen=True, eq=False)
class EvaluationResult:
    """Outcome of one model on one collection.

    Attributes:
        model: Name of the model.
        collection: Name of the collection.
        per_query: ``ndcg@10``, ``mrr@10`` and ``recall@100`` of every query, each of shape (queries,).
        query_ids: Id of each query, in the order of ``per_query``.
        documents: Number of passages in the pool, distractors included.
        seconds: Wall time of encoding and searching, without loading.
        flops: Expected multiplications per query-document pair; None for dense models.
        query_active_dims: Mean active entries of a query; None for dense models.
        document_active_dims: Mean active entries of a document; None for dense models.
        settings: Everything else that the numbers depend on, versions included; JSON values.
    """

    model: str
    collection: str
    per_query: Mapping[str, NDArray[np.float64]]
    query_ids: tuple[str, ...]
    documents: int
    seconds: float
    flops: float | None = None
    query_active_dims: float | None = None
    document_active_dims: float | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def queries(self) -> int:
        """Number of queries."""
        return len(self.query_ids)

    def __getitem__(self, metric: str) -> float:
        """Mean of a metric over the queries: ``result["ndcg@10"]``."""
        return float(self.per_query[metric].mean())

    def to_dict(self) -> dict[str, Any]:
        """JSON values under stable keys; metrics by query are left out."""
        return {
            "model": self.model,
            "collection": self.collection,
            **{name: self[name] for name in self.per_query},
            "flops": self.flops,
            "query_active_dims": self.query_active_dims,
            "document_active_dims": self.document_active_dims,
            "queries": self.queries,
            "documents": self.documents,
            "seconds": self.seconds,
            "settings": dict(self.settings),
        }

    def to_json(self) -> str:
        """:meth:`to_dict` as JSON text."""
        return json.dumps(self.to_dict(), ensure_ascii=False, indent=2)

    def save(self, path: str | Path) -> None:
        """Write :meth:`to_json` to a file, whole or not at all.

        Raises:
            OutputError: If it cannot be written.
        """
        atomic_write(Path(path), (self.to_json() + "\n").encode())

    def __str__(self) -> str:
        """Two lines to read."""
        scores = "  ".join(f"{name} {self[name]:.3f}" for name in self.per_query)
        size = f"{self.queries} queries, {self.documents} documents, {self.seconds:.1f} s"
        if self.flops is not None:
            size += (
                f", FLOPS {self.flops:.2f}, active dims {self.query_active_dims:.0f} per query "
                f"and {self.document_active_dims:.0f} per document"
            )
        return f"{self.model} on {self.collection}: {scores}\n  {size}"
