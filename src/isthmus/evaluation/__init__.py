"""Measuring retrieval: metrics, BM25, whole evaluations and paired significance."""

from __future__ import annotations

from isthmus.evaluation.bm25 import BM25
from isthmus.evaluation.evaluate import evaluate, evaluate_model, evaluate_vectors
from isthmus.evaluation.results import EvaluationResult
from isthmus.evaluation.significance import PairedBootstrap, bootstrap_interval, paired_bootstrap

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
