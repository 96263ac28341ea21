"""Isthmus carries retrieval models from English into other languages, as a layer on sentence-transformers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from isthmus._lazy import lazy_names

if TYPE_CHECKING:
    from isthmus.adapting.adaptation import adapt
    from isthmus.auditing.audits import audit
    from isthmus.collections import load as load_collection
    from isthmus.errors import IsthmusError
    from isthmus.evaluation.results import EvaluationResult as EvaluationResult
    from isthmus.evaluation.retrieval import evaluate
    from isthmus.index.sparse_index import SparseIndex
    from isthmus.modules.fuse import fuse_head, unfuse_head
    from isthmus.token_map import TokenMap
    from isthmus.transferring.pipeline import transfer, transfer_encoder
    from isthmus.transferring.report import TransferReport

__version__ = "0.1.0"
__all__ = [
    "IsthmusError",
    "SparseIndex",
    "TokenMap",
    "TransferReport",
    "adapt",
    "audit",
    "evaluate",
    "fuse_head",
    "load_collection",
    "transfer",
    "transfer_encoder",
    "unfuse_head",
]

__getattr__, _names = lazy_names(
    __name__,
    {
        "EvaluationResult": "isthmus.evaluation.results",
        "IsthmusError": "isthmus.errors",
        "SparseIndex": "isthmus.index.sparse_index",
        "TokenMap": "isthmus.token_map",
        "TransferReport": "isthmus.transferring.report",
        "adapt": "isthmus.adapting.adaptation",
        "audit": "isthmus.auditing.audits",
        "evaluate": "isthmus.evaluation.retrieval",
        "fuse_head": "isthmus.modules.fuse",
        "load_collection": "isthmus.collections.named:load",
        "transfer": "isthmus.transferring.pipeline",
        "transfer_encoder": "isthmus.transferring.pipeline",
        "unfuse_head": "isthmus.modules.fuse",
    },
)


def __dir__() -> list[str]:
    return [*_names(), "__version__"]
