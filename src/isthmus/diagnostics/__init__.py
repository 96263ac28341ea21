"""The doctor: what is wrong with an encoder, and what to do about it."""

from __future__ import annotations

from isthmus.diagnostics.diagnosis import diagnose
from isthmus.diagnostics.finding import Finding, Level

__all__ = ["Finding", "Level", "diagnose"]
