"""What both entry points of a transfer take."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from isthmus.bridge import BridgeVectors, add_sentences
from isthmus.bridge.sentences import choose_sentences
from isthmus.errors import BridgeError, InputError, UnknownNameError
from isthmus.initializers import INITIALIZERS, Initializer, create
from isthmus.initializers.base import Pool
from isthmus.token_map import Fate, TokenMap
from isthmus.vocabulary import Overlap, Vocabulary, match

Bias = Literal["mixed", "zero", "position", "matched"]
Norm = Literal["mixed", "restored"]
Output = Literal["source", "target", "both"]
DEFAULT_OUTPUT: Output = "source"
DEFAULT_FOLD = 0.8
# Sample texts that biases can be matched on.
MIN_TEXTS = 10
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
    refine: bool
    bridge_texts: Sequence[str] | None
    bridge_source_texts: Sequence[str] | None
    pool: Pool
    bias: Bias
    norm: Norm
    own_direction: float
    keep_source: bool
    output: Output | None
    fold: float | None
    idf_texts: Iterable[str] | None
    sample_texts: Sequence[str] | None
    seed: int
    show_progress_bar: bool | None
    options: dict[str, Any]

    def __post_init__(self) -> None:
        # A wrong choice is told before anything is downloaded.
        _ = self.fold_in_effect
        if self.norm not in get_args(Norm):
            raise UnknownNameError("norm", self.norm, get_args(Norm))
        if not (np.isfinite(self.own_direction) and self.own_direction >= 0):
            raise InputError(f"own_direction must be finite and 0 or more, got {self.own_direction}; 0 adds nothing")
        if self.seed < 0:
            raise InputError(f"seed must be 0 or more, got {self.seed}")
        if self.bias_in_effect == "matched" and (self.sample_texts is None or len(self.sample_texts) < MIN_TEXTS):
            found = "None" if self.sample_texts is None else len(self.sample_texts)
            raise InputError(
                f"sample_texts must be {MIN_TEXTS} or more with bias 'matched', got {found}; pass texts of the new "
                "language, in which activations are counted"
            )
        if (self.bridge_texts, self.bridge_source_texts) != (None, None) and not self.refine_in_effect:
            raise InputError(
                "bridge_texts must come with refine and without as_released, which learn nothing from texts, got "
                f"refine={self.refine} and as_released={self.as_released}; leave them out"
            )
        for texts in (self.bridge_texts, self.bridge_source_texts):
            if texts is not None:
                # Too few are told now, not after minutes of embedding.
                choose_sentences(texts, self.seed)
        if self.keep_source and (self.as_released or self.pool == "all"):
            raise InputError(
                "as_released must be False and pool 'clean' or 'kind' with keep_source, got "
                f"as_released={self.as_released} and {self.pool!r}; the released code replaces the vocabulary"
            )

    def for_static_queries(self) -> Settings:
        """The same for an encoder whose query side writes the very tokens of a text: documents must write them too.

        Raises:
            InputError: If they are not to.
        """
        if (self.keep_source and self.output == "source") or (self.fold is not None and self.fold < 1):
            raise InputError(
                "output must be 'both' or 'target' and fold 1 for an inference-free encoder, whose queries weigh the "
                f"tokens of their own text, got {self.output!r} and {self.fold}; leave both out"
            )
        return replace(self, output=self.output or ("both" if self.keep_source else None), fold=1.0)

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

    def check_bridge(self, *, bridge: bool, vectors: bool) -> None:
        """Refuse a method that needs a bridge without one, and texts that no bridge would read.

        Args:
            bridge: Whether there is a bridge.
            vectors: Whether there are vectors of one.

        Raises:
            BridgeError: If the method needs one and there is none.
            InputError: If there are texts for a bridge, and none is used.
        """
        needed = self.initializer().needs_bridge
        if (self.bridge_texts, self.bridge_source_texts) != (None, None) and not (needed and bridge and not vectors):
            raise InputError(
                "bridge_texts and bridge_source_texts must come with a bridge that reads them, without vectors, and a "
                f"method that uses it, got method {self.method!r}; leave them out, or pass bridge="
            )
        if needed and not (bridge or vectors):
            without = ", ".join(sorted(name for name, known in INITIALIZERS.items() if not known.needs_bridge))
            raise BridgeError(
                f"method {self.method} must have a bridge, got None; pass bridge= (--bridge, a multilingual "
                f"SentenceTransformer) or vectors= (--vectors), or choose a method without one: {without}"
            )

    def overlap(self, target: Vocabulary, source: Vocabulary, kept: NDArray[np.bool_] | None) -> Overlap:
        """Match the vocabularies; ``kept`` as for :func:`isthmus.vocabulary.match`."""
        switches = {"exact": self.exact, "fuzzy": self.fuzzy, "symbol": self.symbol}
        return match(target, source, **switches, as_released=self.as_released, kept=kept)

    @property
    def output_in_effect(self) -> Output:
        """The vocabulary that is written.

        Raises:
            UnknownNameError: If ``output`` is none of the three.
            InputError: If it asks for the source's tokens, which are only there when they are kept.
        """
        if self.output is not None and self.output not in get_args(Output):
            raise UnknownNameError("output", self.output, get_args(Output))
        if self.keep_source:
            return self.output or DEFAULT_OUTPUT
        if self.output in ("source", "both"):
            raise InputError(
                f"output must be 'target' unless keep_source is set, got {self.output!r}; set keep_source, or leave "
                "output out"
            )
        return "target"

    def check_mixed(self, token_map: TokenMap) -> TokenMap:
        """Refuse what changes mixed rows alone where there is none, and note directions of their own in the map.

        Raises:
            InputError: If there is none.
        """
        asked = {
            "bias 'matched'": self.bias_in_effect == "matched",
            "norm 'restored'": self.norm_in_effect == "restored",
            "own_direction": self.own_direction_in_effect > 0,
        }
        names = [name for name, wanted in asked.items() if wanted]
        if names and not token_map.has(Fate.BRIDGED):
            raise InputError(
                f"{names[0]} must come with a method that mixes rows, got {self.method!r}, which mixed none; leave it "
                "out"
            )
        if not self.own_direction_in_effect:
            return token_map
        return replace(token_map, info=token_map.info | {"own_direction": self.own_direction_in_effect})

    @property
    def bias_in_effect(self) -> Bias:
        """The decoder bias, which the released code leaves by position."""
        return "position" if self.as_released else self.bias

    @property
    def norm_in_effect(self) -> Norm:
        """The length of mixed rows, which the released code leaves."""
        return "mixed" if self.as_released else self.norm

    @property
    def own_direction_in_effect(self) -> float:
        """What is added to mixed rows, which the released code leaves."""
        return 0.0 if self.as_released else float(self.own_direction)

    @property
    def fold_in_effect(self) -> float:
        """Cosine above which columns are folded into one; 1 folds none.

        Raises:
            InputError: If it is outside 0..1, or the source's vocabulary is the one written, which has nothing to fold,
                or rows have directions of their own.
        """
        output = self.output_in_effect
        if self.fold is None:
            return DEFAULT_FOLD if self.keep_source and output != "source" and not self.own_direction else 1.0
        if not 0 <= self.fold <= 1:
            raise InputError(f"fold must be in 0..1, got {self.fold}; 1 folds nothing")
        if self.own_direction and self.fold < 1:
            raise InputError(f"fold must be 1 with own_direction, which parts the rows it folds, got {self.fold}")
        if output == "source" and self.fold < 1:
            raise InputError(
                f"fold must be None where the source vocabulary is written, got {self.fold}; leave it out, or write "
                "another vocabulary with output='both' or 'target'"
            )
        return self.fold

    @property
    def refine_in_effect(self) -> bool:
        """Whether the bridge's vectors are refined, which the released code does not."""
        return self.refine and not self.as_released

    def recorded(self, *, sparse: bool = True) -> dict[str, Any]:
        """What took effect beside the options of the method, as JSON values; dense encoders have no bias nor output."""
        switches = {"exact": self.exact, "fuzzy": self.fuzzy, "symbol": self.symbol, "as_released": self.as_released}
        return switches | {
            "strip_marker": self.token_texts()["strip_marker"],
            "bias": self.bias_in_effect if sparse else None,
            "norm": self.norm_in_effect,
            "own_direction": self.own_direction_in_effect,
            "keep_source": self.keep_source,
            "output": self.output_in_effect if sparse else None,
            "fold": self.fold_in_effect if sparse else None,
        }

    def with_sentences(self, bridge: Any, vectors: BridgeVectors, *, cache: bool = True) -> BridgeVectors:
        """Add the sentences to learn from, where there are any."""
        return add_sentences(
            vectors, bridge, self.bridge_source_texts, self.bridge_texts,
            seed=self.seed, cache=cache, show_progress_bar=self.show_progress_bar,
        )  # fmt: skip

    def token_texts(self) -> dict[str, Any]:
        """How token texts reach the bridge, as arguments of ``embed_vocabularies``."""
        return {
            "strip_marker": self.strip_marker and not self.as_released,
            "as_released": self.as_released,
            "show_progress_bar": self.show_progress_bar,
        }
