"""Everything a training run can be told, checked in one place; no torch."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from isthmus.errors import InputError, UnknownNameError

Loss = Literal["auto", "contrastive", "margin-mse", "kl"]
Freeze = Literal["none", "all-but-new", "all-but-embeddings"]
Scheduler = Literal["linear", "cosine"]
Recipe = Literal["clear-paper", "proximity-paper", "sembridge-paper"]

# What changes how a run looks from outside, but not what it computes.
COSMETIC = ("logging_steps", "recipe")


@dataclass(frozen=True)
class TrainingSettings:
    """How to train; the defaults suit a transferred SPLADE encoder and some ten thousand pairs.

    Attributes:
        loss: ``contrastive`` ranks each positive above the passages of the other rows of the batch and its own
            negatives; ``margin-mse`` and ``kl`` learn the ``scores`` of a teacher; ``auto`` is margin-mse with scores
            and contrastive without.
        steps: Optimiser steps; None counts ``epochs`` instead.
        epochs: Passes over the data; ignored with ``steps``.
        batch_size: Rows per step and process.
        learning_rate: Peak of AdamW's.
        scheduler: How the learning rate falls from its peak to zero: ``linear``, or as half a ``cosine`` wave.
        warmup: Share of the steps in which the learning rate rises to its peak, 0 or more and below 1.
        limit_rows: Train on the first so many rows of the data; None takes all.
        max_length: Tokens per text while training; None takes the encoder's own. The result keeps the encoder's.
        query_regularizer_weight: Weight of the FLOPS regulariser (Paria et al. 2020) on queries; sparse encoders only.
        document_regularizer_weight: The same on documents; where ``target_active_dims`` starts from.
        regularizer_warmup: Share of the steps in which both weights rise from zero, quadratically, above 0 up to 1.
        target_active_dims: Steer the document weight so that documents have this many active dimensions on average.
        stock_head: Train with sentence-transformers' own vocabulary head instead of the fused one, which is equal up
            to rounding.
        freeze: ``all-but-new`` trains the rows that a transfer made from other rows, ``all-but-embeddings`` everything
            with a vocabulary dimension.
        bf16: bfloat16 autocast; None turns it on where the processor computes in it natively.
        seed: Seed of the order of the data and of dropout.
        save_steps: Steps between checkpoints, and between evaluations on ``development``.
        logging_steps: Steps between log entries and between looks of the monitor.
        max_active_share: The monitor stops when vectors have more than this share of their columns active once the
            regulariser is warm; 1 never does.
        patience: Evaluations without a better nDCG@10 before an early stop.
        recipe: Name of the paper's recipe that the settings come from, see
            :func:`isthmus.training.paper_settings`; the report says where each value is known from.
    """

    loss: Loss = "auto"
    steps: int | None = None
    epochs: float = 1.0
    batch_size: int = 32
    learning_rate: float = 2e-5
    scheduler: Scheduler = "linear"
    warmup: float = 0.1
    limit_rows: int | None = None
    max_length: int | None = None
    query_regularizer_weight: float = 5e-5
    document_regularizer_weight: float = 3e-5
    regularizer_warmup: float = 1 / 3
    target_active_dims: int | None = None
    stock_head: bool = False
    freeze: Freeze = "none"
    bf16: bool | None = None
    seed: int = 0
    save_steps: int = 500
    logging_steps: int = 10
    max_active_share: float = 0.5
    patience: int = 3
    recipe: Recipe | None = None

    def __post_init__(self) -> None:
        for name, kind in (("loss", Loss), ("freeze", Freeze), ("scheduler", Scheduler)):
            if getattr(self, name) not in get_args(kind):
                raise UnknownNameError(name, getattr(self, name), get_args(kind))
        if self.recipe is not None and self.recipe not in get_args(Recipe):
            raise UnknownNameError("recipe", self.recipe, get_args(Recipe))
        for name in (
            "steps",
            "batch_size",
            "limit_rows",
            "max_length",
            "target_active_dims",
            "save_steps",
            "logging_steps",
            "patience",
        ):
            self._check(name, "1 or more", lambda value: value >= 1)
        for name in ("epochs", "learning_rate"):
            self._check(name, "a finite number above 0", lambda value: value > 0)
        for name in ("query_regularizer_weight", "document_regularizer_weight", "seed"):
            self._check(name, "a finite number, 0 or more", lambda value: value >= 0)
        for name in ("regularizer_warmup", "max_active_share"):
            self._check(name, "above 0 and at most 1", lambda value: 0 < value <= 1)
        self._check("warmup", "0 or more and below 1", lambda value: 0 <= value < 1)
        if self.target_active_dims is not None and self.document_regularizer_weight == 0:
            raise InputError(
                "document_regularizer_weight must be above 0 with target_active_dims, which multiplies it, got 0; "
                "leave it at its default"
            )

    def _check(self, name: str, wanted: str, fits: Callable[[float], bool]) -> None:
        value = getattr(self, name)
        if value is not None and not (math.isfinite(value) and fits(value)):
            raise InputError(f"{name} must be {wanted}, got {value}")

    def to_dict(self) -> dict[str, Any]:
        """JSON values by name."""
        return asdict(self)

    def identity(self) -> dict[str, Any]:
        """The settings that decide what comes out; a run goes on only where these are equal."""
        return {name: value for name, value in self.to_dict().items() if name not in COSMETIC}


def check_ranks(negatives: int, skip: int, last_rank: int | None) -> None:
    """Refuse a window of ranks that cannot hold the negatives.

    Raises:
        InputError: As said.
    """
    if last_rank is not None and last_rank < skip + negatives:
        raise InputError(
            f"last_rank must be at least skip + negatives ({skip} + {negatives}), got {last_rank}; raise it, or leave "
            "it out to take the first ranks after skip"
        )
