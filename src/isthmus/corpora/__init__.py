"""Collections: a corpus, queries and relevance judgements, read from BEIR folders, SQuAD files or by name."""

from __future__ import annotations

from isthmus.corpora.collection import Collection
from isthmus.corpora.distractors import add_distractors
from isthmus.corpora.registry import NAMES, load

__all__ = ["NAMES", "Collection", "add_distractors", "load"]
