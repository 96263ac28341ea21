"""What a tokenizer's entries are, and which of them two vocabularies share."""

from __future__ import annotations

from isthmus.vocabulary.checks import Coverage, check_target, coverage
from isthmus.vocabulary.overlap import Overlap, match
from isthmus.vocabulary.token import ROLES, Kind, Token, Vocabulary

__all__ = ["ROLES", "Coverage", "Kind", "Overlap", "Token", "Vocabulary", "check_target", "coverage", "match"]
