"""InfoNCE between two columns, the plain loss that the others are compared with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from isthmus.losses.base import AlignmentLoss, TermCandidates
from isthmus.losses.cached import CachedAlignmentLoss
from isthmus.losses.options import InfoNCEOptions, Similarity


class InfoNCELoss(AlignmentLoss):
    """InfoNCE (arXiv 1807.03748): anchors of one column rank their own positive of another above all other candidates.

    Beside ``MultipleNegativesRankingLoss``, which it equals where every row has all negatives: columns by name, and
    negatives may be missing.

    Args:
        model: As for :class:`~isthmus.losses.base.AlignmentLoss`.
        columns: The two columns; any number of ``negative_POSITIVE_N``, with the name of the positive's column.
        anchor: Column of the anchors.
        positive: Column of the positives.
        similarity: As for the base.
        scale: As for the base.
        gather_across_devices: As for the base.

    Raises:
        InputError: If a column or an argument does not fit.

    Example:
        >>> loss = InfoNCELoss(model, dataset.column_names)  # doctest: +SKIP
    """

    def __init__(
        self,
        model: Any,
        columns: Sequence[str],
        *,
        anchor: str = "query",
        positive: str = "pivot_passage",
        similarity: Similarity | None = None,
        scale: float | None = None,
        gather_across_devices: bool = False,
    ) -> None:
        options = InfoNCEOptions(
            anchor=anchor,
            positive=positive,
            similarity=similarity,
            scale=scale,
            gather_across_devices=gather_across_devices,
        )
        self.terms = ((anchor, positive),)
        super().__init__(model, columns, options)

    def components(self, vectors: dict[str, Tensor], candidates: Callable[[str], TermCandidates]) -> dict[str, Tensor]:
        """``nce_loss`` alone."""
        ((anchor, positive),) = self.terms
        return {"nce_loss": self.contrast(self.scores(vectors[anchor], candidates(positive)))}

    @property
    def citation(self) -> str:
        """BibTeX of the paper."""
        return """
@misc{oord2018representation,
    title = {Representation Learning with Contrastive Predictive Coding},
    author = {van den Oord, Aaron and Li, Yazhe and Vinyals, Oriol},
    year = {2018},
    eprint = {1807.03748},
    archivePrefix = {arXiv},
}
"""


class CachedInfoNCELoss(CachedAlignmentLoss, InfoNCELoss):
    """:class:`InfoNCELoss` with GradCache, equal in value and gradient, a mini-batch at a time.

    For dense encoders; a sparse one takes ``CachedSpladeLoss(model, InfoNCELoss(model, columns), ...)``.

    Args:
        model: A SentenceTransformer.
        columns: As for the uncached loss.
        mini_batch_size: Texts of a column to encode at a time; how much memory that takes does not depend on the batch.
        options: As for the uncached loss.

    Raises:
        InputError: If a column or an argument does not fit, or the encoder's inputs cannot be split.
    """
