"""What training and alignment can be told; no torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, TypeVar

from isthmus.errors import InputError, UnknownNameError
from isthmus.losses.options import ALIGN_LOSSES, AlignLossOptions, CachedOptions, CLEAROptions, LossOptions
from isthmus.options import OpenOptions, RunOptions, option
from isthmus.training.mine_options import MineOptions, RankOptions

Loss = Literal["auto", "contrastive", "margin-mse", "kl"]
AlignLoss = Literal["clear", "proximity", "infonce"]
Freeze = Literal["none", "all-but-new", "all-but-embeddings"]
Scheduler = Literal["linear", "cosine"]
Self = TypeVar("Self", bound="AlignOptions")

# What changes how a run looks from outside, but not what it computes.
COSMETIC = ("logging_steps", "recipe")
# As many as in the recipe of CLEAR; the proximity paper has none.
NEGATIVES = {"clear": 5, "proximity": 0, "infonce": 5}


def _recipes() -> Iterable[str]:
    from isthmus.training.paper_recipes import RECIPES

    return RECIPES


@dataclass(frozen=True)
class TrainerOptions(OpenOptions, RunOptions):
    """What every run of a trainer takes; the defaults suit a transferred SPLADE encoder and some ten thousand pairs.

    Attributes:
        loss: What to train with; each verb has its own.
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
        save_steps: Steps between checkpoints, and between evaluations on ``development``.
        logging_steps: Steps between log entries and between looks of the monitor.
        max_active_share: The monitor stops when vectors have more than this share of their columns active once the
            regulariser is warm; 1 never does.
        patience: Evaluations without a better nDCG@10 before an early stop.
        recipe: Name of the paper's recipe that the options come from, see
            :func:`isthmus.training.paper_settings`; the report says where each value is known from.
        development: Collection, as for :func:`isthmus.load_collection`, on which nDCG@10 is measured before training
            and every ``save_steps``; the best checkpoint is kept and the run stops early without progress.
        language: ISO 639-1 code of that collection.
        overwrite: Replace the encoder in the folder, and checkpoints there that were made with other options.
        show_progress_bar: None shows it on a terminal.
    """

    loss: Any = None
    steps: int | None = option(None, help="Optimiser steps; instead of --epochs.", at_least=1)
    epochs: float = option(1.0, help="Passes over the data.", above=0, shown="1")
    batch_size: int = option(32, help="Rows per step and process.", at_least=1)
    learning_rate: float = option(2e-5, help="Peak learning rate.", above=0)
    scheduler: Scheduler = option("linear", help="How the learning rate falls from its peak to zero.", panel="Method")
    warmup: float = option(
        0.1, help="Share of the steps in which the learning rate rises.", panel="Method", at_least=0, below=1
    )
    limit_rows: int | None = option(None, help="Train on the first so many rows of --train.", at_least=1, shown="all")
    max_length: int | None = option(None, help="Tokens per text while training.", at_least=1, shown="the encoder's")
    query_regularizer_weight: float = option(5e-5, help="Sparsity of queries.", panel="Method", at_least=0)
    document_regularizer_weight: float = option(3e-5, help="Sparsity of documents.", panel="Method", at_least=0)
    regularizer_warmup: float = option(
        1 / 3, help="Share of the steps in which the two weights rise.", panel="Method", above=0, at_most=1
    )
    target_active_dims: int | None = option(
        None, help="Steer the document weight to this many active dimensions.", panel="Method", at_least=1
    )
    stock_head: bool = option(False, help="Use sentence-transformers' own vocabulary head.", panel="Ablation")
    freeze: Freeze = option("none", help="Train everything, a transfer's new rows, or the embeddings.", panel="Method")
    bf16: bool | None = option(
        None, help="bfloat16 autocast.", panel="Method", names=("--bf16/--no-bf16",), shown="where native"
    )
    save_steps: int = option(500, help="Steps between checkpoints and evaluations.", at_least=1)
    logging_steps: int = option(10, help="Steps between log entries.", at_least=1)
    max_active_share: float = option(
        0.5, help="Stop when vectors have a larger share of columns active.", panel="Method", above=0, at_most=1
    )
    patience: int = option(3, help="Evaluations without progress before stopping.", at_least=1)
    recipe: str | None = option(
        None,
        help="Settings of a paper, see `isthmus recipes`; what is given beside it comes first.",
        panel="Method",
        complete=_recipes,
    )
    development: Any = option(
        None,
        help="Development collection: keep the best nDCG@10, stop early.",
        names=("--eval",),
        kind=str,
        recorded=False,
    )
    language: str | None = option(None, help="ISO 639-1 code of the collection's language.", recorded=False)
    overwrite: bool = option(
        False, help="Replace the encoder, or another run's checkpoints, in the folder.", panel="Output", recorded=False
    )
    show_progress_bar: bool | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.recipe is not None:
            from isthmus.training.paper_recipes import find_recipe

            find_recipe(self.recipe)
        if self.target_active_dims is not None and self.document_regularizer_weight == 0:
            raise InputError(
                "document_regularizer_weight must be above 0 with target_active_dims, which multiplies it, got 0; "
                "leave it at its default"
            )

    def identity(self) -> dict[str, Any]:
        """The options that decide what comes out; a run goes on only where these are equal."""
        return {name: value for name, value in self.to_dict().items() if name not in COSMETIC}


@dataclass(frozen=True)
class TrainOptions(TrainerOptions):
    """How :func:`isthmus.training.train` trains.

    Attributes:
        loss: ``contrastive`` ranks each positive above the passages of the other rows of the batch and its own
            negatives; ``margin-mse`` and ``kl`` learn the ``scores`` of a teacher; ``auto`` is margin-mse with scores
            and contrastive without.

    Example:
        >>> TrainOptions(steps=100).batch_size
        32
    """

    loss: Loss = option(
        "auto", help="auto: margin-mse where the data has scores or there is a teacher, else contrastive."
    )


def _columns(given: list[str]) -> dict[str, str]:
    """Names of columns by role, of ROLE=NAME."""
    found = {}
    for one in given:
        role, equals, name = one.partition("=")
        if not (role and equals and name):
            raise InputError(f"--column must be ROLE=NAME, got {one!r}; as in --column pivot_query=query_en")
        found[role] = name
    return found


@dataclass(frozen=True)
class AlignOptions(TrainerOptions, RankOptions, CachedOptions):
    """How :func:`isthmus.training.align` aligns; batch size and learning rate default to CLEAR's recipe.

    :meth:`of` and :func:`isthmus.training.align` also take a loss by its name, and its options beside it.

    Attributes:
        loss: Options of CLEAR, of semantic proximity or of InfoNCE, see :mod:`isthmus.losses`.
        negatives: Hard negatives to mine for every positive that the data has none of; None takes 5, and 0 for
            ``proximity``.
        query_prompt: Put before queries, in training and by the result; None keeps the encoder's own, and an empty text
            takes it away.
        passage_prompt: The same for passages.
        columns: By role, the name that the data has for it.

    Example:
        >>> AlignOptions.of(loss="clear", alpha=0.3, steps=50).loss.alpha
        0.3
    """

    loss: AlignLossOptions = option(factory=CLEAROptions, help="What to train with.", kind=AlignLoss, shown="clear")
    batch_size: int = option(64, help="Rows per step and process.", at_least=1)
    learning_rate: float = option(5e-5, help="Peak learning rate.", above=0)
    negatives: int | None = option(
        None,
        help="Hard negatives to mine where the data has none.",
        panel="Method",
        at_least=0,
        shown="5; 0 for proximity",
    )
    query_prompt: str | None = option(
        None, help="Put before queries from now on; '' for none.", panel="Method", shown="the encoder's"
    )
    passage_prompt: str | None = option(
        None, help="Put before passages from now on; '' for none.", panel="Method", shown="the encoder's"
    )
    columns: Mapping[str, str] | None = option(
        None,
        help="ROLE=NAME where the data has another name: pivot_query=query_en. May come again.",
        names=("--column",),
        kind=list[str],
        metavar="ROLE=NAME",
        read=_columns,
        recorded=False,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.loss, LossOptions):
            raise InputError(
                f"loss must be options such as CLEAROptions, got {self.loss!r}; a loss is taken by its name by "
                "AlignOptions.of and align"
            )
        self.check_ranks(self.mined)

    @classmethod
    def of(cls: type[Self], options: Any = None, /, **changes: Any) -> Self:
        """What a verb was given, as one object.

        Args:
            options: An object of this class; None takes the defaults.
            **changes: Fields to replace; ``loss`` may be a name, and fields of the loss may stand beside it.

        Raises:
            UnknownNameError: If there is no loss of this name.
            InputError: If a value does not fit, or belongs to another loss.
        """
        base = super().of(options)
        loss: Any = changes.pop("loss", base.loss)
        if isinstance(loss, str):
            if loss not in ALIGN_LOSSES:
                raise UnknownNameError("loss", loss, ALIGN_LOSSES)
            # Of another loss, what all losses take stays.
            shared = {entry.name: getattr(base.loss, entry.name) for entry in fields(LossOptions)}
            loss = base.loss if base.loss.name == loss else ALIGN_LOSSES[loss](**shared)
        names = {entry.name for entry in fields(loss)}
        for other in ALIGN_LOSSES.values():
            for name in other().own().keys() & changes.keys() - names:
                raise InputError(
                    f"{name} must be left out with loss {loss.name!r}, got {changes[name]}; it belongs to "
                    f"{other.name!r}"
                )
        own = {name: changes.pop(name) for name in names & changes.keys()}
        return super().of(options, loss=replace(loss, **own), **changes)

    @property
    def mined(self) -> int:
        """Negatives to mine for a positive that has none."""
        return NEGATIVES[self.loss.name] if self.negatives is None else self.negatives

    def mining(self) -> MineOptions:
        """How negatives are mined where the data has none."""
        return MineOptions(
            negatives=self.mined,
            skip=self.skip,
            last_rank=self.last_rank,
            max_score=self.max_score,
            batch_size=self.mini_batch_size or self.batch_size,
            seed=self.seed,
            show_progress_bar=self.show_progress_bar,
        )

    def to_dict(self) -> dict[str, Any]:
        """JSON values by name, those of the loss among them."""
        return super().to_dict() | {"loss": self.loss.name, "negatives": self.mined} | self.loss.to_dict()
