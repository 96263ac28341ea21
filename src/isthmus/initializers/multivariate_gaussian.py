"""Draw new rows from a normal distribution with full covariance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from isthmus.initializers.base import RowProblem, assemble
from isthmus.token_map import Sampling, TokenMap


@dataclass(frozen=True)
class MultivariateGaussian:
    """Rows of readable tokens without a match are drawn with the source rows' mean and full covariance."""

    name: ClassVar[str] = "multivariate-gaussian"
    summary: ClassVar[str] = "drawn with mean and full covariance of the source rows"
    needs_bridge: ClassVar[bool] = False

    def token_map(self, problem: RowProblem) -> TokenMap:
        """Copy the overlap and draw the rest."""
        return assemble(self, problem, sampling=Sampling("multivariate-gaussian", seed=problem.seed))
