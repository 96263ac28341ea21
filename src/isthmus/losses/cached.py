"""GradCache (arXiv 2101.06983) for losses of named components: large batches in the memory of small ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from sentence_transformers.base.losses.gradcache import CachedLossMixin, has_static_embedding_input
from torch import Tensor

from isthmus.errors import InputError
from isthmus.losses.base import Features
from isthmus.losses.options import CachedOptions


class Cached(CachedLossMixin):  # type: ignore[misc]
    """Mixin, before a loss with ``compute_loss_from_embeddings`` that returns a dict of components.

    The mini-batching, the replay of dropout and the second pass are those of sentence-transformers' cached losses.
    Scores are computed for the whole batch at once; they take little beside the activations of a model.
    """

    mini_batch_size: int
    compute_loss_from_embeddings: Any

    def set_mini_batch_size(self, size: int) -> None:
        """Encode this many texts at a time.

        Raises:
            InputError: If it is below 1, or the model's inputs cannot be split.
        """
        CachedOptions(size)
        if has_static_embedding_input(self.model):
            raise InputError(
                f"mini_batch_size must be left out for an encoder with a StaticEmbedding, got {size}; its inputs "
                "cannot be split, and take little memory"
            )
        self.mini_batch_size = size
        self._values: dict[str, Tensor] = {}

    def calculate_loss(
        self, reps: list[list[Tensor]], labels: Tensor | None = None, *, with_backward: bool = False
    ) -> Tensor:
        """The sum of the components; called by the mixin.

        Args:
            reps: Vectors of every mini-batch of every column.
            labels: As for the loss.
            with_backward: Leave gradients in ``reps``.
        """
        found = self.compute_loss_from_embeddings([torch.cat(parts) for parts in reps], labels)
        total: Tensor = torch.stack(list(found.values())).sum()
        self._values = {name: value.detach() for name, value in found.items()}
        if with_backward:
            total.backward()  # type: ignore[no-untyped-call]
            total = total.detach()
        return total

    def forward_components(self, sentence_features: Features, labels: Tensor | None) -> dict[str, Tensor]:
        """The components; the first one carries the gradient of all, because a trainer takes that of their sum."""
        total = self.forward_cached(sentence_features, labels)
        first, *others = self._values
        rest = {name: self._values[name] for name in others}
        return {first: total - sum(rest.values()), **rest}

    def get_config_dict(self) -> dict[str, Any]:
        """What a model card has to state."""
        stated: dict[str, Any] = super().get_config_dict()
        return stated | {"mini_batch_size": self.mini_batch_size}

    @property
    def citation(self) -> str:
        """BibTeX of the loss and of GradCache."""
        own: str = super().citation
        return (
            own
            + """@misc{gao2021scaling,
    title = {Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup},
    author = {Gao, Luyu and Zhang, Yunyi and Han, Jiawei and Callan, Jamie},
    year = {2021},
    eprint = {2101.06983},
    archivePrefix = {arXiv},
}
"""
        )


class CachedAlignmentLoss(Cached):
    """Mixin, before an :class:`~isthmus.losses.base.AlignmentLoss`, that makes it its cached form."""

    def __init__(self, model: Any, columns: Sequence[str], *, mini_batch_size: int = 32, **options: Any) -> None:
        super().__init__(model, columns, **options)
        self.set_mini_batch_size(mini_batch_size)

    def forward(self, sentence_features: Features, labels: Tensor | None = None) -> dict[str, Tensor]:
        """Encode and compute; arguments as for the uncached loss."""
        self._refuse_alone()
        return self.forward_components(sentence_features, labels)
