"""What a run trains on and what for: the one thing in which training recipes differ; no torch."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Prepared:
    """Rows and a loss, ready for a trainer.

    Attributes:
        texts: Columns of texts, in the order in which the loss takes them; queries have ``query`` in their names.
        labels: Columns of labels, under names that sentence-transformers knows.
        build_loss: Makes the loss over an encoder; for a SparseEncoder a SpladeLoss over
            :class:`~isthmus.training.objective.CountedFlops`.
        distinct: Whether no two rows of a batch may have a text of their own in common, negatives aside.
        stated: What the report says about the data beside name, rows, columns and hash; JSON values.
    """

    texts: dict[str, list[str]]
    labels: dict[str, list[Any]]
    build_loss: Callable[[Any], Any]
    distinct: bool
    stated: dict[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(next(iter(self.texts.values())))


@dataclass(frozen=True)
class Task:
    """A training task before its encoder is loaded.

    Attributes:
        name: File or hub id of the data.
        digest: Hash of the data.
        settings: What decides the outcome beside the training settings, which it overrides; JSON values.
        prepare: Makes the rows, once it is certain that the run may start.
        tags: Tags of the model card.
        describe: Markdown for the model card, from the report's values.
    """

    name: str
    digest: str
    settings: dict[str, Any]
    prepare: Callable[[Any], Prepared]
    tags: tuple[str, ...] = ()
    describe: Callable[[dict[str, Any]], str] = lambda report: ""


def is_first_process() -> bool:
    """Whether this process is the one that writes and prints; always, without ``torchrun``."""
    return os.environ.get("RANK", "0") == "0"
