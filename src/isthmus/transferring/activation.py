"""Decoder biases under which mixed columns are active as often as what they are made of.

A column that is a mean of logits is active less often than the columns of the mean: it passes zero where most of them
do, not where any of them does.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sentence_transformers.util import batch_to_device

from isthmus._progress import progress
from isthmus.encoders.parts import Parts, take_apart
from isthmus.errors import EncoderError, InputError
from isthmus.modules.fuse import count_fusable, fuse_head, is_fused, real_tokens
from isthmus.token_map import Fate, TokenMap
from isthmus.transferring.columns import UNWRITTEN
from isthmus.transferring.options import MIN_TEXTS, Settings

Floats = NDArray[np.float32]
# Texts that rates are measured on, drawn where there are more.
MAX_TEXTS = 500
# How far, in logits, a column is put below or above zero where all texts or none are to be on one side.
MARGIN = 0.01
_BATCH = 8


def match_activation(
    encoder: Any, source: Parts, token_map: TokenMap, texts: Sequence[str], *, seed: int, show: bool | None = None
) -> None:
    """Set the decoder bias of mixed columns, in place, such that they are active as often as what they are made of.

    The encoder reads unlabelled texts of its new language. The share of them on which a source column would be active,
    had the encoder still the source's decoder over the same hidden states, is that column's rate; a mixed column gets
    the bias under which its own rate is the mean of its source columns' rates, weighted as its row is. The idea is
    that of activation-potential calibration (arXiv 2607.00004).

    Args:
        encoder: The transferred encoder.
        source: The parts of the one it was made of, which :func:`check_matchable` passed.
        token_map: Map of shape (target, source).
        texts: Texts of the new language, at least ten; of more than 500, 500 are drawn.
        seed: Seed of the draw.
        show: None shows a progress bar on a terminal.

    Raises:
        InputError: If too few texts have a token.
    """
    texts = _drawn(encoder, texts, seed)
    target = take_apart(encoder)
    known = [module.model.get_output_embeddings() for module in source.transformers]
    for module, head, (own, theirs) in zip(
        target.transformers, target.heads, _maxima(encoder, known, texts, show), strict=True
    ):
        parameters = dict(module.model.named_parameters(remove_duplicate=False))
        biases = list({id(parameters[name]): parameters[name] for name in head.bias}.values())
        written = biases[0].detach().float().cpu().numpy() > UNWRITTEN / 2
        columns = token_map.rows(Fate.BRIDGED)
        columns = columns[written[columns]]
        rates = (theirs[:, : token_map.shape[1]] > 0).mean(axis=0)
        shift = torch.from_numpy(threshold_shift(own[:, columns], token_map.weights[columns] @ rates))
        with torch.no_grad():
            for bias in biases:
                bias[torch.from_numpy(columns).to(bias.device)] += shift.to(bias.device, bias.dtype)


def check_matchable(encoder: Any, parts: Parts, settings: Settings) -> None:
    """Refuse encoders whose biases :func:`match_activation` cannot set.

    Args:
        encoder: The source encoder.
        parts: What is in it.
        settings: How to transfer.

    Raises:
        InputError: If it is dense, or no mixed column is to be written.
        EncoderError: If a decoder has no bias, or something else than SPLADE max pooling comes after it.
    """
    if not parts.sparse:
        raise InputError("bias must not be 'matched' for a dense encoder, which has no decoder; leave it out")
    # Inference-free encoders write what their queries hold, whatever the output would be else.
    if settings.keep_source and settings.output_in_effect == "source" and not parts.statics:
        raise InputError(
            "output must be 'target' or 'both' with bias 'matched' and keep_source, got 'source', whose columns are "
            "all the source's own; choose another output or bias"
        )
    if not all(head.bias for head in parts.heads):
        raise EncoderError("encoder must have a decoder with a bias for bias 'matched', got none; choose another bias")
    if count_fusable(encoder) < len(parts.transformers):
        raise EncoderError(
            "encoder must have SPLADE max pooling over the logits of a linear decoder for bias 'matched', got another "
            "head; choose another bias"
        )


def threshold_shift(maxima: Floats, rates: NDArray[np.float64]) -> Floats:
    """What to add to each column so that a given share of its values is above zero.

    Args:
        maxima: Shape (texts, columns).
        rates: Shape (columns,), in 0..1; rounded to whole texts.

    Returns:
        Shape (columns,): 0 where the share is right already; else minus the middle between the last value that is to be
        above zero and the first that is not, or, where all or none are to be, just as far as that takes.
    """
    count, places = len(maxima), np.arange(maxima.shape[1])
    falling = -np.sort(-maxima, axis=0)
    padded = np.concatenate([falling[:1] + 2 * MARGIN, falling, falling[-1:] - 2 * MARGIN])
    wanted = np.rint(rates * count).astype(np.int64)
    middle = (padded[wanted, places] + padded[wanted + 1, places]) / 2
    right = (maxima > 0).sum(axis=0) == wanted
    shift: Floats = np.where(right, np.float32(0), -middle)
    return shift


def _drawn(encoder: Any, texts: Sequence[str], seed: int) -> list[str]:
    """Texts with a token, in their order; tokenized one by one, for there may be millions."""
    drawn: list[int] = []
    for i in np.random.default_rng(seed).permutation(len(texts)).tolist():
        if len(drawn) == MAX_TEXTS:
            break
        if encoder.tokenizer(texts[i])["input_ids"]:
            drawn.append(i)
    if len(drawn) < MIN_TEXTS:
        raise InputError(
            f"sample_texts must be {MIN_TEXTS} or more with a token in them for bias 'matched', got {len(drawn)}; pass "
            "more"
        )
    return [texts[i] for i in sorted(drawn)]


class _Recorder:
    """Stands in for a pooling over a fused head: keeps the largest logits of every text under two decoders."""

    def __init__(self, own: torch.nn.Linear, known: torch.nn.Linear) -> None:
        self.heads = [(head.weight.detach().float(), head.bias.detach().float()) for head in (own, known)]
        self.maxima: tuple[list[Floats], list[Floats]] = ([], [])

    def __call__(self, features: dict[str, Any]) -> dict[str, Any]:
        hidden, lengths = real_tokens(features)
        for (weight, bias), kept in zip(self.heads, self.maxima, strict=True):
            kept += [((text @ weight.T).amax(dim=0) + bias).cpu().numpy() for text in torch.split(hidden, lengths)]
        features["sentence_embedding"] = hidden.new_zeros(len(lengths), 1)
        return features


def _maxima(encoder: Any, known: Sequence[Any], texts: Sequence[str], show: bool | None) -> list[tuple[Floats, Floats]]:
    """Largest logits of every text under each of the encoder's decoders and under its ``known`` one."""
    # Half precision is slow on processors, and the encoder itself must stay in it.
    exact = copy.deepcopy(encoder).float().eval()
    decoders = [module.model.get_output_embeddings() for module in take_apart(exact).transformers]
    fuse_head(exact)
    recorders: dict[int, _Recorder] = {}
    for pooling in filter(is_fused, exact.modules()):
        place = next(i for i, decoder in enumerate(decoders) if decoder is pooling.__dict__["forward"].decoder)
        recorders[place] = pooling.__dict__["forward"] = _Recorder(decoders[place], known[place])
    # A query route of its own is not reached by documents.
    for task in ("document", "query"):
        if all(recorder.maxima[0] for recorder in recorders.values()):
            break
        batches = [texts[start : start + _BATCH] for start in range(0, len(texts), _BATCH)]
        for batch in progress(batches, desc="Matching biases", show=show):
            features = exact.preprocess(batch, prompt=exact.prompts.get(task), task=task)
            with torch.inference_mode():
                exact.forward(batch_to_device(features, exact.device), task=task)
    return [(np.stack(own), np.stack(theirs)) for own, theirs in (recorders[i].maxima for i in range(len(decoders)))]
