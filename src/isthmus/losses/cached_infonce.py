"""``InfoNCELoss`` with GradCache."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from isthmus.losses.base import Features
from isthmus.losses.cached import Cached
from isthmus.losses.infonce import InfoNCELoss


class CachedInfoNCELoss(Cached, InfoNCELoss):
    """:class:`~isthmus.losses.infonce.InfoNCELoss`, equal in value and gradient, a mini-batch at a time.

    For dense encoders; a sparse one takes ``CachedSpladeLoss(model, InfoNCELoss(model, columns), ...)``.

    Args:
        model: A SentenceTransformer.
        columns: As for the uncached loss.
        mini_batch_size: Texts of a column to encode at a time; how much memory that takes does not depend on the batch.
        options: As for the uncached loss.

    Raises:
        InputError: If a column or an argument does not fit, or the encoder's inputs cannot be split.
    """

    def __init__(self, model: Any, columns: Sequence[str], *, mini_batch_size: int = 32, **options: Any) -> None:
        super().__init__(model, columns, **options)
        self.set_mini_batch_size(mini_batch_size)

    def forward(self, sentence_features: Features, labels: Tensor | None = None) -> dict[str, Tensor]:
        """Encode and compute; arguments as for the uncached loss."""
        self._refuse_alone()
        return self.forward_components(sentence_features, labels)
