"""The words of a text given back to an encoder: statistics, and the parts that are added."""

from __future__ import annotations

from typing import TYPE_CHECKING

from isthmus._lazy import lazy_names

if TYPE_CHECKING:
    from isthmus.lexical.adding import add_lexical, fit_self_activation, scale_lexical

__all__ = ["add_lexical", "fit_self_activation", "scale_lexical"]

__getattr__, __dir__ = lazy_names(__name__, dict.fromkeys(__all__, ".adding"))
