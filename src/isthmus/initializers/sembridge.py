"""SemBridge: sparse mixtures of the source tokens that mean the same (arXiv 2605.26002)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy.sparse import vstack

from isthmus.bridge.entmax import bridge_weights, check_alpha
from isthmus.initializers.base import (
    Pool,
    Problem,
    assemble,
    bridged_ids,
    candidate_groups,
    check_pool,
    require_vectors,
)
from isthmus.token_map import TokenMap


@dataclass(frozen=True)
class SemBridge:
    """Weights are the alpha-entmax of the bridge's cosines with the source tokens.

    Attributes:
        alpha: Sparsity, at least 1; 4 is the paper's. Below 2 the mixtures run to thousands of tokens.
        pool: Source tokens that may get weight: ``clean`` (no special, unused or unreadable ones), ``kind`` (of these,
            continuation pieces for continuation pieces, others for others) or ``all``.
        as_released: Do as the released code: pool ``all``, and every token without a match is mixed.
    """

    alpha: float = 4.0
    pool: Pool = "kind"
    as_released: bool = False

    name: ClassVar[str] = "sembridge"
    summary: ClassVar[str] = "sparse mixture of the source tokens closest in a multilingual model (alpha-entmax)"
    needs_bridge: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_alpha(self.alpha)
        check_pool(self.pool)

    def token_map(self, problem: Problem) -> TokenMap:
        """Mix the row of every readable token without a match."""
        vectors = require_vectors(self.name, problem)
        ids = bridged_ids(problem, vectors, as_released=self.as_released)
        groups = candidate_groups(problem, ids, "all" if self.as_released else self.pool)
        weights = [
            bridge_weights(
                vectors.target[group],
                vectors.source,
                self.alpha,
                candidates=candidates,
                show_progress_bar=problem.show_progress_bar,
            )
            for group, candidates in groups
        ]
        return assemble(self, problem, mixed=(np.concatenate([group for group, _ in groups]), vstack(weights, "csr")))
