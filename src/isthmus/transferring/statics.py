"""Static query sides of inference-free encoders: one weight per token."""

from __future__ import annotations

from typing import Any

import torch

from isthmus.encoders.parts import Parts
from isthmus.errors import InputError
from isthmus.token_map import Fate, TokenMap
from isthmus.transferring.idf import check_without_holes, idf_from_texts
from isthmus.transferring.options import Settings
from isthmus.transferring.swap import mix
from isthmus.vocabulary import Vocabulary


def check_statics(parts: Parts, target: Vocabulary, settings: Settings) -> None:
    """Refuse a vocabulary with holes for them, and texts where there are none.

    Raises:
        InputError: If ``idf_texts`` are given for an encoder without one.
        TokenizerError: If the target vocabulary has holes.
    """
    if parts.statics:
        check_without_holes(target)
    elif settings.idf_texts is not None:
        raise InputError(
            "idf_texts must be None for an encoder without a static query side, got texts; leave them out, or pass "
            "them as sample_texts"
        )


def query_weights(
    parts: Parts, tokenizer: Any, target: Vocabulary, token_map: TokenMap, settings: Settings
) -> dict[int, Any]:
    """New weights by the id() of each static module: the statistic of target text if given, else the map."""
    if not parts.statics:
        return {}
    if settings.idf_texts is None:
        return {id(module): mix(token_map, module.weight) for module in parts.statics}
    idf = torch.from_numpy(idf_from_texts(tokenizer, target, settings.idf_texts))
    kept = torch.from_numpy(token_map.rows(Fate.KEPT))
    weights = {}
    for module in parts.statics:
        weight = idf.to(module.weight.device, module.weight.dtype, copy=True)
        # Texts of the new language say nothing about the source's tokens.
        weight[kept] = module.weight.detach()[kept]
        weights[id(module)] = weight
    return weights
