"""Folding columns that say the same into one.

Where rows are mixed, a transfer is linear: tokens with equal rows get equal weights on every text. Dozens of
inflections of a word then crowd out everything else, without telling more than one of them does.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

_BLOCK = 1024


def representatives(weights: csr_matrix, written: NDArray[np.bool_], threshold: float) -> NDArray[np.int64]:
    """Find for every column the one that stands for it.

    Args:
        weights: The token map, shape (tokens, source); empty rows stand for themselves.
        written: Mask of the tokens whose columns are written; the others stand for themselves.
        threshold: Cosine of two rows above which the one with the higher id is folded into the other.

    Returns:
        The id of its representative for every token, shape (tokens,): the most similar of those with a lower id that
        stand for themselves, or the token itself.
    """
    result = np.arange(weights.shape[0], dtype=np.int64)
    ids = np.flatnonzero(written & (np.diff(weights.indptr) > 0))
    rows = csr_matrix(weights[ids], dtype=np.float64)
    norms = np.sqrt(np.asarray(rows.multiply(rows).sum(axis=1)).ravel())
    rows.data /= np.repeat(norms, np.diff(rows.indptr))
    columns = rows.T.tocsc()
    own = np.ones(len(ids), dtype=np.bool_)
    for start in range(0, len(ids), _BLOCK):
        stop = min(start + _BLOCK, len(ids))
        cosines = (rows[start:stop] @ columns[:, :stop]).tocsr()
        cosines.sort_indices()
        for row in range(start, stop):
            part = slice(cosines.indptr[row - start], cosines.indptr[row - start + 1])
            others, close = cosines.indices[part], cosines.data[part]
            fit = (others < row) & own[others] & (close > threshold)
            if fit.any():
                result[ids[row]] = ids[others[fit][close[fit].argmax()]]
                own[row] = False
    return result
