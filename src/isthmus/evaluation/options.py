"""What an evaluation can be told."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from isthmus.options import EncodeOptions, OpenOptions, RunOptions, option


@dataclass(frozen=True)
class EvaluateOptions(EncodeOptions, OpenOptions, RunOptions):
    """How to evaluate; beside these, how texts are encoded, models opened and samples drawn.

    Attributes:
        language: ISO 639-1 code of the collection.
        split: Judgements of a BEIR folder.
        distractors: JSONL file of passages that enlarge the pool.
        max_distractors: Use a sample of this many of them.
        tokenizer: Tokenizer whose subwords BM25 counts; None takes the built-in one of the language.
    """

    language: str | None = option(None, help="ISO 639-1 code of the collection's language.", recorded=False)
    split: str = option("test", help="Judgements of BEIR folders.")
    distractors: Path | None = option(None, help="JSONL of further passages for the pool.", recorded=False)
    max_distractors: int | None = option(None, help="Take at most this many, drawn by seed.", at_least=0)
    tokenizer: str | None = option(
        None, help="Tokenizer of BM25; default: the built-in one.", panel="Method", recorded=False
    )
