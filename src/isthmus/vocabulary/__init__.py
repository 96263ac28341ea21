"""What a tokenizer's entries are, and which of them two vocabularies share."""

from __future__ import annotations

from isthmus.vocabulary.coverage import Coverage, check_target, coverage
from isthmus.vocabulary.join import Joined, join_tokenizers
from isthmus.vocabulary.overlap import Overlap, match
from isthmus.vocabulary.token import ROLES, Kind, Token, Vocabulary
from isthmus.vocabulary.train_tokenizer import TokenizerReport, train_tokenizer

__all__ = [
    "ROLES",
    "Coverage",
    "Joined",
    "Kind",
    "Overlap",
    "Token",
    "TokenizerReport",
    "Vocabulary",
    "check_target",
    "coverage",
    "join_tokenizers",
    "match",
    "train_tokenizer",
]
