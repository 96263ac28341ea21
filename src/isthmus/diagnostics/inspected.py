"""The parts of an encoder that are looked at, found without refusing a broken one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sentence_transformers import SentenceTransformer, SparseEncoder
from sentence_transformers.base.modules import Transformer
from sentence_transformers.sentence_transformer.modules import Pooling
from sentence_transformers.sparse_encoder.modules import SpladePooling

from isthmus.encoders.heads import Head, find_head
from isthmus.errors import EncoderError, TokenizerError
from isthmus.vocabulary import Vocabulary

# No logit of a published encoder outweighs this. A transfer silences columns by -10000, others by -100.
SILENCED = -20.0


@dataclass(frozen=True)
class InspectedParts:
    """What the checks look at.

    Attributes:
        encoder: The encoder.
        sparse: Whether it is a SparseEncoder.
        transformers: Its Transformer modules, those of a Router included.
        heads: Vocabulary tensors of each; None where it has none that fit together.
        faults: Why there is no head, "" where there is one.
        splade: Its SpladePooling modules.
        pooling: Its Pooling modules.
        tokenizer: Its tokenizer, or None.
        vocabulary: What the tokenizer holds, or None where it cannot be read.
    """

    encoder: Any
    sparse: bool
    transformers: tuple[Any, ...]
    heads: tuple[Head | None, ...]
    faults: tuple[str, ...]
    splade: tuple[Any, ...]
    pooling: tuple[Any, ...]
    tokenizer: Any
    vocabulary: Vocabulary | None

    @property
    def lexical(self) -> bool:
        """Whether columns of the vectors are tokens: a masked language model under SPLADE pooling."""
        return self.sparse and bool(self.splade)

    def silenced(self) -> set[int]:
        """Columns that a decoder bias keeps from ever being active."""
        found: set[int] = set()
        for module, head in zip(self.transformers, self.heads, strict=True):
            for bias in biases(module.model, head):
                found.update((bias <= SILENCED).nonzero().flatten().tolist())
        return found


def look_into(encoder: Any) -> InspectedParts:
    """Find the parts of an encoder.

    Raises:
        EncoderError: If it is neither a SparseEncoder nor a SentenceTransformer.
    """
    sparse = isinstance(encoder, SparseEncoder)
    if not sparse and not isinstance(encoder, SentenceTransformer):
        raise EncoderError(
            "encoder must be a sentence-transformers SparseEncoder or SentenceTransformer, got "
            f"{type(encoder).__name__}; load it with one of them"
        )
    modules = list(encoder.modules())
    transformers = tuple(module for module in modules if isinstance(module, Transformer))
    splade = tuple(module for module in modules if isinstance(module, SpladePooling))
    found = [_head(module.model, needs_decoder=bool(splade)) for module in transformers]
    tokenizer = getattr(transformers[0] if transformers else encoder, "tokenizer", None)
    try:
        vocabulary = None if tokenizer is None else Vocabulary.from_tokenizer(tokenizer)
    except TokenizerError:
        vocabulary = None
    return InspectedParts(
        encoder=encoder,
        sparse=sparse,
        transformers=transformers,
        heads=tuple(head for head, _ in found),
        faults=tuple(fault for _, fault in found),
        splade=splade,
        pooling=tuple(module for module in modules if isinstance(module, Pooling)),
        tokenizer=tokenizer,
        vocabulary=vocabulary,
    )


def biases(model: Any, head: Head | None) -> list[Any]:
    """Decoder biases of a model, as detached tensors on the CPU, each of shape (rows,)."""
    if head is None:
        return []
    parameters = dict(model.named_parameters(remove_duplicate=False))
    return [parameters[name].detach().float().cpu() for name in head.bias]


def _head(model: Any, *, needs_decoder: bool) -> tuple[Head | None, str]:
    try:
        return find_head(model, needs_decoder=needs_decoder), ""
    except EncoderError as error:
        return None, str(error)
