"""The base of the losses that align languages: columns by name, scores, missing negatives, other devices."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from sentence_transformers import SparseEncoder
from sentence_transformers.base.losses.merged_forward import embed_columns
from sentence_transformers.util import all_gather, all_gather_with_grad, get_rank
from torch import Tensor, nn

from isthmus.errors import InputError
from isthmus.losses.options import SCALES, LossOptions, Similarity
from isthmus.losses.roles import Layout, find_layout

Features = Iterable[dict[str, Tensor]]


@dataclass(frozen=True)
class TermCandidates:
    """What one term ranks for its anchors: the positives of all rows, then all negatives that are there.

    Attributes:
        vectors: Shape (candidates, dimensions).
        slots: (negative number, row) of every candidate, -1 for the number of a positive.
    """

    vectors: Tensor
    slots: list[tuple[int, int]]


class AlignmentLoss(nn.Module):
    """Base of the losses that align languages.

    Scores, softmaxes and divergences are computed in float32 at least, also under autocast. The loss is a dict of
    weighted components whose sum is the loss; trainers of sentence-transformers sum and log them.

    Args:
        model: A SentenceTransformer, or a SparseEncoder, whose loss must stand in a ``SpladeLoss``.
        columns: Names of the dataset's columns in its order, as ``dataset.column_names`` gives them, because a trainer
            hands a loss the columns without their names. Labels among them are passed over.
        options: The options of the loss.

    Raises:
        InputError: If a column is missing or of no use.
    """

    terms: tuple[tuple[str, str], ...] = ()
    """(anchor, positive) of every contrastive term; there may be negatives of each positive."""
    other_roles: tuple[str, ...] = ()
    """Roles that are needed beside those."""

    def __init__(
        self,
        model: Any,
        columns: Sequence[str],
        options: LossOptions,
    ) -> None:
        super().__init__()
        required = dict.fromkeys([*(role for term in self.terms for role in term), *self.other_roles])
        positives = [positive for _, positive in self.terms]
        self.layout: Layout = find_layout(type(self).__name__, columns, list(required), positives)
        self.model = model
        self.sparse = isinstance(model, SparseEncoder)
        self.options = options
        self.similarity: Similarity = options.similarity or ("dot" if self.sparse else "cosine")
        self.scale = SCALES[self.similarity] if options.scale is None else options.scale
        self.gather_across_devices = options.gather_across_devices

    def components(self, vectors: dict[str, Tensor], candidates: Callable[[str], TermCandidates]) -> dict[str, Tensor]:
        """The weighted terms of the loss.

        Args:
            vectors: This process's vectors by role, each of shape (rows, dimensions).
            candidates: Gives what the anchors of the term with this positive rank.
        """
        raise NotImplementedError

    def forward(self, sentence_features: Features, labels: Tensor | None = None) -> dict[str, Tensor]:
        """Encode and compute; arguments as sentence-transformers gives them.

        Args:
            sentence_features: Features of every column.
            labels: Which negatives are there, as for :meth:`compute_loss_from_embeddings`.
        """
        self._refuse_alone()
        return self.compute_loss_from_embeddings(embed_by_role(self.model, sentence_features, self.layout), labels)

    def compute_loss_from_embeddings(self, embeddings: list[Tensor], labels: Tensor | None = None) -> dict[str, Tensor]:
        """The components from the vectors of every column.

        Args:
            embeddings: One tensor of shape (rows, dimensions) per column.
            labels: Shape (rows, columns of negatives), 0 where a row has no such negative and the column holds a text
                in its place; columns in their order. None where every row has all.

        Raises:
            InputError: If the numbers of columns or the shape of the labels do not fit.
        """
        with _full_precision(embeddings[0] if embeddings else None):
            vectors = [self._prepared(embedding) for embedding in embeddings]
            self._check(vectors, labels)
            by_role = {role: vectors[position] for role, position in self.layout.roles.items()}
            present = self._present(vectors[0], labels)
            return self.components(by_role, lambda positive: self._candidates(positive, vectors, present))

    def scores(self, anchors: Tensor, candidates: TermCandidates) -> Tensor:
        """Scaled similarities, shape (anchors, candidates); a zero vector has cosine 0 with everything."""
        vectors = candidates.vectors
        if self.similarity == "cosine":
            anchors, vectors = unit(anchors), unit(vectors)
        return anchors @ vectors.T * self.scale

    def contrast(self, scores: Tensor) -> Tensor:
        """Cross-entropy of ranking first, of all candidates, the positive of the anchor's own row."""
        own = torch.arange(len(scores), device=scores.device)
        return nn.functional.cross_entropy(scores, own + len(scores) * self._rank())

    def get_config_dict(self) -> dict[str, Any]:
        """What a model card has to state."""
        return self.options.own() | {
            "columns": list(self.layout.columns),
            "similarity": self.similarity,
            "scale": self.scale,
            "gather_across_devices": self.gather_across_devices,
        }

    def _refuse_alone(self) -> None:
        if self.sparse:
            name = type(self).__name__.removeprefix("Cached")
            raise InputError(
                f"model must be dense for {type(self).__name__} on its own, got a SparseEncoder, whose vectors would "
                f"fill up without a regulariser; use SpladeLoss(model, {name}(model, columns), ...) or CachedSpladeLoss"
            )

    def _prepared(self, embedding: Tensor) -> Tensor:
        dense = embedding.to_dense() if embedding.layout != torch.strided else embedding
        return dense.to(torch.promote_types(dense.dtype, torch.float32))

    def _check(self, vectors: list[Tensor], labels: Tensor | None) -> None:
        columns = self.layout.columns
        if len(vectors) != len(columns):
            raise InputError(
                f"{type(self).__name__} must get a vector for each of its columns {', '.join(columns)}; got "
                f"{len(vectors)} columns; make columns those of the dataset"
            )
        for column, vector in zip(columns, vectors, strict=True):
            if vector.shape != vectors[0].shape or vector.ndim != 2:
                raise InputError(
                    f"column {column!r} must have vectors of shape {tuple(vectors[0].shape)} as {columns[0]!r}, got "
                    f"{tuple(vector.shape)}"
                )
        negatives = [columns[position] for position in self.layout.negative_columns]
        if labels is not None and tuple(labels.shape) != (len(vectors[0]), len(negatives)):
            raise InputError(
                f"labels must say for each of {len(vectors[0])} rows which of the {len(negatives)} negatives "
                f"({', '.join(negatives) or 'none'}) are there, got shape {tuple(labels.shape)}; remove the labels "
                "where every row has all"
            )

    def _present(self, like: Tensor, labels: Tensor | None) -> Tensor:
        """Which negatives are there, shape (rows of all processes, columns of negatives)."""
        columns = len(self.layout.negative_columns)
        here = torch.ones(len(like), columns, device=like.device) if labels is None else labels.to(like)
        return (all_gather(here) if self.gather_across_devices else here) != 0

    def _candidates(self, positive: str, vectors: list[Tensor], present: Tensor) -> TermCandidates:
        places = self.layout.negatives[positive]
        order = self.layout.negative_columns
        found = [self._gathered(vectors[self.layout.roles[positive]])]
        slots = [(-1, row) for row in range(len(found[0]))]
        for number in sorted(places):
            there = present[:, order.index(places[number])]
            found.append(self._gathered(vectors[places[number]])[there])
            slots += [(number, row) for row in there.nonzero().flatten().tolist()]
        return TermCandidates(torch.cat(found), slots)

    def _gathered(self, vectors: Tensor) -> Tensor:
        return all_gather_with_grad(vectors) if self.gather_across_devices else vectors

    def _rank(self) -> int:
        return int(get_rank()) if self.gather_across_devices else 0


