"""The doctor: what is wrong with an encoder, and what to do about it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from isthmus._lazy import lazy_names

if TYPE_CHECKING:
    from isthmus.diagnostics.diagnosis import diagnose
    from isthmus.diagnostics.finding import Finding, Level
    from isthmus.diagnostics.stored import diagnose_stored

__all__ = ["Finding", "Level", "diagnose", "diagnose_stored"]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "Finding": ".finding",
        "Level": ".finding",
        "diagnose": ".diagnosis",
        "diagnose_stored": ".stored",
    },
)
