"""CLEAR: queries in another language learn from a passage in the pivot language (Lee et al. 2026)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from isthmus.losses.base import AlignmentLoss, Candidates
from isthmus.losses.options import Detach, Similarity, check_clear


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
        check_clear(alpha, beta, kl, detach)
        super().__init__(
            model, columns, similarity=similarity, scale=scale, gather_across_devices=gather_across_devices
        )
        self.alpha = alpha
        self.beta = beta
        self.kl = kl
        self.detach = detach

    def components(self, vectors: dict[str, Tensor], candidates: Callable[[str], Candidates]) -> dict[str, Tensor]:
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

    def _divergence(self, forward: Tensor, reverse: Tensor, passages: Candidates, queries: Candidates) -> Tensor:
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

    def get_config_dict(self) -> dict[str, Any]:
        """What a model card has to state."""
        own = {"alpha": self.alpha, "beta": self.beta, "kl": self.kl, "detach": self.detach}
        return own | super().get_config_dict()

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
