"""Collections: a corpus, queries and relevance judgements, in one language or several."""

from __future__ import annotations

from typing import TYPE_CHECKING

from isthmus._lazy import lazy_names

if TYPE_CHECKING:
    from isthmus.collections.collection import Collection
    from isthmus.collections.distractors import add_distractors
    from isthmus.collections.named import NAMES, load
    from isthmus.collections.parallel import ParallelCollection
    from isthmus.collections.parallel_readers import PARALLEL_NAMES, load_parallel

__all__ = ["NAMES", "PARALLEL_NAMES", "Collection", "ParallelCollection", "add_distractors", "load", "load_parallel"]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "Collection": ".collection",
        "NAMES": ".named",
        "PARALLEL_NAMES": ".parallel_readers",
        "ParallelCollection": ".parallel",
        "add_distractors": ".distractors",
        "load": ".named",
        "load_parallel": ".parallel_readers",
    },
)
