"""What the losses can be told, checked in one place; no torch."""

from __future__ import annotations

import math
from typing import Literal, get_args

from isthmus.errors import InputError, UnknownNameError
from isthmus.losses.columns import ROLES

Similarity = Literal["cosine", "dot"]
Detach = Literal["none", "forward", "reverse"]
EpsPlacement = Literal["root", "outside", "log"]

# Default scale of each similarity: cosines need one to be told apart, products of sparse vectors do not.
SCALES: dict[str, float] = {"cosine": 20.0, "dot": 1.0}


def check_similarity(similarity: str | None = None, scale: float | None = None) -> None:
    """Refuse a similarity nobody knows, or a scale that is not above 0; None stands for the default.

    Raises:
        InputError: As said.
    """
    if similarity is not None and similarity not in SCALES:
        raise UnknownNameError("similarity", similarity, SCALES)
    if scale is not None:
        _check("scale", scale, "above 0", scale > 0)


def check_clear(alpha: float = 0.4, beta: float = 0.2, kl: bool = True, detach: str = "none") -> None:
    """Refuse weights that leave less than nothing to the forward term.

    Raises:
        InputError: As said, or if ``detach`` is unknown.
    """
    for name, value in (("alpha", alpha), ("beta", beta)):
        _check(name, value, "0 or more", value >= 0)
    total, names = (alpha + beta, "alpha + beta") if kl else (alpha, "alpha")
    if total > 1:
        raise InputError(f"{names} must be at most 1, got {total:g}; the forward term weighs what is left")
    if detach not in get_args(Detach):
        raise UnknownNameError("detach", detach, get_args(Detach))


def check_proximity(
    temperature: float = 1.0,
    normalize: bool = False,
    eps: float = 1e-8,
    eps_placement: str = "root",
    jsd_weight: float = 1.0,
    nce_weight: float = 1.0,
) -> None:
    """Refuse values out of range; ``normalize`` has none.

    Raises:
        InputError: As said.
    """
    for name, value in (("temperature", temperature), ("eps", eps)):
        _check(name, value, "above 0", value > 0)
    for name, value in (("jsd_weight", jsd_weight), ("nce_weight", nce_weight)):
        _check(name, value, "0 or more", value >= 0)
    if jsd_weight == nce_weight == 0:
        raise InputError("jsd_weight and nce_weight must not both be 0; leave one at its default")
    if eps_placement not in get_args(EpsPlacement):
        raise UnknownNameError("eps_placement", eps_placement, get_args(EpsPlacement))


def check_infonce(anchor: str = "query", positive: str = "pivot_passage") -> None:
    """Refuse roles nobody knows, or the same role twice.

    Raises:
        InputError: As said.
    """
    for name, value in (("anchor", anchor), ("positive", positive)):
        if value not in ROLES:
            raise UnknownNameError(name, value, ROLES)
    if anchor == positive:
        raise InputError(f"anchor and positive must be two columns, got {anchor!r} twice")


def check_mini_batch_size(size: int) -> None:
    """Refuse a mini-batch of no texts.

    Raises:
        InputError: As said.
    """
    _check("mini_batch_size", size, "1 or more", size >= 1)


def _check(name: str, value: float, wanted: str, fits: bool) -> None:
    if not (math.isfinite(value) and fits):
        raise InputError(f"{name} must be a finite number {wanted}, got {value}")
