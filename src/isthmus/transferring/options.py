"""What a transfer can be told."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from isthmus.bridge import BridgeOptions, BridgeVectors
from isthmus.errors import BridgeError, InputError, UnknownNameError
from isthmus.initializers import INITIALIZERS, Initializer, create
from isthmus.options import Self, option
from isthmus.reading.texts import check_text, read_samples
from isthmus.token_map import Fate, TokenMap
from isthmus.vocabulary import Vocabulary
from isthmus.vocabulary.options import OverlapOptions

Bias = Literal["mixed", "zero", "position", "matched"]
Norm = Literal["mixed", "restored"]
Output = Literal["source", "target", "both"]
DEFAULT_OUTPUT: Output = "source"
DEFAULT_FOLD = 0.8
# Sample texts that biases can be matched on.
MIN_TEXTS = 10
# Options of methods that a method without them leaves aside, because presets and comparisons set them for all.
SHARED = ("alpha", "pool")
MakeVectors = Callable[[Vocabulary, Vocabulary], BridgeVectors]


def _text_file(help: str) -> Any:
    """An option that takes text, on the command line a file of it."""
    return option(None, help=help, kind=Path, read=read_samples, check=check_text, recorded=False)


@dataclass(frozen=True)
class TransferOptions(OverlapOptions, BridgeOptions):
    """How to transfer; beside these, what counts as the same token, how a bridge embeds, and what is drawn.

    Attributes:
        method: A key of ``isthmus.initializers.INITIALIZERS``.
        method_options: Options of that method by name; :meth:`of` and :func:`isthmus.transfer` take them by name too.
        bias: Decoder bias: ``mixed`` as the rows; ``zero``; ``position``: token k keeps that of source token k, as
            code that only resizes leaves it (ids beyond the source have none, or the mean where the decoder is not
            tied to the embeddings); or ``matched``: such that mixed columns are active on ``sample_texts`` as often as
            what they are made of (:func:`isthmus.transferring.rows.match_activation`).
        norm: Length of mixed rows: ``mixed`` as the mean gives it, or ``restored`` to the mean length of its parts.
        own_direction: Add a random direction to every mixed row, this many times as long, and scale the row back to
            its length: for encoders that will be trained, which hardly tell rows with the same mixture apart.
        keep_source: Keep the source vocabulary and add the target tokens to it: the result reads all languages, and
            the source's own as before (:func:`isthmus.vocabulary.join_tokenizers` tells which can be joined). Single
            letters of other scripts in the source's vocabulary are made anew like the added tokens.
        output: Vocabulary that a sparse result writes; with ``keep_source`` ``source`` (None: the best), ``target``
            or ``both``. Without, ``target`` (None), or ``source``: it reads the target tokenizer, of any family and
            script, and writes the source's columns, so that its vectors meet the source encoder's in one index.
        fold: Cosine of two tokens' rows above which only the one with the lower id is written, on behalf of both; 1
            folds none. None is the one that measured best: 0.8 with ``keep_source`` and an output other than
            ``source``, else 1.
        sample_texts: Target texts to measure fertility and unknown tokens on, and rates of activation with ``matched``.
        source_texts: Texts of the source's language that ``keep_source`` must leave as they are, and is checked on.
            Their words stay beside those of a built-in English list. None checks the English that is at hand.
        idf_texts: Target documents to compute the query weights of an inference-free encoder from; without them the
            source's weights go through the map.
        language: Languages of the result for its card, ISO 639-1; None takes what the tokenizer's card says.
    """

    method: str = option(
        "sembridge",
        help="Initialisation method; see `isthmus methods`.",
        panel="Method",
        complete=lambda: INITIALIZERS,
        recorded=False,
    )
    method_options: Mapping[str, Any] = field(default_factory=dict)
    bias: Bias = option(
        "mixed",
        help="Decoder bias: as the rows, none, as a resize leaves it (position), or matched on --sample-texts.",
        panel="Method",
    )
    norm: Norm = option(
        "mixed",
        help="Length of mixed rows: as averaging leaves it, or restored to that of their parts.",
        panel="Method",
    )
    own_direction: float = option(
        0.0,
        help="Random direction added to mixed rows, in their lengths; before training, and not with every encoder.",
        panel="Method",
        at_least=0,
    )
    keep_source: bool = option(False, help="Add the target tokens to the source's: one encoder for all.")
    output: Output | None = option(
        None, help="Vocabulary written, whatever tokenizer reads.", shown="source with --keep-source, else target"
    )
    fold: float | None = option(
        None,
        help="Write tokens whose rows have a cosine above this as one; 1 folds none.",
        shown="0.8 with --output target or both",
    )
    sample_texts: Sequence[str] | None = _text_file(
        "Target text: .txt, one a line, or a corpus (.jsonl, .csv, .parquet), all but the last also .gz, .xz or "
        ".zst: fertility and unknown tokens in the report, and --bias matched.",
    )
    source_texts: Sequence[str] | None = _text_file(
        "English text, a file like --sample-texts, that --keep-source must split as before, and is checked on.",
    )
    idf_texts: Iterable[str] | None = _text_file(
        "Target documents, a file like --sample-texts: IDF of inference-free query encoders.",
    )
    language: str | Sequence[str] | None = option(
        None, help="Language of the result, for its card; any number.", kind=list[str], recorded=False
    )

    def __post_init__(self) -> None:
        # What can be told with a remedy of its own comes before what the fields say of themselves.
        _ = self.fold_in_effect
        if not (np.isfinite(self.own_direction) and self.own_direction >= 0):
            raise InputError(f"own_direction must be finite and 0 or more, got {self.own_direction}; 0 adds nothing")
        super().__post_init__()
        if self.bias_in_effect == "matched" and (self.sample_texts is None or len(self.sample_texts) < MIN_TEXTS):
            found = "None" if self.sample_texts is None else len(self.sample_texts)
            raise InputError(
                f"sample_texts must be {MIN_TEXTS} or more with bias 'matched', got {found}; pass texts of the new "
                "language, in which activations are counted"
            )
        if self.source_texts is not None and not self.keep_source:
            raise InputError(
                f"source_texts must come with keep_source, got {len(self.source_texts)} texts without; leave them out"
            )
        pool = self.method_options.get("pool")
        if (self.keep_source or self.reads_beside) and (self.as_released or pool == "all"):
            raise InputError(
                f"as_released must be False and pool 'clean' or 'kind' with "
                f"{'keep_source' if self.keep_source else 'output=' + repr(self.output)}, got "
                f"as_released={self.as_released} and {pool or 'kind'!r}; the released code replaces the vocabulary"
            )

    @classmethod
    def of(cls: type[Self], options: Any = None, /, **changes: Any) -> Self:
        """As :meth:`isthmus.options.Options.of`; what is no field is an option of the method."""
        known = {entry.name for entry in fields(cls)}
        of_method = {name: changes.pop(name) for name in list(changes) if name not in known}
        if of_method:
            before = changes.get("method_options") or getattr(options, "method_options", {})
            changes["method_options"] = {**before, **of_method}
        return super().of(options, **changes)

    @cached_property
    def initializer(self) -> Initializer:
        """The method, with those of the shared options that it has.

        Raises:
            UnknownNameError: If there is no such method.
            InputError: If an option does not fit it.
        """
        known = {entry.name for entry in fields(INITIALIZERS[self.method])} if self.method in INITIALIZERS else set()
        given = {name: value for name, value in self.method_options.items() if name in known or name not in SHARED}
        if self.as_released:
            given |= {name: value for name, value in (("pool", "all"), ("as_released", True)) if name in known}
        return create(self.method, **given)

    def for_static_queries(self) -> TransferOptions:
        """The same for an encoder whose query side writes the very tokens of a text: documents must write them too.

        Raises:
            InputError: If they are not to.
        """
        if self.output == "source" or (self.fold is not None and self.fold < 1):
            raise InputError(
                "output must be 'both' or 'target' and fold 1 for an inference-free encoder, whose queries weigh the "
                f"tokens of their own text, got {self.output!r} and {self.fold}; leave both out"
            )
        return replace(self, output=self.output or ("both" if self.keep_source else None), fold=1.0)

    @property
    def output_in_effect(self) -> Output:
        """The vocabulary that is written.

        Raises:
            UnknownNameError: If ``output`` is none of the three.
            InputError: If it asks for both, which can only be joined when the source is kept.
        """
        if self.output is not None and self.output not in get_args(Output):
            raise UnknownNameError("output", self.output, get_args(Output))
        if self.keep_source:
            return self.output or DEFAULT_OUTPUT
        if self.output == "both":
            raise InputError(
                f"output must be 'target' or 'source' unless keep_source is set, got {self.output!r}; set keep_source, "
                "or leave output out"
            )
        return self.output or "target"

    @property
    def reads_beside(self) -> bool:
        """Whether the target tokenizer is read as it is, beside the source's columns that are written."""
        return not self.keep_source and self.output_in_effect == "source"

    @property
    def silences(self) -> bool:
        """Whether columns are left out of what is written."""
        return self.fold_in_effect < 1 or self.output_in_effect != ("both" if self.keep_source else "target")

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

    def to_dict(self) -> dict[str, Any]:
        """What takes effect beside the method and the seed, which the token map records, as JSON values."""
        return {name: value for name, value in super().to_dict().items() if name != "seed"} | {
            "strip_marker": self.strip_marker and not self.as_released,
            "bias": self.bias_in_effect,
            "norm": self.norm_in_effect,
            "own_direction": self.own_direction_in_effect,
            "output": self.output_in_effect,
            "fold": self.fold_in_effect,
        }


