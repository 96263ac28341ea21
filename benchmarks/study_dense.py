"""Mixtures below alpha 2, whose weights run to thousands of tokens a row: applied at once, never held whole."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import isthmus
from isthmus.bridge.entmax import entmax_rows
from isthmus.encoders.heads import find_head
from isthmus.evaluation.models import load_model
from isthmus.initializers import INITIALIZERS, RowProblem, SemBridge
from isthmus.initializers.base import bridged_ids, candidate_groups, require_vectors
from isthmus.token_map import TokenMap

BLOCK = 256
_PROBLEMS: list[RowProblem] = []


@dataclass(frozen=True)
class Recorded(SemBridge):
    """sembridge, which also keeps what it was asked."""

    def token_map(self, problem: RowProblem) -> TokenMap:
        """Those of sembridge."""
        _PROBLEMS.append(problem)
        return super().token_map(problem)


def dense_transfer(encoder: str, tokenizer: str, bridge: str, alpha: float) -> Any:
    """What ``isthmus.transfer(method="sembridge", alpha=alpha, csls=False)`` gives, without the weights as a whole.

    The bridge is taken as it comes: neither refined nor standardised.

    Args:
        encoder: Name or folder of the source encoder.
        tokenizer: Name or folder of the target tokenizer.
        bridge: Name or folder of the bridge.
        alpha: At least 1.

    Returns:
        The transferred encoder.
    """
    # Which rows are mixed, and of what, is the same for every alpha.
    INITIALIZERS["recorded"] = Recorded
    try:
        result, _ = isthmus.transfer(
            encoder,
            target_tokenizer=tokenizer,
            bridge=bridge,
            method="recorded",
            csls=False,
            refine=False,
            standardize=False,
        )
    finally:
        del INITIALIZERS["recorded"]
    problem = _PROBLEMS.pop()
    source, target = load_model(encoder)[0].model.state_dict(), result[0].model.state_dict()
    head = find_head(result[0].model)
    names = (*head.inputs, *head.decoder, *head.bias)
    tensors = [source[name].double().numpy() for name in names]
    for ids, rows in mixed_rows(problem, tensors, alpha):
        for name, values in zip(names, rows, strict=True):
            target[name][torch.from_numpy(ids)] = torch.from_numpy(values).to(target[name].dtype)
    return result


def mixed_rows(
    problem: RowProblem, tensors: Sequence[NDArray[np.float64]], alpha: float
) -> Iterator[tuple[NDArray[np.int64], list[NDArray[np.float64]]]]:
    """Yield target ids and, for each tensor of shape (source, ...), their mixtures of its rows."""
    vectors = require_vectors("sembridge", problem)
    for group, candidates in candidate_groups(problem, bridged_ids(problem, vectors), "kind"):
        known = unit(vectors.source[candidates])
        for start in range(0, len(group), BLOCK):
            ids = group[start : start + BLOCK]
            weights = entmax_rows(unit(vectors.target[ids]) @ known.T, alpha)
            yield ids, [weights @ tensor[candidates] for tensor in tensors]


def unit(vectors: NDArray[Any]) -> NDArray[np.float64]:
    """The rows in float64, at unit length."""
    wide = vectors.astype(np.float64)
    return np.asarray(wide / np.linalg.norm(wide, axis=1, keepdims=True))
