"""CLEAR: queries in another language learn from a passage in the pivot language (Lee et al. 2026)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from isthmus.losses.base import AlignmentLoss, TermCandidates
from isthmus.losses.cached import CachedAlignmentLoss
from isthmus.losses.options import CLEAROptions, Detach, Similarity


class CLEARLoss(AlignmentLoss):
    """CLEAR (arXiv 2604.05821): forward and reverse contrast through the pivot passage, and their divergence.

    With s the scaled similarity, B rows and n negatives per row:

    - forward: anchor ``pivot_query``, candidates every row's ``pivot_passage`` and all ``negative_pivot_passage_*``;
    - reverse: anchor ``pivot_passage``, candidates every row's ``query`` and all ``negative_query_*``;
    - kl: mean over rows of KL(softmax(reverse scores) || softmax(forward scores)), slots matched by position: the
      positive or negative number k of row i on one side with that on the other;
    - loss = (1 - alpha - beta) forward + alpha reverse + beta kl, without kl (1 - alpha) forward + alpha reverse.

    Where the two sides have other negatives (other numbers, or missing in some rows), both softmaxes of kl are taken
    over the slots that both have; with equal counts that is the paper's.

    Args:
        model: As for :class:`~isthmus.losses.base.AlignmentLoss`.
        columns: ``pivot_query``, ``pivot_passage``, ``query``; any number of ``negative_pivot_passage_N`` and
            ``negative_query_N``.
        alpha: Weight of the reverse term.
        beta: Weight of the divergence; not used without ``kl``.
        kl: Add the divergence; the authors' recipe does, their code's default does not.
        detach: Side of the divergence that gets no gradient from it; none in the authors' code.
        similarity: As for the base.
        scale: As for the base.
        gather_across_devices: As for the base.

    Raises:
        InputError: If a column or an argument does not fit.

    Example:
        >>> loss = CLEARLoss(model, dataset.column_names)  # doctest: +SKIP
    """

    terms = (("pivot_query", "pivot_passage"), ("pivot_passage", "query"))

    def __init__(
        self,
        model: Any,
        columns: Sequence[str],
        *,
        alpha: float = 0.4,
        beta: float = 0.2,
        kl: bool = True,
        detach: Detach = "none",
        similarity: Similarity | None = None,
        scale: float | None = None,
        gather_across_devices: bool = False,
    ) -> None:
        options = CLEAROptions(
            alpha=alpha,
            beta=beta,
            kl=kl,
            detach=detach,
            similarity=similarity,
            scale=scale,
            gather_across_devices=gather_across_devices,
        )
        super().__init__(model, columns, options)
        self.alpha, self.beta, self.kl, self.detach = alpha, beta, kl, detach

    def components(self, vectors: dict[str, Tensor], candidates: Callable[[str], TermCandidates]) -> dict[str, Tensor]:
        """``forward_loss``, ``reverse_loss`` and, with kl, ``kl_loss``, each times its weight."""
        passages, queries = candidates("pivot_passage"), candidates("query")
        forward = self.scores(vectors["pivot_query"], passages)
        reverse = self.scores(vectors["pivot_passage"], queries)
        beta = self.beta if self.kl else 0.0
        found = {
            "forward_loss": (1 - self.alpha - beta) * self.contrast(forward),
            "reverse_loss": self.alpha * self.contrast(reverse),
        }
        if self.kl:
            found["kl_loss"] = beta * self._divergence(forward, reverse, passages, queries)
        return found

    def _divergence(
        self, forward: Tensor, reverse: Tensor, passages: TermCandidates, queries: TermCandidates
    ) -> Tensor:
        place = {slot: index for index, slot in enumerate(queries.slots)}
        shared = [(index, place[slot]) for index, slot in enumerate(passages.slots) if slot in place]
        of_forward, of_reverse = (list(side) for side in zip(*shared, strict=True))
        log_forward = forward[:, of_forward].log_softmax(dim=1)
        log_reverse = reverse[:, of_reverse].log_softmax(dim=1)
        if self.detach == "forward":
            log_forward = log_forward.detach()
        elif self.detach == "reverse":
            log_reverse = log_reverse.detach()
        return (log_reverse.exp() * (log_reverse - log_forward)).sum(dim=1).mean()

    @property
    def citation(self) -> str:
        """BibTeX of the paper."""
        return """
@inproceedings{lee-etal-2026-clear,
    title = {{CLEAR}: Cross-Lingual Enhancement in Retrieval via Reverse-training},
    author = {Lee, Seungyoon and Kim, Minhyuk and Hong, Seongtae and Jang, Youngjoon and Oh, Dongsuk and Lim, Heuiseok},
    booktitle = {Proceedings of the 64th Annual Meeting of the Association for Computational Linguistics},
    year = {2026},
    eprint = {2604.05821},
    archivePrefix = {arXiv},
}
"""


class CachedCLEARLoss(CachedAlignmentLoss, CLEARLoss):
    """:class:`CLEARLoss` with GradCache, equal in value and gradient, a mini-batch at a time.

    For dense encoders; a sparse one takes ``CachedSpladeLoss(model, CLEARLoss(model, columns), ...)``.

    Args:
        model: A SentenceTransformer.
        columns: As for the uncached loss.
        mini_batch_size: Texts of a column to encode at a time; how much memory that takes does not depend on the batch.
        options: As for the uncached loss.

    Raises:
        InputError: If a column or an argument does not fit, or the encoder's inputs cannot be split.
    """
