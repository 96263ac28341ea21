"""The encoder of an index's queries: which one it is, and whether it fits."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from scipy.sparse import csr_matrix, issparse

from isthmus.encoders.fingerprint import OpenEncoder, open_encoder
from isthmus.errors import InputError
from isthmus.index.header import VectorHeader
from isthmus.index.options import QueryOptions
from isthmus.options import EncodeOptions


class QueryEncoder:
    """The encoder of the texts that meet stored vectors; it is opened when the first of them comes, and not before.

    Args:
        header: What is kept beside the vectors.
        where: Names them in errors.
        options: Which encoder; None takes the one that made the vectors.

    Attributes:
        header: As given.
        where: As given.
        options: As given.
    """

    def __init__(self, header: VectorHeader, where: str, options: QueryOptions | None = None) -> None:
        self.header = header
        self.where = where
        self.options = QueryOptions() if options is None else options
        self._opened: OpenEncoder | None = None

    @property
    def model(self) -> Any:
        """The encoder once it is open; before, what was given to open it."""
        return self.options.model if self._opened is None else self._opened.encoder

    @property
    def name(self) -> str | Path | None:
        """What the encoder is loaded by: the model given, or the one that the header names; None where it is loaded."""
        model = self.options.model
        if model is None and self.header.identity is not None:
            model = self.header.identity.name
        return model if isinstance(model, (str, Path)) else None

    @property
    def is_open(self) -> bool:
        """Whether a text was encoded already."""
        return self._opened is not None

    @property
    def encoding(self) -> EncodeOptions:
        """How texts become vectors that meet the stored ones: as those did, but for a prompt of queries given."""
        stored, prompt = self.header.settings, self.options.query_prompt
        return EncodeOptions(
            dtype=stored.get("dtype", "float32"),
            query_prompt=stored.get("query_prompt") if prompt is None else prompt,
            document_prompt=stored.get("document_prompt"),
            show_progress_bar=False,
        )

    def open(self) -> OpenEncoder:
        """Open the encoder that was given, or the one that the header names.

        Raises:
            InputError: If no model is given or named, or it is another one than that of the vectors.
            NotFoundError: If it is not there.
            EncoderError: If it is not sparse, or cannot be opened.
        """
        if self._opened is None:
            model = self.name if self.options.model is None else self.options.model
            if model is None:
                raise InputError(f"{self.where} names no model; pass the one that made it (model=, --model)")
            opened = open_encoder(model, self.options)
            self._check_identity(self.header, opened, self.where)
            self._opened = opened
        return self._opened

    def check(self, header: VectorHeader, where: str) -> None:
        """Refuse further vectors that another encoder made.

        Args:
            header: What is kept beside them.
            where: Names them in errors.

        Raises:
            InputError: If fingerprint or dimensions differ.
        """
        opened = self.open()
        self._check_identity(header, opened, where)
        if header.vocabulary_size != opened.vocabulary_size:
            raise InputError(
                f"model must have {header.vocabulary_size} dimensions as {where}, got {opened.vocabulary_size}; pass "
                "the model that made it"
            )

    def vectors(self, queries: Sequence[str] | csr_matrix) -> list[csr_matrix]:
        """Query vectors, one row each; texts are encoded, vectors are checked.

        Raises:
            InputError: If vectors do not fit, or the model did not make the stored ones.
        """
        if not issparse(queries):
            from isthmus.encoders.encoding import encode_texts

            queries = encode_texts(self.open().encoder, list(queries), self.encoding, role="query")
            if self.options.any_model:
                queries = _fitted(queries, self.header.vocabulary_size)
        self.check_columns(queries)
        matrix = csr_matrix(queries)
        return [matrix[row] for row in range(matrix.shape[0])]

    def one(self, query: str | csr_matrix, *, remedy: str = "") -> csr_matrix:
        """The vector of one text or one row.

        Args:
            query: A text, or a vector of shape (1, vocabulary).
            remedy: What to say, besides, where there are several.

        Raises:
            InputError: If there are several rows, or as for :meth:`vectors`.
        """
        if not isinstance(query, str) and query.shape[0] != 1:
            raise InputError(f"query must be one text or one row, got {query.shape[0]} rows{remedy}")
        return self.vectors([query] if isinstance(query, str) else query)[0]

    def check_columns(self, vectors: csr_matrix) -> None:
        """Refuse query vectors that do not fit the stored ones.

        Raises:
            InputError: If they have another number of columns.
        """
        columns = self.header.vocabulary_size
        if vectors.shape[1] != columns:
            raise InputError(
                f"query vectors must have {columns} dimensions as {self.where}, got {vectors.shape[1]}; encode them "
                "with the model that made it"
            )

    def _check_identity(self, header: VectorHeader, opened: OpenEncoder, where: str) -> None:
        if header.identity is not None and not self.options.any_model:
            header.identity.check(opened.identity, where)


def _fitted(vectors: csr_matrix, columns: int) -> csr_matrix:
    """The same vectors with as many columns, where that takes or gives nothing.

    An encoder that reads another tokenizer and writes the source's columns has columns behind them that stay empty.
    """
    if vectors.shape[1] > columns and vectors[:, columns:].nnz:
        return vectors
    kept = vectors[:, :columns]
    return csr_matrix((kept.data, kept.indices, kept.indptr), shape=(vectors.shape[0], columns))
