"""Collections: a corpus, queries and relevance judgements, in one language or several."""

from __future__ import annotations

from isthmus.collections.collection import Collection
from isthmus.collections.distractors import add_distractors
from isthmus.collections.named import NAMES, load
from isthmus.collections.parallel import ParallelCollection
from isthmus.collections.parallel_readers import PARALLEL_NAMES, load_parallel

__all__ = ["NAMES", "PARALLEL_NAMES", "Collection", "ParallelCollection", "add_distractors", "load", "load_parallel"]
