"""Everything an alignment can be told, checked in one place; no torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from inspect import signature
from typing import Any, Literal, get_args

from isthmus.errors import InputError, UnknownNameError
from isthmus.losses.options import (
    Detach,
    EpsPlacement,
    Similarity,
    check_clear,
    check_infonce,
    check_mini_batch_size,
    check_proximity,
    check_similarity,
)
from isthmus.training.settings import TrainingSettings, check_ranks

AlignLoss = Literal["clear", "proximity", "infonce"]

# The options of each loss beside those that all take, and what checks them.
OWN: dict[str, tuple[tuple[str, ...], Callable[..., None]]] = {
    "clear": (("alpha", "beta", "kl", "detach"), check_clear),
    "proximity": (("temperature", "normalize", "eps", "eps_placement", "jsd_weight", "nce_weight"), check_proximity),
    "infonce": (("anchor", "positive"), check_infonce),
}
SHARED = ("similarity", "scale")
# As many as in the recipe of CLEAR; the proximity paper has none.
NEGATIVES = {"clear": 5, "proximity": 0, "infonce": 5}


def _training() -> TrainingSettings:
    return TrainingSettings(batch_size=64, learning_rate=5e-5)


@dataclass(frozen=True)
class AlignSettings:
    """How to align; None leaves an option of a loss at its default, and is all that the other losses' options take.

    Attributes:
        loss: ``clear``, ``proximity`` or ``infonce``, see :mod:`isthmus.losses`.
        training: How to train; its ``loss`` is not used. Batch size and learning rate default to CLEAR's recipe.
        mini_batch_size: Texts of a column to encode at a time, with GradCache; None encodes the batch at once.
        negatives: Hard negatives to mine for every positive that the data has none of; None takes 5, and 0 for
            ``proximity``.
        skip: Leave out this many of the best ranked.
        last_rank: Draw the negatives, by the seed, from the ranks after ``skip`` up to this one; None takes the first
            of them.
        max_score: Take only negatives that score below this share of the positive; None takes all.
        gather_across_devices: Rank the candidates of all processes.
        query_prompt: Put before queries, in training and by the result; None keeps the encoder's own, and an empty text
            takes it away.
        passage_prompt: The same for passages.
        similarity: Of all losses.
        scale: Of all losses.
        alpha: Of ``clear``.
        beta: Of ``clear``.
        kl: Of ``clear``.
        detach: Of ``clear``.
        temperature: Of ``proximity``.
        normalize: Of ``proximity``.
        eps: Of ``proximity``.
        eps_placement: Of ``proximity``.
        jsd_weight: Of ``proximity``.
        nce_weight: Of ``proximity``.
        anchor: Of ``infonce``.
        positive: Of ``infonce``.

    Raises:
        InputError: If a value is out of its range, or belongs to another loss.
    """

    loss: AlignLoss = "clear"
    training: TrainingSettings = field(default_factory=_training)
    mini_batch_size: int | None = None
    negatives: int | None = None
    skip: int = 1
    last_rank: int | None = None
    max_score: float | None = 0.95
    gather_across_devices: bool = False
    query_prompt: str | None = None
    passage_prompt: str | None = None
    similarity: Similarity | None = None
    scale: float | None = None
    alpha: float | None = None
    beta: float | None = None
    kl: bool | None = None
    detach: Detach | None = None
    temperature: float | None = None
    normalize: bool | None = None
    eps: float | None = None
    eps_placement: EpsPlacement | None = None
    jsd_weight: float | None = None
    nce_weight: float | None = None
    anchor: str | None = None
    positive: str | None = None

    def __post_init__(self) -> None:
        if self.loss not in OWN:
            raise UnknownNameError("loss", self.loss, get_args(AlignLoss))
        own, check = OWN[self.loss]
        for loss, (names, _) in OWN.items():
            for name in names:
                value = getattr(self, name)
                if name not in own and value is not None:
                    raise InputError(
                        f"{name} must be left out with loss {self.loss!r}, got {value}; it belongs to {loss!r}"
                    )
        check(**self._given(own))
        check_similarity(self.similarity, self.scale)
        if self.mini_batch_size is not None:
            check_mini_batch_size(self.mini_batch_size)
        for name, number in (("negatives", self.negatives), ("skip", self.skip)):
            if number is not None and number < 0:
                raise InputError(f"{name} must be 0 or more, got {number}")
        check_ranks(self.mined, self.skip, self.last_rank)
        if self.max_score is not None and not self.max_score > 0:
            raise InputError(f"max_score must be above 0, got {self.max_score}; None takes all candidates")

    def _given(self, names: tuple[str, ...]) -> dict[str, Any]:
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}

    @property
    def options(self) -> dict[str, Any]:
        """What the loss takes beside model and columns."""
        return self._given((*OWN[self.loss][0], *SHARED)) | {"gather_across_devices": self.gather_across_devices}

    @property
    def mined(self) -> int:
        """Negatives to mine for a positive that has none."""
        return NEGATIVES[self.loss] if self.negatives is None else self.negatives

    def to_dict(self) -> dict[str, Any]:
        """JSON values by name, the defaults of the loss filled in, without the training settings."""
        found = asdict(self)
        found.pop("training")
        for names, _ in OWN.values():
            for name in names:
                found.pop(name)
        own, check = OWN[self.loss]
        defaults = {name: parameter.default for name, parameter in signature(check).parameters.items()}
        return found | defaults | self._given(own) | {"negatives": self.mined}
