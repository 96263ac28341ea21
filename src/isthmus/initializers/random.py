"""Draw new rows from noise around zero."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from isthmus.initializers.base import RowProblem, assemble
from isthmus.options import Options, option
from isthmus.token_map import Sampling, TokenMap


@dataclass(frozen=True)
class Random(Options):
    """Rows of readable tokens without a match are drawn from N(0, ``std``²), as fresh embeddings are.

    Attributes:
        std: Standard deviation, above 0; 0.02 is BERT's ``initializer_range``.
    """

    std: float = option(0.02, help="Standard deviation of the noise", panel="Method", above=0)

    name: ClassVar[str] = "random"
    summary: ClassVar[str] = "drawn from noise around zero, as a new model would be"
    needs_bridge: ClassVar[bool] = False

    def __post_init__(self) -> None:
        Sampling("normal", std=self.std)

    def token_map(self, problem: RowProblem) -> TokenMap:
        """Copy the overlap and draw the rest."""
        return assemble(self, problem, sampling=Sampling("normal", seed=problem.seed, std=self.std))
