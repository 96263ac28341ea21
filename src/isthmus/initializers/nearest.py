"""Copy the single most similar source token."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy.sparse import csr_matrix

from isthmus.bridge.candidates import best_sources
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
from isthmus.options import Options
from isthmus.token_map import TokenMap


@dataclass(frozen=True)
class Nearest(Options):
    """The limit of SemBridge for large alpha: weight one on the best candidate, the lowest id among equals.

    Attributes:
        pool: As for SemBridge.
    """

    pool: CandidatePool = POOL

    name: ClassVar[str] = "nearest"
    summary: ClassVar[str] = "row of the single source token closest in a multilingual model"
    needs_bridge: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_choice("pool", self.pool, CandidatePool)

    def token_map(self, problem: RowProblem) -> TokenMap:
        """Give every readable token without a match the row of its best candidate."""
        vectors = require_vectors(self.name, problem)
        ids = bridged_ids(problem, vectors)
        groups = candidate_groups(problem, ids, self.pool)
        best = [
            best_sources(
                vectors.target[group],
                vectors.source,
                candidates=candidates,
                show_progress_bar=problem.show_progress_bar,
            )[0]
            for group, candidates in groups
        ]
        ids, columns = np.concatenate([group for group, _ in groups]), np.concatenate(best)
        shape = (len(ids), problem.source.size)
        return assemble(
            self, problem, mixed=(ids, csr_matrix((np.ones(len(ids)), columns, np.arange(len(ids) + 1)), shape=shape))
        )
