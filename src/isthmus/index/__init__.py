"""The embedded index: exact search of sparse vectors, in memory or in a folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

from isthmus._lazy import lazy_names

if TYPE_CHECKING:
    from isthmus.index.build import build_index, change_index, encode_corpus
    from isthmus.index.exact import search, search_dense
    from isthmus.index.hits import Hit, Match
    from isthmus.index.sparse_index import SparseIndex

__all__ = [
    "Hit",
    "Match",
    "SparseIndex",
    "build_index",
    "change_index",
    "encode_corpus",
    "search",
    "search_dense",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "Hit": ".hits",
        "Match": ".hits",
        "SparseIndex": ".sparse_index",
        **dict.fromkeys(("search", "search_dense"), ".exact"),
        **dict.fromkeys(("build_index", "change_index", "encode_corpus"), ".build"),
    },
)
