"""Options of encoding a corpus."""

from __future__ import annotations

from dataclasses import dataclass

from isthmus.options import EncodeOptions, OpenOptions


@dataclass(frozen=True)
class CorpusOptions(EncodeOptions, OpenOptions):
    """How an encoder is opened and texts are encoded, for the verbs that take a model and a corpus."""
