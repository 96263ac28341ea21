"""Draw new rows from a normal distribution per dimension."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from isthmus.initializers.base import RowProblem, assemble
from isthmus.token_map import Sampling, TokenMap


@dataclass(frozen=True)
class Gaussian:
    """Rows of readable tokens without a match are drawn with the source rows' mean and variance per dimension."""

    name: ClassVar[str] = "gaussian"
    summary: ClassVar[str] = "drawn with mean and variance of the source rows, each dimension apart"
    needs_bridge: ClassVar[bool] = False

    def token_map(self, problem: RowProblem) -> TokenMap:
        """Copy the overlap and draw the rest."""
        return assemble(self, problem, sampling=Sampling("gaussian", seed=problem.seed))
