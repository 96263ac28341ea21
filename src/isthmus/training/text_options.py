"""What training on unlabelled text can be told, and a teacher; no torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from isthmus.errors import InputError, UnknownNameError
from isthmus.options import EncodeOptions, Options, RunOptions, option

Kind = Literal["title", "heading", "snippet"]
KINDS: tuple[Kind, ...] = get_args(Kind)
# In words, or two characters each of scripts without spaces.
LEAST_FOR_SNIPPET = 12
# What a teacher scores: snippets in their own passages, for it is words that an echo knows.
_TAUGHT: dict[str, Any] = {"kinds": ("snippet",), "keep_snippet": 1.0, "negatives": 2}


def _kinds(given: str) -> tuple[str, ...]:
    return tuple(kind.strip() for kind in given.split(","))


@dataclass(frozen=True)
class PairOptions(Options):
    """How pairs are made from unlabelled text.

    Attributes:
        kinds: Which queries to take: ``title``, of a document; ``heading``, of a section; ``snippet``, of a passage
            that has neither, or whose query was there before.
        keep_snippet: Probability with which a snippet is also left in its passage. Left in, it teaches to match words;
            taken out, to match what the text around them is about. 0 was best on development sections.
        max_pairs: Most pairs, drawn evenly from all; memory grows with it.
        passage_words: Words to a passage of which a snippet is drawn; None takes 128 or, in
            :func:`isthmus.training.train_self_supervised`, half of the tokens that training reads.
        negatives: Hard negatives per pair, of BM25 over the encoder's tokenizer. Finding them is cheap, training on
            them is not: each is one more passage to encode.

    Example:
        >>> PairOptions(kinds=("heading",), max_pairs=1000).to_dict()["kinds"]
        ['heading']
    """

    kinds: tuple[Kind, ...] = option(
        KINDS,
        help="Unlabelled text: queries to make.",
        panel="Method",
        kind=str,
        read=_kinds,
        shown="title,heading,snippet; snippet with --teacher",
    )
    keep_snippet: float = option(
        0.0,
        help="Unlabelled text: probability that a snippet stays in its passage.",
        panel="Method",
        shown=f"0; {_TAUGHT['keep_snippet']:g} with --teacher",
    )
    max_pairs: int = option(
        100_000, help="Unlabelled text: most pairs, drawn evenly.", panel="Method", at_least=2, shown="100,000"
    )
    passage_words: int | None = option(
        None,
        help="Unlabelled text: words to a passage of which a snippet is drawn.",
        panel="Method",
        at_least=LEAST_FOR_SNIPPET,
        shown="128, or half of --max-length",
    )
    negatives: int = option(
        0,
        help="Unlabelled text: hard negatives per pair, by BM25; each costs as much time as a positive.",
        panel="Method",
        names=("--mine-negatives",),
        at_least=0,
        shown=f"0; {_TAUGHT['negatives']} with --teacher",
    )

    def __post_init__(self) -> None:
        for kind in self.kinds:
            if kind not in KINDS:
                raise UnknownNameError("kind of pairs", kind, KINDS)
        if not self.kinds:
            raise InputError(f"kinds must be at least one of {', '.join(KINDS)}, got none; leave it at its default")
        if not 0 <= self.keep_snippet <= 1:
            raise InputError(f"keep_snippet must be a probability in 0..1, got {self.keep_snippet}")
        super().__post_init__()

    def to_dict(self) -> dict[str, Any]:
        """JSON values by name."""
        return super().to_dict() | {"kinds": list(self.kinds)}


TAUGHT = PairOptions(**_TAUGHT)
# Teachers that are the encoder itself, with what isthmus.lexical.add_lexical adds to it.
OWN_TEACHERS = ("echo", "hybrid")


def check_teacher(teacher: str | Path | None) -> None:
    """Refuse a teacher that is no encoder, before anything is looked for under its name.

    Raises:
        InputError: If it is BM25.
    """
    if str(teacher).lower() == "bm25":
        raise InputError(
            "teacher must be an encoder, echo or hybrid, got 'bm25'; hybrid has BM25's weights of the words"
        )


@dataclass(frozen=True)
class ScoreOptions(EncodeOptions, RunOptions):
    """How a teacher scores rows; the seed decides which rows both scales are measured on, and the echo's sample.

    Attributes:
        max_length: Tokens per text that the student reads in training, and its own echo with it; None is its limit.
    """

    max_length: int | None = option(None, help="Tokens per text that the student reads.", at_least=1)
