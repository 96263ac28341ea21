"""Options of the lexical part that is added to an encoder; neither numpy nor torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from isthmus.errors import InputError, UnknownNameError
from isthmus.options import EncodeOptions, Options, RunOptions, option

# Of the lexical scores' spread to that of the encoder's, and of the IDF: chosen on development data.
WEIGHT = 2.0
POWER = 0.75
# With pairs: what a kept token tells in its language, against what it costs questions in English.
PAIRED_KNOWN_SHARE = 0.5
# Texts that are encoded to find the strength.
MAX_TEXTS = 2000
ADDED = {"echo": ["lexical echo"], "hybrid": ["a lexical block"], "none": []}


@dataclass(frozen=True)
class LexicalOptions(Options):
    """A lexical part for an encoder.

    Attributes:
        mode: ``echo`` raises columns of the vocabulary, ``hybrid`` puts a second block of columns behind them, ``none``
            calibrates alone.
        weight: Spread of the lexical scores, known tokens counted as others, as a multiple of that of the encoder's;
            None is 2.
        pairs: Give pairs of neighbouring tokens columns too, with ``hybrid``.
        calibrate: Multiply every column by the square root of the IDF of its activation,
            sqrt(log(1 + (N - df + 0.5) / (df + 0.5))), df being the number of sampled texts in which it is active.
        trim: Largest entries of the encoder's own, of a query and of a document, that are kept beside the words; None
            keeps all. The strength is that of the whole vectors either way.
    """

    mode: Literal["echo", "hybrid", "none"] = option(
        "echo",
        names=("--lexical",),
        help="Add the words of a text to its vector: echo raises columns, hybrid adds as many; none calibrates alone.",
        panel="Method",
        shown="nothing is added",
    )
    weight: float | None = option(
        None,
        names=("--lexical-weight",),
        help="Spread of the lexical scores, as a multiple of that of the encoder's.",
        panel="Method",
        above=0,
        shown=f"{WEIGHT:g} with --lexical",
    )
    pairs: bool = option(
        False,
        names=("--lexical-pairs/--no-lexical-pairs",),
        help="Columns for pairs of neighbouring tokens too (--lexical hybrid).",
        panel="Method",
    )
    calibrate: bool = option(
        True,
        names=("--calibrate/--no-calibrate",),
        help="Weigh down columns that are active in many texts (--lexical).",
        panel="Method",
    )
    trim: tuple[int, int] | None = option(
        None,
        names=("--lexical-trim",),
        help="Keep only so many entries of the encoder's own, of a query and of a document (--lexical): 8 16 makes an "
        "index about as large as BM25's.",
        panel="Method",
        metavar="QUERY DOCUMENT",
        shown="all",
    )

    def __post_init__(self) -> None:
        if self.mode not in ADDED:
            raise UnknownNameError("mode", str(self.mode), [name for name, words in ADDED.items() if words])
        if self.mode == "none" and not self.calibrate:
            raise InputError("mode must be echo or hybrid where calibrate is False, got none; nothing would be added")
        if self.pairs and self.mode != "hybrid":
            raise InputError(f"pairs must go with mode hybrid, got {self.mode} (--lexical hybrid --lexical-pairs)")
        super().__post_init__()

    def describe(self) -> str:
        """What is added, in words."""
        cut = [] if self.trim is None else [f"a trim to {self.trim[0]} and {self.trim[1]} entries"]
        paired = ["pairs of tokens"] if self.pairs else []
        return " and ".join([*ADDED[self.mode], *paired, *(["column calibration"] if self.calibrate else []), *cut])


@dataclass(frozen=True)
class NewEncoderOptions(LexicalOptions):
    """A lexical part for a new encoder, and the folder of that encoder.

    Attributes:
        lexical_folder: The folder; None takes one beside what is made with it.
    """

    lexical_folder: Path | None = option(
        None,
        help="Where the encoder with these parts goes (--lexical).",
        panel="Output",
        shown="OUTPUT.encoder",
        recorded=False,
    )


@dataclass(frozen=True)
class AddLexicalOptions(LexicalOptions, EncodeOptions, RunOptions):
    """A lexical part, and how it is fitted to texts.

    Attributes:
        power: Exponent of the IDF; None is 0.75. With 0.5, lexical scores are those of BM25.
        k1: Saturation of the number of occurrences, as in BM25.
        b: Normalisation by length, as in BM25.
        known_share: Share of a known token in a score, of what another would have, 0 to 1; None is 0.5 for ``echo`` and
            with ``pairs``, 0.25 for ``hybrid`` without.
        max_texts: Size of the sample of texts that are encoded.
    """

    power: float | None = None
    k1: float = 1.5
    b: float = 0.75
    known_share: float | None = None
    max_texts: int = MAX_TEXTS
