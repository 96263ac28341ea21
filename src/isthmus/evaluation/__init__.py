"""Measuring retrieval: metrics, BM25, whole evaluations, audits of mixed languages and paired significance."""

from __future__ import annotations

from isthmus.evaluation.audit import audit, audit_model, audit_models
from isthmus.evaluation.audit_result import AuditResult
from isthmus.evaluation.bm25 import BM25
from isthmus.evaluation.evaluate import evaluate, evaluate_model, evaluate_vectors
from isthmus.evaluation.results import EvaluationResult
from isthmus.evaluation.significance import PairedBootstrap, bootstrap_interval, paired_bootstrap

__all__ = [
    "BM25",
    "AuditResult",
    "EvaluationResult",
    "PairedBootstrap",
    "audit",
    "audit_model",
    "audit_models",
    "bootstrap_interval",
    "evaluate",
    "evaluate_model",
    "evaluate_vectors",
    "paired_bootstrap",
]