def unit(vectors: Tensor) -> Tensor:
    """Vectors of length 1, shape kept; a zero vector stays zero and gets no gradient, since it has no direction."""
    norms = vectors.norm(dim=-1, keepdim=True)
    return torch.where(norms > 0, vectors / torch.where(norms > 0, norms, 1.0), 0.0)


def embed_by_role(model: Any, sentence_features: Features, layout: Layout) -> list[Tensor]:
    """Vectors of every column; queries share one forward pass and passages another, where their features allow.

    Raises:
        InputError: If there are more or fewer columns than the loss was told of.
    """
    features = list(sentence_features)
    if len(features) != len(layout.columns):
        raise InputError(
            f"the dataset must have the columns {', '.join(layout.columns)} that the loss was told of, got "
            f"{len(features)} columns; pass columns=dataset.column_names"
        )
    queries = layout.queries
    found: dict[int, Tensor] = {}
    for places in (queries, [position for position in range(len(features)) if position not in queries]):
        vectors = embed_columns(model, [features[position] for position in places], separate_first=False)
        found.update(zip(places, vectors, strict=True))
    return [found[position] for position in range(len(features))]


@contextmanager
def _full_precision(like: Tensor | None) -> Iterator[None]:
    """No autocast in the body: half precision tells neighbours of a scale of 20 apart in steps of an eighth."""
    with torch.autocast("cpu" if like is None else like.device.type, enabled=False):
        yield
