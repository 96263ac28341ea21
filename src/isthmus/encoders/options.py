"""Options of encoding a corpus."""

from __future__ import annotations

from dataclasses import dataclass

from isthmus.options import EncodeOptions, OpenOptions, SplitOptions


@dataclass(frozen=True)
class CorpusOptions(EncodeOptions, SplitOptions, OpenOptions):
    """How an encoder is opened and texts are split and encoded, for the verbs that take a model and a corpus."""
