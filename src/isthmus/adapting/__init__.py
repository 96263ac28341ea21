"""From documents to the best encoder that can be had for them: arms are made, measured without labels, one is kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

from isthmus._lazy import lazy_names

if TYPE_CHECKING:
    from isthmus.adapting.adaptation import adapt
    from isthmus.adapting.options import AdaptOptions
    from isthmus.adapting.outcome import Adaptation

__all__ = ["AdaptOptions", "Adaptation", "adapt"]

__getattr__, __dir__ = lazy_names(
    __name__, {"AdaptOptions": ".options", "Adaptation": ".outcome", "adapt": ".adaptation"}
)
