"""Only the largest entries of a sparse encoder's vectors, fewer of a query than of a document."""

from __future__ import annotations

from typing import Any

import torch
from sentence_transformers.base.modules import Module
from torch import Tensor

from isthmus.errors import InputError
from isthmus.modules.column_scale import hub_options
from isthmus.modules.max_head import ActiveEntries

# What the vectors were before, for a lexical part that comes after.
UNTRIMMED = "untrimmed_embedding"


class Trim(Module):  # type: ignore[misc]
    """Keeps the largest entries of every row of ``sentence_embedding``; of equal ones, those of the lower columns.

    Before a lexical part it makes room: the words of a text are the larger part of what is found by them, and a few
    expansions beside them cost hardly more postings than BM25 (:func:`isthmus.lexical.add_lexical`). What the
    vectors were before stays in the features, for that part.

    Takes dense tensors, with their gradient, and :class:`isthmus.modules.max_head.ActiveEntries`, which stay sparse. It
    has no parameters. A saved encoder names this class: loading it needs Isthmus, by
    :func:`isthmus.encoders.load.load_encoder`, or ``SparseEncoder(folder, trust_remote_code=True)``, which
    sentence-transformers asks for with every class not its own.

    Args:
        query: Entries of a query, one at least.
        document: Entries of any other text, one at least.

    Raises:
        InputError: If one is not above zero.
    """

    config_keys: list[str] = ["query", "document"]  # noqa: RUF012
    forward_kwargs: set[str] = {"task"}  # noqa: RUF012

    def __init__(self, query: int, document: int) -> None:
        super().__init__()
        check_trim((query, document))
        self.query, self.document = int(query), int(document)

    def forward(self, features: dict[str, Any], task: str | None = None) -> dict[str, Any]:
        """Trim ``sentence_embedding``.

        Args:
            features: Of a batch.
            task: ``query`` or another; None takes what the features say.
        """
        most = self.query if (task if task is not None else features.get("task")) == "query" else self.document
        vectors = features[UNTRIMMED] = features["sentence_embedding"]
        if isinstance(vectors, ActiveEntries):
            kept = _largest(vectors.texts, vectors.values, most)
            features["sentence_embedding"] = ActiveEntries(*(part[kept] for part in vectors))
        elif most < vectors.shape[1]:
            order = vectors.detach().argsort(dim=1, descending=True, stable=True)
            mask = torch.zeros_like(vectors, dtype=torch.bool).scatter_(1, order[:, :most], True)
            features["sentence_embedding"] = torch.where(mask, vectors, vectors.new_zeros(()))
        return features

    def save(self, output_path: str, *args: Any, safe_serialization: bool = True, **kwargs: Any) -> None:
        """Write the config to a folder."""
        self.save_config(output_path)

    @classmethod
    def load(cls, model_name_or_path: str, subfolder: str = "", **kwargs: Any) -> Trim:
        """Read what :meth:`save` wrote; arguments as for every module of sentence-transformers."""
        return cls(**cls.load_config(model_name_or_path, subfolder, **hub_options(kwargs)))


def check_trim(trim: Any) -> None:
    """Check the numbers of :class:`Trim`.

    Raises:
        InputError: If they are not two whole numbers above zero.
    """
    if not (isinstance(trim, (tuple, list)) and len(trim) == 2 and all(isinstance(n, int) and n >= 1 for n in trim)):
        raise InputError(f"trim must be two numbers of entries of 1 or more, of queries and documents, got {trim}")


def _largest(texts: Tensor, values: Tensor, most: int) -> Tensor:
    """Whether an entry is among the ``most`` largest of its text; texts ascend."""
    by_value = values.argsort(descending=True, stable=True)
    order = by_value[texts[by_value].argsort(stable=True)]
    counts = torch.bincount(texts, minlength=1)
    firsts = counts.cumsum(0) - counts
    kept = torch.zeros(len(texts), dtype=torch.bool, device=texts.device)
    kept[order] = torch.arange(len(texts), device=texts.device) - firsts[texts[order]] < most
    return kept


__all__ = ["UNTRIMMED", "Trim", "check_trim"]
