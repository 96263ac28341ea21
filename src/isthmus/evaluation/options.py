"""What an evaluation can be told."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from isthmus.assets import tokenizer_names
from isthmus.options import EncodeOptions, OpenOptions, ReadOptions, RunOptions, SplitOptions, option


@dataclass(frozen=True)
class EvaluateOptions(EncodeOptions, SplitOptions, OpenOptions, RunOptions, ReadOptions):
    """How to evaluate; beside these, how texts are read and encoded, models opened and samples drawn.

    Attributes:
        language: ISO 639-1 code of the collection.
        split: Judgements of a folder with several.
        distractors: JSONL file of passages that enlarge the pool.
        max_distractors: Use a sample of this many of them.
        tokenizer: Tokenizer whose subwords BM25 counts; None takes the built-in one of the language, or without a
            language the multilingual one.
    """

    language: str | None = option(None, help="ISO 639-1 code of the collection's language.", recorded=False)
    split: str = option("test", help="Judgements of folders with several, as dev of MIRACL.")
    distractors: Path | None = option(None, help="JSONL of further passages for the pool.", recorded=False)
    max_distractors: int | None = option(None, help="Take at most this many, drawn by seed.", at_least=0)
    tokenizer: str | None = option(
        None,
        complete=tokenizer_names,
        help="Tokenizer of BM25; default: that of --language, or isthmus/mini-bridge.",
        panel="Method",
        recorded=False,
    )
