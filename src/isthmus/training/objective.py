"""Which loss of sentence-transformers fits an encoder and its data, and counting active dimensions on the way."""

from __future__ import annotations

from typing import Any, Literal

import torch
from sentence_transformers import SparseEncoder
from sentence_transformers.sentence_transformer.losses import (
    DistillKLDivLoss,
    MarginMSELoss,
    MultipleNegativesRankingLoss,
)
from sentence_transformers.sparse_encoder.losses import (
    FlopsLoss,
    SparseDistillKLDivLoss,
    SparseMarginMSELoss,
    SparseMultipleNegativesRankingLoss,
    SpladeLoss,
)
from torch import Tensor

from isthmus.errors import InputError
from isthmus.training.data import TrainingData
from isthmus.training.options import TrainerOptions, TrainOptions
from isthmus.training.task import Prepared, Task

Chosen = Literal["contrastive", "margin-mse", "kl"]
SPARSE: dict[Chosen, Any] = {
    "contrastive": SparseMultipleNegativesRankingLoss,
    "margin-mse": SparseMarginMSELoss,
    "kl": SparseDistillKLDivLoss,
}
DENSE: dict[Chosen, Any] = {
    "contrastive": MultipleNegativesRankingLoss,
    "margin-mse": MarginMSELoss,
    "kl": DistillKLDivLoss,
}


class Window:
    """Mean active dimensions of what passed since it was last asked, over all processes."""

    def __init__(self) -> None:
        self._total: Tensor | None = None
        self._rows = 0
        self.columns = 0

    def add(self, vectors: Tensor) -> None:
        """Count a batch of vectors, shape (texts, columns)."""
        active = (vectors.detach() != 0).sum()
        self._total = active if self._total is None else self._total + active
        self._rows += len(vectors)
        self.columns = vectors.shape[1]

    def take(self) -> float | None:
        """The mean, or None where nothing passed; starts anew."""
        if self._total is None:
            return None
        counted = torch.stack([self._total.double(), torch.full_like(self._total, self._rows).double()])
        self._total, self._rows = None, 0
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.all_reduce(counted)
        return float(counted[0] / counted[1])


class CountedFlops(FlopsLoss):  # type: ignore[misc]
    """The FLOPS regulariser, which sees every vector anyway, and windows on what it sees.

    Attributes:
        windows: Each counts on its own, so that several callbacks can look at their own pace.
    """

    def __init__(self, model: SparseEncoder) -> None:
        super().__init__(model)
        self.windows: list[Window] = []

    def window(self) -> Window:
        """Open a window on what passes from now on."""
        self.windows.append(Window())
        return self.windows[-1]

    def compute_loss_from_embeddings(self, embeddings: Tensor) -> Tensor:
        """Squared L2 norm of the mean vector."""
        for window in self.windows:
            window.add(embeddings)
        loss: Tensor = super().compute_loss_from_embeddings(embeddings)
        return loss


def choose_loss(options: TrainOptions, data: TrainingData) -> Chosen:
    """Resolve ``loss="auto"`` and check that the data has what the loss needs.

    Raises:
        InputError: If it does not.
    """
    loss: Chosen
    if options.loss == "auto":
        loss = "contrastive" if data.scores is None else "margin-mse"
    else:
        loss = options.loss
    if loss != "contrastive":
        if data.scores is None or data.negatives < 1:
            missing = "scores" if data.scores is None else "negatives"
            raise InputError(
                f"loss {loss!r} needs a column 'scores' and at least one negative, got no {missing} in {data.name}; "
                "add a teacher's scores, or use the contrastive loss"
            )
        if loss == "kl" and len(data.scores[0]) == 1:
            raise InputError("loss 'kl' needs scores as lists of each passage, got one number per row; use margin-mse")
    elif data.negatives == 0 and min(options.batch_size, len(data)) < 2:
        raise InputError(
            f"batch_size and the number of rows must be 2 or more without negatives, got {options.batch_size} and "
            f"{len(data)}: the other rows of a batch are the negatives"
        )
    return loss


def build_loss(encoder: Any, loss: Chosen, options: TrainOptions) -> Any:
    """The loss module; for a SparseEncoder inside a SpladeLoss whose two regularisers are :class:`CountedFlops`."""
    if not isinstance(encoder, SparseEncoder):
        return DENSE[loss](encoder)
    return SpladeLoss(encoder, SPARSE[loss](encoder), **regularizers(encoder, options))


def regularizers(encoder: SparseEncoder, options: TrainerOptions) -> dict[str, Any]:
    """What a SpladeLoss takes beside its loss: both weights, and a :class:`CountedFlops` each."""
    return {
        "document_regularizer_weight": options.document_regularizer_weight,
        "query_regularizer_weight": options.query_regularizer_weight,
        "document_regularizer": CountedFlops(encoder),
        "query_regularizer": CountedFlops(encoder),
    }


def training_task(data: TrainingData, loss: Chosen, options: TrainOptions) -> Task:
    """The task of :func:`isthmus.training.train`."""
    labels: dict[str, list[Any]] = {}
    if loss != "contrastive" and data.scores is not None:
        labels["scores"] = [row if len(row) > 1 else row[0] for row in data.scores]
    prepared = Prepared(
        texts=data.texts,
        labels=labels,
        build_loss=lambda encoder: build_loss(encoder, loss, options),
        # In-batch negatives must not hold the positive again.
        distinct=loss == "contrastive",
    )
    return Task(data.name, data.digest, settings={"loss": loss}, prepare=lambda encoder: prepared)
