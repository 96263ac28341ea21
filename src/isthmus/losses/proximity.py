"""Semantic proximity: parallel passages become one distribution, passages find their query (Hong et al. 2026)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from isthmus.errors import InputError
from isthmus.losses.base import AlignmentLoss, TermCandidates, unit
from isthmus.losses.cached import CachedAlignmentLoss
from isthmus.losses.options import EpsPlacement, ProximityOptions, Similarity


class ProximityLoss(AlignmentLoss):
    """Semantic proximity (arXiv 2604.05684): L = jsd_weight * L_JSD + nce_weight * L_NCE.

    - L_JSD: mean over rows of sqrt(JSD(P || Q) + eps), where P belongs to ``pivot_passage``, Q to ``passage``, and
      JSD = (KL(P || M) + KL(Q || M)) / 2 with M = (P + Q) / 2, in nats. P = softmax(z / temperature) over the
      dimensions of the vector z. For a SparseEncoder a softmax over mostly empty columns would be near uniform, so
      P = |z| / sum |z|, the share of each column; all shares of a zero vector are 0.
    - L_NCE: anchor ``passage``, candidates every row's ``pivot_query`` and all ``negative_pivot_query_*``.

    What the paper leaves open is an argument: ``temperature``, ``normalize``, ``eps`` and where it sits. The root is
    taken row by row.

    Args:
        model: As for :class:`~isthmus.losses.base.AlignmentLoss`.
        columns: ``pivot_query``, ``pivot_passage``, ``passage``; any number of ``negative_pivot_query_N``, of which the
            paper has none.
        temperature: Divides the vectors before the softmax; shares of sparse vectors have none.
        normalize: Scale the vectors to length 1 before the softmax; of no use to shares.
        eps: Added so that the root has a slope where both distributions are equal.
        eps_placement: ``root`` adds it to JSD, below the root; ``outside`` adds it to the root, as notes on the paper
            print it; ``log`` adds it to P, Q and M inside the logarithms. With the last two, a row whose distributions
            are equal gets no gradient.
        jsd_weight: Weight of L_JSD.
        nce_weight: Weight of L_NCE.
        similarity: As for the base; of L_NCE.
        scale: As for the base; of L_NCE.
        gather_across_devices: As for the base.

    Raises:
        InputError: If a column or an argument does not fit.

    Example:
        >>> loss = ProximityLoss(model, dataset.column_names)  # doctest: +SKIP
    """

    terms = (("passage", "pivot_query"),)
    other_roles = ("pivot_passage",)

    def __init__(
        self,
        model: Any,
        columns: Sequence[str],
        *,
        temperature: float = 1.0,
        normalize: bool = False,
        eps: float = 1e-8,
        eps_placement: EpsPlacement = "root",
        jsd_weight: float = 1.0,
        nce_weight: float = 1.0,
        similarity: Similarity | None = None,
        scale: float | None = None,
        gather_across_devices: bool = False,
    ) -> None:
        options = ProximityOptions(
            temperature=temperature,
            normalize=normalize,
            eps=eps,
            eps_placement=eps_placement,
            jsd_weight=jsd_weight,
            nce_weight=nce_weight,
            similarity=similarity,
            scale=scale,
            gather_across_devices=gather_across_devices,
        )
        super().__init__(model, columns, options)
        if self.sparse and (temperature != 1 or normalize):
            raise InputError(
                f"temperature and normalize must be left out for a SparseEncoder, got {temperature} and {normalize}; "
                "its distributions are the shares of the columns"
            )
        self.temperature, self.normalize = temperature, normalize
        self.eps: float = eps
        self.eps_placement: EpsPlacement = eps_placement
        self.jsd_weight, self.nce_weight = jsd_weight, nce_weight

    def components(self, vectors: dict[str, Tensor], candidates: Callable[[str], TermCandidates]) -> dict[str, Tensor]:
        """``jsd_loss`` and ``nce_loss``, each times its weight."""
        root = self._root(self.distributions(vectors["pivot_passage"]), self.distributions(vectors["passage"]))
        scores = self.scores(vectors["passage"], candidates("pivot_query"))
        return {"jsd_loss": self.jsd_weight * root.mean(), "nce_loss": self.nce_weight * self.contrast(scores)}

    def distributions(self, vectors: Tensor) -> Tensor:
        """One distribution over the dimensions per vector, same shape."""
        if not self.sparse:
            return ((unit(vectors) if self.normalize else vectors) / self.temperature).softmax(dim=-1)
        weights = vectors.abs()
        sums = weights.sum(dim=-1, keepdim=True)
        return weights / torch.where(sums > 0, sums, 1.0)

    def _root(self, p: Tensor, q: Tensor) -> Tensor:
        m = (p + q) / 2
        inside = self.eps if self.eps_placement == "log" else 0.0

        def log(x: Tensor) -> Tensor:
            # The slope of log at 0 is infinite, and an inactive column could not follow it anyway.
            return (x + inside).clamp_min(torch.finfo(x.dtype).tiny).log()

        jsd = ((p * (log(p) - log(m))).sum(dim=-1) + (q * (log(q) - log(m))).sum(dim=-1)) / 2
        if self.eps_placement == "root":
            # Rounding can leave a little less than 0.
            return (jsd.clamp_min(0) + self.eps).sqrt()
        root = torch.where(jsd > 0, torch.where(jsd > 0, jsd, 1.0).sqrt(), 0.0)
        return root + self.eps if self.eps_placement == "outside" else root

    @property
    def citation(self) -> str:
        """BibTeX of the paper."""
        return """
@inproceedings{hong2026improving,
    title = {Improving Semantic Proximity in Information Retrieval through Cross-Lingual Alignment},
    author = {Hong, Seongtae and Jang, Youngjoon and Lee, Jungseob and Moon, Hyeonseok and Lim, Heuiseok},
    booktitle = {International Conference on Learning Representations},
    year = {2026},
    eprint = {2604.05684},
    archivePrefix = {arXiv},
}
"""


class CachedProximityLoss(CachedAlignmentLoss, ProximityLoss):
    """:class:`ProximityLoss` with GradCache, equal in value and gradient, a mini-batch at a time.

    For dense encoders; a sparse one takes ``CachedSpladeLoss(model, ProximityLoss(model, columns), ...)``.

    Args:
        model: A SentenceTransformer.
        columns: As for the uncached loss.
        mini_batch_size: Texts of a column to encode at a time; how much memory that takes does not depend on the batch.
        options: As for the uncached loss.

    Raises:
        InputError: If a column or an argument does not fit, or the encoder's inputs cannot be split.
    """
