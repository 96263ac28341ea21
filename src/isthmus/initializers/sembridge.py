"""SemBridge: sparse mixtures of the source tokens that mean the same (arXiv 2605.26002)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import vstack

from isthmus.bridge.entmax import bridge_weights, check_alpha, check_margin, standard_scale
from isthmus.initializers.base import (
    POOL,
    CandidatePool,
    RowProblem,
    assemble,
    bridged_ids,
    candidate_groups,
    check_choice,
    require_vectors,
)
from isthmus.options import Options, option
from isthmus.token_map import TokenMap

LEAST_ALPHA = 2.0
NEIGHBOURS = 10


@dataclass(frozen=True)
class SemBridge(Options):
    """Weights are the alpha-entmax of the bridge's cosines with the source tokens.

    Attributes:
        alpha: Sparsity, at least 1; 4 is the paper's. Below 2 the mixtures run to thousands of tokens.
        pool: Source tokens that may get weight: ``clean`` (no special, unused or unreadable ones), ``kind`` (of these,
            continuation pieces for continuation pieces, others for others) or ``all``.
        as_released: Do as the released code: pool ``all``, no ``csls``, and every token without a match is mixed.
        adaptive: Choose alpha per token instead, at least 2: the source tokens less than ``margin`` below the best one
            take part and no others, so a clear winner stands alone and a flat row keeps more
            (:func:`isthmus.bridge.entmax.adaptive_rows`).
        margin: Of the cosines with ``adaptive``, above 0; without it, it has no effect.
        csls: Correct the cosines for hubs with the 10 nearest tokens (CSLS, arXiv 1710.04087), among those of the rows
            to be made. Differences count double, for alpha and margin alike. Not the paper's; it measured better.
        standardize: Scale the cosines of each kind of token to one spread
            (:func:`isthmus.bridge.entmax.standard_scale`), so that one alpha serves bridges whose cosines lie close
            together and others; not with ``adaptive``. Not the paper's.
    """

    alpha: float = option(4.0, help="Sharpness of entmax; 1 is softmax", panel="Method", at_least=1)
    pool: CandidatePool = POOL
    as_released: bool = False
    adaptive: bool = option(False, help="Choose alpha per token", panel="Method")
    margin: float = option(0.05, help="Reach below the best source token with --adaptive", panel="Method", above=0)
    csls: bool = option(True, help="Correct cosines for hubs", panel="Method")
    standardize: bool = option(True, help="Cosines in units of their spread", panel="Method")

    name: ClassVar[str] = "sembridge"
    summary: ClassVar[str] = "sparse mixture of the source tokens closest in a multilingual model (alpha-entmax)"
    needs_bridge: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_alpha(self.alpha)
        check_margin(self.margin)
        check_choice("pool", self.pool, CandidatePool)
        if self.as_released:
            # A frozen dataclass has no other way to normalise its fields.
            object.__setattr__(self, "csls", False)
            object.__setattr__(self, "standardize", False)

    def token_map(self, problem: RowProblem) -> TokenMap:
        """Mix the row of every readable token without a match."""
        vectors = require_vectors(self.name, problem)
        ids = bridged_ids(problem, vectors, as_released=self.as_released)
        groups = candidate_groups(problem, ids, "all" if self.as_released else self.pool)
        weights = [
            bridge_weights(
                vectors.target[group],
                vectors.source,
                LEAST_ALPHA if self.adaptive else self.alpha,
                candidates=candidates,
                margin=self.margin if self.adaptive else None,
                csls=NEIGHBOURS if self.csls else None,
                scale=self._scale(vectors.target[group], vectors.source[candidates]),
                show_progress_bar=problem.show_progress_bar,
            )
            for group, candidates in groups
        ]
        return assemble(self, problem, mixed=(np.concatenate([group for group, _ in groups]), vstack(weights, "csr")))

    def _scale(self, target: NDArray[np.float32], source: NDArray[np.float32]) -> float:
        # A margin is a difference of cosines as they are.
        return standard_scale(target, source) if self.standardize and not self.adaptive else 1.0
