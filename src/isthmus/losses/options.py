"""What the losses can be told; no torch."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar, Literal

from isthmus.errors import InputError, UnknownNameError
from isthmus.losses.roles import ROLES
from isthmus.options import Options, option

Similarity = Literal["cosine", "dot"]
Detach = Literal["none", "forward", "reverse"]
EpsPlacement = Literal["root", "outside", "log"]

# Default scale of each similarity: cosines need one to be told apart, products of sparse vectors do not.
SCALES: dict[Similarity, float] = {"cosine": 20.0, "dot": 1.0}


@dataclass(frozen=True)
class LossOptions(Options):
    """What all losses take.

    Attributes:
        similarity: ``cosine`` or ``dot``; None takes ``dot`` for a SparseEncoder, which is what it searches by, and
            ``cosine`` otherwise.
        scale: What the similarities are multiplied with, the inverse of a temperature; None takes 20 for ``cosine`` and
            1 for ``dot``.
        gather_across_devices: Rank the candidates of all processes instead of this one's.
    """

    name: ClassVar[str] = ""

    similarity: Similarity | None = option(
        None, help="Of the contrastive terms.", panel="Method", shown="cosine; dot for sparse encoders"
    )
    scale: float | None = option(
        None,
        help="Inverse temperature of the contrastive terms.",
        panel="Method",
        above=0,
        shown="20 for cosine, 1 for dot",
    )
    gather_across_devices: bool = option(
        False, help="Rank the candidates of all processes, not of one.", panel="Method", names=("--gather",)
    )

    def own(self) -> dict[str, Any]:
        """The options that this loss has beside those of all."""
        shared = {entry.name for entry in fields(LossOptions)}
        return {name: value for name, value in asdict(self).items() if name not in shared}


@dataclass(frozen=True)
class CLEAROptions(LossOptions):
    """Weights of :class:`isthmus.losses.CLEARLoss`.

    Attributes:
        alpha: Weight of the reverse term.
        beta: Weight of the divergence; not used without ``kl``.
        kl: Add the divergence; the authors' recipe does, their code's default does not.
        detach: Side of the divergence that gets no gradient from it; none in the authors' code.

    Raises:
        InputError: If the weights leave less than nothing to the forward term.
    """

    name: ClassVar[str] = "clear"

    alpha: float = option(0.4, help="clear: weight of the reverse term.", panel="Method", at_least=0)
    beta: float = option(0.2, help="clear: weight of the divergence.", panel="Method", at_least=0)
    kl: bool = option(True, help="clear: add the divergence.", panel="Method")
    detach: Detach = option("none", help="clear: side of the divergence that gets no gradient.", panel="Ablation")

    def __post_init__(self) -> None:
        super().__post_init__()
        total, names = (self.alpha + self.beta, "alpha + beta") if self.kl else (self.alpha, "alpha")
        if total > 1:
            raise InputError(f"{names} must be at most 1, got {total:g}; the forward term weighs what is left")


@dataclass(frozen=True)
class ProximityOptions(LossOptions):
    """What :class:`isthmus.losses.ProximityLoss` leaves open.

    Attributes:
        temperature: Divides the vectors before the softmax; shares of sparse vectors have none.
        normalize: Scale the vectors to length 1 before the softmax; of no use to shares.
        eps: Added so that the root has a slope where both distributions are equal.
        eps_placement: ``root`` adds it to JSD, below the root; ``outside`` adds it to the root, as notes on the paper
            print it; ``log`` adds it to P, Q and M inside the logarithms. With the last two, a row whose distributions
            are equal gets no gradient.
        jsd_weight: Weight of the divergence.
        nce_weight: Weight of the contrast.

    Raises:
        InputError: If both weights are 0.
    """

    name: ClassVar[str] = "proximity"

    temperature: float = option(
        1.0, help="proximity: of the softmax over dimensions.", panel="Method", above=0, shown="1"
    )
    normalize: bool = option(
        False, help="proximity: unit vectors first.", panel="Method", names=("--normalize/--no-normalize",)
    )
    eps: float = option(1e-8, help="proximity: keeps a slope where nothing differs.", panel="Ablation", above=0)
    eps_placement: EpsPlacement = option("root", help="proximity: where --eps is added.", panel="Ablation")
    jsd_weight: float = option(1.0, help="proximity: weight of the divergence.", panel="Method", at_least=0, shown="1")
    nce_weight: float = option(1.0, help="proximity: weight of the contrast.", panel="Method", at_least=0, shown="1")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.jsd_weight == self.nce_weight == 0:
            raise InputError("jsd_weight and nce_weight must not both be 0; leave one at its default")


@dataclass(frozen=True)
class InfoNCEOptions(LossOptions):
    """The two columns of :class:`isthmus.losses.InfoNCELoss`.

    Attributes:
        anchor: Column of the anchors.
        positive: Column of the positives.

    Raises:
        UnknownNameError: If a column is no role.
        InputError: If both are the same.
    """

    name: ClassVar[str] = "infonce"

    anchor: str = option("query", help="infonce: column of the anchors.", panel="Method")
    positive: str = option("pivot_passage", help="infonce: column of the positives.", panel="Method")

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, value in self.own().items():
            if value not in ROLES:
                raise UnknownNameError(name, value, ROLES)
        if self.anchor == self.positive:
            raise InputError(f"anchor and positive must be two columns, got {self.anchor!r} twice")


AlignLossOptions = CLEAROptions | ProximityOptions | InfoNCEOptions
ALIGN_LOSSES: dict[str, type[AlignLossOptions]] = {
    made.name: made for made in (CLEAROptions, ProximityOptions, InfoNCEOptions)
}


@dataclass(frozen=True)
class AnyLossOptions(CLEAROptions, ProximityOptions, InfoNCEOptions):
    """The options of all losses at once, which the command line has; never made."""


@dataclass(frozen=True)
class CachedOptions(Options):
    """How GradCache splits a batch.

    Attributes:
        mini_batch_size: Texts of a column to encode at a time; how much memory that takes does not depend on the batch.
            None encodes the batch at once.
    """

    mini_batch_size: int | None = option(
        None, help="Texts to encode at a time, by GradCache.", panel="Method", at_least=1, shown="the batch"
    )
