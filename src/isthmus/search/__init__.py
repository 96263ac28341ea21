"""Encoding texts to sparse matrices, searching them exactly, and keeping them in an index on disk."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from isthmus.search.exact import search, search_dense

if TYPE_CHECKING:
    from isthmus.search.build import build_index, change_index, encode_corpus
    from isthmus.search.encode import encode_texts
    from isthmus.search.hits import Hit, Match
    from isthmus.search.index import SparseIndex
    from isthmus.search.lexical import add_lexical, fit_self_activation, scale_lexical

__all__ = [
    "Hit",
    "Match",
    "SparseIndex",
    "add_lexical",
    "build_index",
    "change_index",
    "encode_corpus",
    "encode_texts",
    "fit_self_activation",
    "scale_lexical",
    "search",
    "search_dense",
]

_HOMES = {
    "encode_texts": "encode",
    "Hit": "hits",
    "Match": "hits",
    "SparseIndex": "index",
    "add_lexical": "lexical",
    "fit_self_activation": "lexical",
    "scale_lexical": "lexical",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES.get(name, 'build')}"), name)
