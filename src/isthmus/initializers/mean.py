"""Give every new token the mean row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from isthmus.initializers.base import RowProblem, assemble
from isthmus.token_map import TokenMap


@dataclass(frozen=True)
class Mean:
    """All tokens without a match share the mean of the source rows."""

    name: ClassVar[str] = "mean"
    summary: ClassVar[str] = "mean of the source rows for every token without a match"
    needs_bridge: ClassVar[bool] = False

    def token_map(self, problem: RowProblem) -> TokenMap:
        """Copy the overlap; the rest is background."""
        return assemble(self, problem)
