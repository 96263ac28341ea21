"""Losses that align languages, on the contract of sentence-transformers; one per file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from isthmus._lazy import lazy_names

if TYPE_CHECKING:
    from isthmus.losses.clear import CachedCLEARLoss, CLEARLoss
    from isthmus.losses.infonce import CachedInfoNCELoss, InfoNCELoss
    from isthmus.losses.options import CLEAROptions, InfoNCEOptions, ProximityOptions
    from isthmus.losses.proximity import CachedProximityLoss, ProximityLoss
    from isthmus.losses.splade import CachedNamedSpladeLoss, NamedSpladeLoss

__all__ = [
    "CLEARLoss",
    "CLEAROptions",
    "CachedCLEARLoss",
    "CachedInfoNCELoss",
    "CachedNamedSpladeLoss",
    "CachedProximityLoss",
    "InfoNCELoss",
    "InfoNCEOptions",
    "NamedSpladeLoss",
    "ProximityLoss",
    "ProximityOptions",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "CLEARLoss": ".clear",
        "CLEAROptions": ".options",
        "CachedCLEARLoss": ".clear",
        "CachedInfoNCELoss": ".infonce",
        "CachedNamedSpladeLoss": ".splade",
        "CachedProximityLoss": ".proximity",
        "InfoNCELoss": ".infonce",
        "InfoNCEOptions": ".options",
        "NamedSpladeLoss": ".splade",
        "ProximityLoss": ".proximity",
        "ProximityOptions": ".options",
    },
)
