"""What an adaptation can be told."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from isthmus.assets import tokenizer_names
from isthmus.options import EncodeOptions, OpenOptions, RunOptions, option

Arm = Literal["as it is", "transferred", "echo", "hybrid", "taught", "taught, hybrid"]


@dataclass(frozen=True)
class AdaptOptions(EncodeOptions, OpenOptions, RunOptions):
    """How to adapt; beside these, how texts are encoded, models opened, and everything drawn.

    Attributes:
        language: ISO 639-1 code of the corpus; None takes what most documents say, or what their script tells.
        target_tokenizer: Tokenizer of the language: built-in name, folder or hub id; None trains one on the corpus.
        vocabulary_size: Entries of a tokenizer that is trained.
        keep_source: Keep the English vocabulary beside the new one; None does where the script is not Latin.
        minutes: Time for teaching, in all; 0 does not teach.
        steps: Steps of teaching; None takes what fits into the minutes.
        arm: Take this arm, whatever is measured.
        questions: Questions with the ids of the documents that answer them: a BEIR folder, or a file of two columns
            (.tsv, .csv) or of ``query`` and ``id`` (.jsonl). They are measured on instead of questions made of the
            text.
        pool: Documents that are measured on, drawn from the corpus.
        index: Build an index of the corpus with the encoder that is kept.
    """

    language: str | None = option(None, help="ISO 639-1 code of the corpus.", shown="what documents or script tell")
    target_tokenizer: str | None = option(
        None,
        help="Tokenizer of the language: name, folder or hub id.",
        shown="one trained on the corpus",
        complete=tokenizer_names,
    )
    vocabulary_size: int = option(24_000, help="Entries of a tokenizer that is trained.", panel="Method", at_least=100)
    keep_source: bool | None = option(
        None,
        help="Keep the English vocabulary beside the new one.",
        panel="Method",
        names=("--keep-source/--replace-source",),
        shown="kept where the script is not Latin",
    )
    minutes: float = option(30.0, help="Time for teaching; 0 does not teach.", at_least=0)
    steps: int | None = option(
        None, help="Steps of teaching.", panel="Method", at_least=1, shown="what fits into --minutes"
    )
    arm: Arm | None = option(None, help="Take this arm, whatever is measured.", panel="Method")
    questions: Path | None = option(
        None, help="Questions with ids of documents: a BEIR folder, or a .tsv, .csv or .jsonl of two columns."
    )
    pool: int = option(1000, help="Documents that are measured on.", panel="Method", at_least=20)
    index: bool = option(True, help="Build an index with the encoder that is kept.", panel="Output")
