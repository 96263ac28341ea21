"""Measuring retrieval: metrics, BM25, whole evaluations and paired significance."""

from __future__ import annotations

from typing import TYPE_CHECKING

from isthmus._lazy import lazy_names

if TYPE_CHECKING:
    from isthmus.evaluation.bm25 import BM25
    from isthmus.evaluation.bootstrap import PairedBootstrap, bootstrap_interval, paired_bootstrap
    from isthmus.evaluation.results import EvaluationResult
    from isthmus.evaluation.retrieval import evaluate, evaluate_model, evaluate_vectors

__all__ = [
    "BM25",
    "EvaluationResult",
    "PairedBootstrap",
    "bootstrap_interval",
    "evaluate",
    "evaluate_model",
    "evaluate_vectors",
    "paired_bootstrap",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "BM25": ".bm25",
        "EvaluationResult": ".results",
        "PairedBootstrap": ".bootstrap",
        "bootstrap_interval": ".bootstrap",
        "evaluate": ".retrieval",
        "evaluate_model": ".retrieval",
        "evaluate_vectors": ".retrieval",
        "paired_bootstrap": ".bootstrap",
    },
)
