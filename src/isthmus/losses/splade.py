"""A SpladeLoss that knows queries from passages by the names of their columns."""

from __future__ import annotations

from typing import Any

import torch
from sentence_transformers.sparse_encoder.losses import SpladeLoss
from torch import Tensor

from isthmus.losses.base import AlignmentLoss, Features, embed_by_role
from isthmus.losses.cached import Cached


class NamedSpladeLoss(SpladeLoss):  # type: ignore[misc]
    """``SpladeLoss`` over a loss with named columns.

    sentence-transformers' own takes the first column for the query and all others for documents; here the query
    regulariser sees all columns of queries and the document regulariser all columns of passages. What stands in the
    place of a missing negative is seen by neither, for its text is there already as a positive.

    Args:
        model: A SparseEncoder.
        loss: An :class:`~isthmus.losses.base.AlignmentLoss` over it.
        options: As for ``SpladeLoss``, both weights among them.

    Example:
        >>> loss = NamedSpladeLoss(
        ...     model,
        ...     CLEARLoss(model, dataset.column_names),
        ...     document_regularizer_weight=3e-5,
        ...     query_regularizer_weight=5e-5,
        ... )  # doctest: +SKIP
    """

    loss: AlignmentLoss

    def forward(self, sentence_features: Features, labels: Tensor | None = None) -> dict[str, Tensor]:
        """The components of the loss and the two weighted regularisers."""
        embeddings = embed_by_role(self.model, sentence_features, self.loss.layout)
        return self.compute_loss_from_embeddings(embeddings, labels)

    def compute_loss_from_embeddings(self, embeddings: list[Tensor], labels: Tensor | None = None) -> dict[str, Tensor]:
        """The same from the vectors of every column."""
        found = dict(self.loss.compute_loss_from_embeddings(embeddings, labels))
        if labels is not None:
            embeddings = list(embeddings)
            for position, there in zip(self.loss.layout.negative_columns, labels.T != 0, strict=True):
                embeddings[position] = embeddings[position][there]
        queries = self.loss.layout.queries
        documents = [position for position in range(len(embeddings)) if position not in queries]
        for side, positions in (("query", queries), ("document", documents)):
            if positions:
                regularizer = getattr(self, f"{side}_regularizer")
                flops = regularizer.compute_loss_from_embeddings(torch.cat([embeddings[i] for i in positions]))
                found[f"{side}_regularizer_loss"] = getattr(self, f"{side}_regularizer_weight") * flops
        return found


class CachedNamedSpladeLoss(Cached, NamedSpladeLoss):
    """:class:`NamedSpladeLoss` with GradCache, equal in value and gradient.

    Args:
        model: A SparseEncoder.
        loss: As for :class:`NamedSpladeLoss`.
        mini_batch_size: Texts of a column to encode at a time.
        options: As for ``SpladeLoss``.
    """

    def __init__(self, model: Any, loss: AlignmentLoss, *, mini_batch_size: int = 32, **options: Any) -> None:
        super().__init__(model, loss, **options)
        self.set_mini_batch_size(mini_batch_size)

    def forward(self, sentence_features: Features, labels: Tensor | None = None) -> dict[str, Tensor]:
        """The components of the loss and the two weighted regularisers."""
        return self.forward_components(sentence_features, labels)
