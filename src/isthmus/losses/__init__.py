"""Losses that align languages, on the contract of sentence-transformers; one per file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from isthmus._lazy import lazy_names

if TYPE_CHECKING:
    from isthmus.losses.cached_clear import CachedCLEARLoss
    from isthmus.losses.cached_infonce import CachedInfoNCELoss
    from isthmus.losses.cached_proximity import CachedProximityLoss
    from isthmus.losses.clear import CLEARLoss
    from isthmus.losses.infonce import InfoNCELoss
    from isthmus.losses.proximity import ProximityLoss
    from isthmus.losses.splade import CachedNamedSpladeLoss, NamedSpladeLoss

__all__ = [
    "CLEARLoss",
    "CachedCLEARLoss",
    "CachedInfoNCELoss",
    "CachedNamedSpladeLoss",
    "CachedProximityLoss",
    "InfoNCELoss",
    "NamedSpladeLoss",
    "ProximityLoss",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "CLEARLoss": ".clear",
        "CachedCLEARLoss": ".cached_clear",
        "CachedInfoNCELoss": ".cached_infonce",
        "CachedNamedSpladeLoss": ".splade",
        "CachedProximityLoss": ".cached_proximity",
        "InfoNCELoss": ".infonce",
        "NamedSpladeLoss": ".splade",
        "ProximityLoss": ".proximity",
    },
)
