"""Queries as vectors that fit an index, without torch as long as no text must be encoded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from scipy.sparse import csr_matrix, issparse

from isthmus.errors import InputError


def query_vectors(
    queries: Sequence[str] | csr_matrix, opened: Callable[[], Any], *, columns: int, dtype: Any, where: str
) -> list[csr_matrix]:
    """Query vectors for an index, one row each; texts are encoded, vectors are checked.

    Args:
        queries: Texts, or vectors of shape (queries, ``columns``).
        opened: Gives the encoder of the index; called for texts only.
        columns: Of the index.
        dtype: As for :func:`isthmus.encoders.encoding.encode_texts`.
        where: Names the index in errors.

    Raises:
        InputError: If vectors have another number of columns.
    """
    if not issparse(queries):
        from isthmus.encoders.encoding import encode_texts

        queries = encode_texts(opened(), list(queries), role="query", dtype=dtype, show_progress_bar=False)
    check_columns(queries, columns, where)
    matrix = csr_matrix(queries)
    return [matrix[row] for row in range(matrix.shape[0])]


def check_columns(vectors: csr_matrix, columns: int, where: str) -> None:
    """Refuse query vectors that do not fit an index.

    Raises:
        InputError: If they have another number of columns than it.
    """
    if vectors.shape[1] != columns:
        raise InputError(
            f"query vectors must have {columns} dimensions as {where}, got {vectors.shape[1]}; encode them with the "
            "model that made it"
        )
