"""What both entry points of a transfer take."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

from isthmus.bridge import BridgeVectors
from isthmus.initializers import INITIALIZERS, Initializer, create
from isthmus.initializers.base import Pool
from isthmus.vocabulary import Overlap, Vocabulary, match

Bias = Literal["mixed", "zero", "position"]
MakeVectors = Callable[[Vocabulary, Vocabulary], BridgeVectors]


@dataclass(frozen=True)
class Settings:
    """The arguments of ``transfer`` that say how; see there."""

    method: str
    alpha: float
    as_released: bool
    exact: bool
    fuzzy: bool
    symbol: bool
    strip_marker: bool
    pool: Pool
    bias: Bias
    idf_texts: Iterable[str] | None
    sample_texts: Sequence[str] | None
    seed: int
    show_progress_bar: bool | None
    options: dict[str, Any]

    def initializer(self) -> Initializer:
        """Make the method, with those of the shared options that it has.

        Raises:
            UnknownNameError: If there is no such method.
            InputError: If an option does not fit it.
        """
        shared = {
            "alpha": self.alpha,
            "pool": "all" if self.as_released else self.pool,
            "as_released": self.as_released,
        }
        known = {option.name for option in fields(INITIALIZERS[self.method])} if self.method in INITIALIZERS else set()
        return create(self.method, **{name: value for name, value in shared.items() if name in known}, **self.options)

    def overlap(self, target: Vocabulary, source: Vocabulary) -> Overlap:
        """Match the vocabularies."""
        switches = {"exact": self.exact, "fuzzy": self.fuzzy, "symbol": self.symbol}
        return match(target, source, **switches, as_released=self.as_released)

    @property
    def bias_in_effect(self) -> Bias:
        """The decoder bias, which the released code leaves by position."""
        return "position" if self.as_released else self.bias

    def recorded(self) -> dict[str, Any]:
        """What took effect beside the options of the method, as JSON values."""
        switches = {"exact": self.exact, "fuzzy": self.fuzzy, "symbol": self.symbol, "as_released": self.as_released}
        return switches | {"strip_marker": self.bridge_texts()["strip_marker"], "bias": self.bias_in_effect}

    def bridge_texts(self) -> dict[str, Any]:
        """How token texts reach the bridge, as arguments of ``embed_vocabularies``."""
        return {
            "strip_marker": self.strip_marker and not self.as_released,
            "as_released": self.as_released,
            "show_progress_bar": self.show_progress_bar,
        }


@dataclass(frozen=True)
class Origin:
    """Where the parts come from, for the model card; None and empty where unknown."""

    license: str | None = None
    base_model: str | None = None
    tokenizer_name: str | None = None
    languages: tuple[str, ...] = ()


def languages_of(language: str | Sequence[str] | None) -> tuple[str, ...]:
    """One language, several or none, as a tuple."""
    return () if language is None else (language,) if isinstance(language, str) else tuple(language)
