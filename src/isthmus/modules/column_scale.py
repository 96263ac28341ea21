"""A weight for every column of a sparse encoder's vectors."""

from __future__ import annotations

from typing import Any

import torch
from sentence_transformers.base.modules import Module
from torch import Tensor

from isthmus.errors import InputError
from isthmus.modules.max_head import ActiveEntries


class ColumnScale(Module):  # type: ignore[misc]
    """Multiplies column t of ``sentence_embedding`` by ``scale[t]``.

    After a transfer, a column that is mixed of common source tokens fires on many texts and tells little. The square
    root of its activation's IDF, on queries and documents, makes a dot product count it as BM25 counts a word
    (:func:`isthmus.lexical.add_lexical` computes it from unlabelled texts).

    Takes dense tensors, with their gradient, and :class:`isthmus.modules.max_head.ActiveEntries`, which stay sparse. A
    saved encoder names this class: loading it needs Isthmus, by :func:`isthmus.encoders.load.load_encoder`, or
    ``SparseEncoder(folder, trust_remote_code=True)``, which sentence-transformers asks for with every class not its
    own.

    Args:
        scale: Factors, finite and not negative, shape (vocabulary,).

    Raises:
        InputError: If they are not.
    """

    def __init__(self, scale: Tensor) -> None:
        super().__init__()
        scale = torch.as_tensor(scale).detach().float().clone()
        if scale.ndim != 1 or not len(scale) or not bool(torch.isfinite(scale).all() and (scale >= 0).all()):
            raise InputError(
                f"scale must be one finite factor of 0 or more per column, got shape {tuple(scale.shape)} with "
                f"{int((~torch.isfinite(scale) | (scale < 0)).sum())} others; compute it from texts anew"
            )
        self.register_buffer("scale", scale)

    def forward(self, features: dict[str, Any]) -> dict[str, Any]:
        """Scale ``sentence_embedding``, which comes out as float32."""
        vectors = features["sentence_embedding"]
        scale = self.scale.float()
        if not isinstance(vectors, ActiveEntries):
            features["sentence_embedding"] = vectors * scale
            return features
        vectors = vectors._replace(values=vectors.values * scale[vectors.entries])
        active = vectors.values != 0
        features["sentence_embedding"] = ActiveEntries(*(part[active] for part in vectors))
        return features

    def get_embedding_dimension(self) -> int:
        """Columns of the vectors."""
        return len(self.scale)

    def save(self, output_path: str, *args: Any, safe_serialization: bool = True, **kwargs: Any) -> None:
        """Write the config and the factors to a folder."""
        self.save_config(output_path)
        self.save_torch_weights(output_path, safe_serialization=safe_serialization)

    @classmethod
    def load(cls, model_name_or_path: str, subfolder: str = "", **kwargs: Any) -> ColumnScale:
        """Read what :meth:`save` wrote; arguments as for every module of sentence-transformers."""
        return cls(cls.load_torch_weights(model_name_or_path, subfolder, **hub_options(kwargs))["scale"])


def hub_options(given: dict[str, Any]) -> dict[str, Any]:
    """Those arguments of loading a module that say where files come from."""
    return {name: given[name] for name in ("token", "cache_folder", "revision", "local_files_only") if name in given}


__all__ = ["ColumnScale", "hub_options"]
