"""``ProximityLoss`` with GradCache."""

from __future__ import annotations

from isthmus.losses.cached import CachedAlignmentLoss
from isthmus.losses.proximity import ProximityLoss


class CachedProximityLoss(CachedAlignmentLoss, ProximityLoss):
    """:class:`~isthmus.losses.proximity.ProximityLoss`, equal in value and gradient, a mini-batch at a time.

    For dense encoders; a sparse one takes ``CachedSpladeLoss(model, ProximityLoss(model, columns), ...)``.

    Args:
        model: A SentenceTransformer.
        columns: As for the uncached loss.
        mini_batch_size: Texts of a column to encode at a time; how much memory that takes does not depend on the batch.
        options: As for the uncached loss.

    Raises:
        InputError: If a column or an argument does not fit, or the encoder's inputs cannot be split.
    """