def check_options(
    options: TransferOptions | None = None, *, bridge: Any = None, vectors: Any = None, **changes: Any
) -> TransferOptions:
    """Make one object of the options of :func:`isthmus.transfer`, before anything is loaded, trained or downloaded.

    Args:
        options: None takes the defaults.
        bridge: As for :func:`isthmus.transfer`; it is not opened.
        vectors: Likewise.
        **changes: Fields of ``options`` to replace, or options of the method.

    Raises:
        UnknownNameError: If there is no such method, or another choice is none of those there are.
        InputError: If an option does not fit, or there are texts for a bridge and none is used.
        BridgeError: If the method needs a bridge and there is none.
    """
    options = TransferOptions.of(options, **changes)
    needed = options.initializer.needs_bridge
    if options.has_texts:
        if not needed or bridge is None or vectors is not None:
            raise InputError(
                "bridge_texts and bridge_source_texts must come with a bridge that reads them, without vectors, and a "
                f"method that uses it, got method {options.method!r}; leave them out, or pass bridge="
            )
        # Too few are told now, not after minutes of embedding.
        _ = options.sentences
    if needed and bridge is None and vectors is None:
        without = ", ".join(sorted(name for name, known in INITIALIZERS.items() if not known.needs_bridge))
        raise BridgeError(
            f"method {options.method} must have a bridge, got None; pass bridge= (--bridge, a multilingual "
            f"SentenceTransformer) or vectors= (--vectors), or choose a method without one: {without}"
        )
    return options
