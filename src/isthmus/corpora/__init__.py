"""Collections: a corpus, queries and relevance judgements, in one language or several."""

from __future__ import annotations

from isthmus.corpora.collection import Collection
from isthmus.corpora.distractors import add_distractors
from isthmus.corpora.parallel import ParallelCollection
from isthmus.corpora.parallel_readers import PARALLEL_NAMES, load_parallel
from isthmus.corpora.registry import NAMES, load

__all__ = ["NAMES", "PARALLEL_NAMES", "Collection", "ParallelCollection", "add_distractors", "load", "load_parallel"]
