"""Options of comparing engines and of writing files for them; neither numpy nor torch."""

from __future__ import annotations

from dataclasses import dataclass

from isthmus.index.options import QueryOptions
from isthmus.options import Options, option


@dataclass(frozen=True)
class ParityOptions(Options):
    """How two engines are compared.

    Attributes:
        top_k: Hits of each query.
        tolerance: Relative difference of a score that is no drift.
        min_recall: Smallest mean recall that is well.
    """

    top_k: int = option(10, help="Hits of each query.", at_least=1)
    tolerance: float = option(0.005, help="Relative difference of a score that is no drift.", at_least=0)
    min_recall: float = option(0.99, help="Smallest mean recall that is well.", at_least=0, at_most=1)


@dataclass(frozen=True)
class ExportOptions(QueryOptions):
    """How an index is written for another engine; beside these, what encodes the queries that go with it.

    Attributes:
        scale: What weights are multiplied by before they are rounded to integers, for ``anserini``; the other formats
            have floats.
        overwrite: Replace an earlier export.
        show_progress_bar: None shows it on a terminal.
    """

    scale: float = option(100.0, help="Anserini: weights times this, rounded, are the impacts.", above=0)
    overwrite: bool = option(False, help="Replace an earlier export.", panel="Output")
    show_progress_bar: bool | None = None
