"""What is done to mixed rows, and to the biases of their columns, once they are mixed.

A mean of vectors is shorter than they are, and tokens with the same mixture are one and the same to the model: training
has to part them by the texts that hold one and not the other. A column that is a mean of logits is active less often
than the columns of the mean: it passes zero where most of them do, not where any of them does.
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
from isthmus.transferring.options import MIN_TEXTS, TransferOptions

Float32s = NDArray[np.float32]
# Texts that rates are measured on, drawn where there are more.
MAX_TEXTS = 500
# How far, in logits, a column is put below or above zero where all texts or none are to be on one side.
MARGIN = 0.01
_BATCH = 8


def restore_norm(token_map: TokenMap, rows: torch.Tensor, source: torch.Tensor) -> torch.Tensor:
    """Scale every mixed row to the mean length of the rows it is made of, weighted as they are.

    Args:
        token_map: Map of shape (target, source).
        rows: ``W @ source``, shape (target, dim).
        source: Shape (source rows, dim), at least as many as the map has columns.

    Returns:
        A new tensor of the same dtype; rows that are not mixed are as they were.
    """
    mixed = token_map.rows(Fate.BRIDGED)
    own = _wide(rows)[mixed]
    lengths = np.linalg.norm(_wide(source)[: token_map.shape[1]], axis=1)
    return _replaced(rows, mixed, _scaled(own, token_map.weights[mixed] @ lengths))


def add_own_directions(token_map: TokenMap, rows: torch.Tensor, options: TransferOptions) -> torch.Tensor:
    """Add to every mixed row a random direction of its own; the row keeps its length.

    Args:
        token_map: Map of shape (target, source).
        rows: Shape (target, dim).
        options: ``own_direction`` is the expected length of what is added, as a multiple of the row's own, before both
            are scaled back to that. The directions depend on the seed, on the map and on ``dim`` alone.

    Returns:
        A new tensor of the same dtype; rows that are not mixed are as they were.
    """
    mixed = token_map.rows(Fate.BRIDGED)
    own = _wide(rows)[mixed]
    lengths = np.linalg.norm(own, axis=1)
    # What comes first in the stream of this seed is the noise of sampled rows.
    drawn_before = len(token_map.rows(Fate.SAMPLED))
    noise = np.random.default_rng(options.seed).standard_normal((drawn_before + len(mixed), own.shape[1]))[
        drawn_before:
    ]
    added = noise * (options.own_direction_in_effect * lengths / np.sqrt(own.shape[1]))[:, None]
    return _replaced(rows, mixed, _scaled(own + added, lengths))


def _wide(tensor: torch.Tensor) -> NDArray[np.float64]:
    # Not on the device: some have no float64.
    found: NDArray[np.float64] = tensor.detach().cpu().double().numpy()
    return found


def _scaled(rows: NDArray[np.float64], lengths: NDArray[np.float64]) -> NDArray[np.float64]:
    found = np.maximum(np.linalg.norm(rows, axis=1), 1e-12)
    return np.asarray(rows * (lengths / found)[:, None])


def _replaced(rows: torch.Tensor, ids: NDArray[np.int64], values: NDArray[np.float64]) -> torch.Tensor:
    result = rows.clone()
    result[torch.from_numpy(ids).to(rows.device)] = torch.from_numpy(values).to(rows.dtype).to(rows.device)
    return result


def match_activation(encoder: Any, source: Parts, token_map: TokenMap, options: TransferOptions) -> None:
    """Set the decoder bias of mixed columns, in place, such that they are active as often as what they are made of.

    The encoder reads unlabelled texts of its new language. The share of them on which a source column would be active,
    had the encoder still the source's decoder over the same hidden states, is that column's rate; a mixed column gets
    the bias under which its own rate is the mean of its source columns' rates, weighted as its row is. The idea is
    that of activation-potential calibration (arXiv 2607.00004).

    Args:
        encoder: The transferred encoder.
        source: The parts of the one it was made of, which :func:`check_matchable` passed.
        token_map: Map of shape (target, source).
        options: With sample texts of the new language, at least ten; of more than 500, 500 are drawn.

    Raises:
        InputError: If too few texts have a token.
    """
    texts = _drawn(encoder, options.sample_texts or (), options.seed)
    target = take_apart(encoder)
    known = [module.model.get_output_embeddings() for module in source.transformers]
    for module, head, (own, theirs) in zip(
        target.transformers, target.heads, _maxima(encoder, known, texts, options.show_progress_bar), strict=True
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


def check_matchable(encoder: Any, parts: Parts, options: TransferOptions) -> None:
    """Refuse encoders whose biases :func:`match_activation` cannot set.

    Args:
        encoder: The source encoder.
        parts: What is in it.
        options: How to transfer.

    Raises:
        InputError: If it is dense, or no mixed column is to be written.
        EncoderError: If a decoder has no bias, or something else than SPLADE max pooling comes after it.
    """
    if not parts.sparse:
        raise InputError("bias must not be 'matched' for a dense encoder, which has no decoder; leave it out")
    # Inference-free encoders write what their queries hold, whatever the output would be else.
    if options.output_in_effect == "source" and not parts.statics:
        possible = (
            "'target' or 'both' with bias 'matched' and keep_source"
            if options.keep_source
            else "'target' with bias 'matched'"
        )
        raise InputError(
            f"output must be {possible}, got 'source', whose columns are "
            "all the source's own; choose another output or bias"
        )
    if not all(head.bias for head in parts.heads):
        raise EncoderError("encoder must have a decoder with a bias for bias 'matched', got none; choose another bias")
    if count_fusable(encoder) < len(parts.transformers):
        raise EncoderError(
            "encoder must have SPLADE max pooling over the logits of a linear decoder for bias 'matched', got another "
            "head; choose another bias"
        )


def threshold_shift(maxima: Float32s, rates: NDArray[np.float64]) -> Float32s:
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
    shift: Float32s = np.where(right, np.float32(0), -middle)
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
        self.maxima: tuple[list[Float32s], list[Float32s]] = ([], [])

    def __call__(self, features: dict[str, Any]) -> dict[str, Any]:
        hidden, lengths = real_tokens(features)
        for (weight, bias), kept in zip(self.heads, self.maxima, strict=True):
            kept += [((text @ weight.T).amax(dim=0) + bias).cpu().numpy() for text in torch.split(hidden, lengths)]
        features["sentence_embedding"] = hidden.new_zeros(len(lengths), 1)
        return features


def _maxima(
    encoder: Any, known: Sequence[Any], texts: Sequence[str], show: bool | None
) -> list[tuple[Float32s, Float32s]]:
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
