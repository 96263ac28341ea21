"""Isthmus carries retrieval models from English into other languages, as a layer on sentence-transformers."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from isthmus.corpora import load as load_collection
    from isthmus.errors import IsthmusError
    from isthmus.evaluation.audit import audit
    from isthmus.evaluation.evaluate import evaluate
    from isthmus.evaluation.results import EvaluationResult
    from isthmus.modules.fuse import fuse_head, unfuse_head
    from isthmus.search.index import SparseIndex
    from isthmus.token_map import TokenMap
    from isthmus.transfer.pipeline import transfer, transfer_encoder
    from isthmus.transfer.report import TransferReport

__version__ = "0.1.0"
__all__ = [
    "EvaluationResult",
    "IsthmusError",
    "SparseIndex",
    "TokenMap",
    "TransferReport",
    "audit",
    "evaluate",
    "fuse_head",
    "load_collection",
    "transfer",
    "transfer_encoder",
    "unfuse_head",
]

_HOMES = {
    "EvaluationResult": ("isthmus.evaluation", "EvaluationResult"),
    "IsthmusError": ("isthmus.errors", "IsthmusError"),
    "SparseIndex": ("isthmus.search", "SparseIndex"),
    "TokenMap": ("isthmus.token_map", "TokenMap"),
    "TransferReport": ("isthmus.transfer", "TransferReport"),
    "audit": ("isthmus.evaluation", "audit"),
    "evaluate": ("isthmus.evaluation", "evaluate"),
    "fuse_head": ("isthmus.modules.fuse", "fuse_head"),
    "load_collection": ("isthmus.corpora", "load"),
    "transfer": ("isthmus.transfer", "transfer"),
    "transfer_encoder": ("isthmus.transfer", "transfer_encoder"),
    "unfuse_head": ("isthmus.modules.fuse", "unfuse_head"),
}


def __getattr__(name: str) -> Any:
    """Import a public name on first use, so that ``import isthmus`` stays quick."""
    if name not in _HOMES:
        raise AttributeError(f"module 'isthmus' has no attribute {name!r}")
    module, attribute = _HOMES[name]
    return getattr(import_module(module), attribute)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
