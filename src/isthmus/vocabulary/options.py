"""What matching and training vocabularies can be told."""

from __future__ import annotations

from dataclasses import dataclass

from isthmus.errors import InputError
from isthmus.options import Options, option


@dataclass(frozen=True)
class ReleasedOptions(Options):
    """Whether to do as released code does.

    Attributes:
        as_released: Do as SemBridge's released code in every respect (arXiv 2605.26002): overlap by spelling, markers
            kept, pool ``all``, bias by position; it overrides the options it concerns.
    """

    as_released: bool = option(False, help="Do what the method's released code does, to compare.", panel="Ablation")


@dataclass(frozen=True)
class OverlapOptions(ReleasedOptions):
    """Which tokens of two vocabularies count as the same.

    Attributes:
        exact: Match equal canonical forms.
        fuzzy: Match texts that are equal in lower case, word start or not.
        symbol: Match special tokens without a shared role by spelling, and numeric, punctuation and whitespace tokens,
            exactly or fuzzily, whatever ``exact`` and ``fuzzy`` say.
    """

    exact: bool = option(True, help="Copy tokens that are spelled the same.", panel="Ablation")
    fuzzy: bool = option(True, help="Copy tokens equal but for case and word start.", panel="Ablation")
    symbol: bool = option(True, help="Copy numbers, punctuation and other symbols.", panel="Ablation")


@dataclass(frozen=True)
class TokenizerOptions(Options):
    """How a tokenizer is trained.

    Attributes:
        vocabulary_size: Entries wanted, special ones included; fewer come out where the text supports no more.
        lowercase: Read in lower case, as uncased English encoders do.
        language: ISO 639-1 code. Goes into the card; "tr" and "az" have the lower case of their dotted and dotless i.
        min_frequency: Pieces that would be rarer in the text are not made.
        max_characters: Reading stops after this many.
        held_out_every: One line in this many, at most 2,000 in all, is kept out of training and measured on; 0: none.
        show_progress_bar: None shows bars when stderr is a terminal.
    """

    vocabulary_size: int = option(24_000, help="Entries wanted.", at_least=1)
    lowercase: bool = option(True, help="Read in lower case, as uncased English encoders do.")
    language: str | None = option(None, help="ISO 639-1 code, for the card; tr and az have a dotless i.")
    min_frequency: int = option(2, help="Pieces that are rarer in the text are not made.", panel="Method", at_least=1)
    max_characters: int = option(200_000_000, help="Stop reading after this many characters.", at_least=1)
    held_out_every: int = 50
    show_progress_bar: bool | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.held_out_every < 0:
            raise InputError(f"held_out_every must be 0 or more, got {self.held_out_every}")
