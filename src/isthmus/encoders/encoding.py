"""Texts to sparse vectors, by the encoder's own code or by a faster equal path."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, vstack
from sentence_transformers.util import batch_to_device, select_max_active_dims
from torch import Tensor

from isthmus._progress import progress, wanted
from isthmus.encoders.prompts import Role, prompt_for, warn_without_prompts
from isthmus.encoders.truncation import watched
from isthmus.errors import EncoderError, InputError
from isthmus.modules.fuse import fused_view
from isthmus.modules.max_head import ActiveEntries
from isthmus.options import EncodeOptions


def encode_texts(
    encoder: Any, texts: Sequence[str], options: EncodeOptions | None = None, *, role: Role, **changes: Any
) -> csr_matrix:
    """Encode texts with a SparseEncoder.

    Encoders that are a masked language model with SPLADE max pooling take a faster path, :mod:`isthmus.modules.fuse`:
    the same vectors up to rounding, straight to sparse rows. Half-precision weights are computed with as float32,
    because half precision is slow on processors.

    Args:
        encoder: A ``sentence_transformers.SparseEncoder``; its prompts, unless ``options`` has others, and its routes
            for ``role`` are honoured and it is not modified.
        texts: What to encode; sorted by length inside, so batches hold little padding.
        options: How; None takes the defaults.
        role: Whether the texts are queries or documents.
        **changes: Fields of ``options`` to replace.

    Returns:
        float32 matrix of shape (texts, vocabulary), rows in the order of ``texts``, columns ascending.

    Raises:
        InputError: If an argument is out of its range.
        EncoderError: If the tokenizer has tokens that the encoder has no row for, or its modules do not fit.
    """
    options = EncodeOptions.of(options, **changes)
    _check(texts, role)
    warn_without_prompts(encoder, role, options)
    encoder = full_precision(encoder)
    if options.max_active_dims is None:
        options = EncodeOptions.of(options, max_active_dims=encoder.max_active_dims)
    was_training = encoder.training
    encoder.eval()
    bfloat16 = options.dtype == "bfloat16"
    autocast = torch.autocast(torch.device(encoder.device).type, torch.bfloat16, enabled=bfloat16)
    try:
        with torch.inference_mode(), autocast, watched(encoder, role):
            view = None if options.stock_head else fused_view(encoder)
            if view is None:
                return _encode_stock(encoder, texts, role, options)
            return _encode_fused(view, texts, role, options)
    except IndexError as error:
        raise rowless(error) from error
    except (AttributeError, KeyError, TypeError, OverflowError) as error:
        reason = " ".join(str(error).split())
        raise EncoderError(
            f"encoder must have modules that fit each other ({reason}); run isthmus doctor on it"
        ) from error
    finally:
        encoder.train(was_training)


def _encode_fused(view: Any, texts: Sequence[str], role: Role, options: EncodeOptions) -> csr_matrix:
    prompt = prompt_for(view, role, options) or None
    order = np.argsort([-len(text) for text in texts], kind="stable")
    batches = [order[start : start + options.batch_size] for start in range(0, len(order), options.batch_size)]
    parts = [csr_matrix((0, view.get_embedding_dimension() or 0), dtype=np.float32)]
    shown = options.show_progress_bar
    for batch in progress(batches, desc=f"Encoding ({role})", total=len(batches), show=shown):
        features = view.preprocess([texts[i] for i in batch], prompt=prompt, task=role)
        if "input_ids" in features and not features["input_ids"].numel():
            parts.append(csr_matrix((len(batch), parts[0].shape[1]), dtype=np.float32))
            continue
        vectors = view.forward(batch_to_device(features, view.device), task=role)["sentence_embedding"]
        if isinstance(vectors, ActiveEntries):
            parts.append(_gather(vectors, (len(batch), parts[0].shape[1]), options.max_active_dims))
        else:
            parts.append(_to_csr(_limited(vectors, options.max_active_dims)))
    return vstack(parts, format="csr")[np.argsort(order)]


def _gather(active: ActiveEntries, shape: tuple[int, int], max_active_dims: int | None) -> csr_matrix:
    texts, entries, values = (part.cpu().numpy() for part in active[:3])
    if max_active_dims is not None:
        # By text, then by falling value; the lowest id goes first among equals.
        order = np.lexsort((-values, texts))
        rank = np.arange(len(texts)) - np.searchsorted(texts, texts)
        kept = np.sort(order[rank < max_active_dims])
        texts, entries, values = texts[kept], entries[kept], values[kept]
    starts = np.searchsorted(texts, np.arange(shape[0] + 1))
    return csr_matrix((values, entries.astype(np.int32), starts), shape=shape)


def _limited(vectors: Tensor, max_active_dims: int | None) -> Tensor:
    dense = vectors.to_dense()
    return dense if max_active_dims is None else select_max_active_dims(dense, max_active_dims)


def _encode_stock(encoder: Any, texts: Sequence[str], role: Role, options: EncodeOptions) -> csr_matrix:
    if not texts:
        return csr_matrix((0, encoder.get_embedding_dimension() or 0), dtype=np.float32)
    encode = encoder.encode_query if role == "query" else encoder.encode_document
    vectors = encode(
        list(texts),
        prompt=prompt_for(encoder, role, options),
        batch_size=options.batch_size,
        convert_to_tensor=True,
        convert_to_sparse_tensor=True,
        save_to_cpu=True,
        max_active_dims=options.max_active_dims,
        show_progress_bar=wanted(options.show_progress_bar),
    ).coalesce()
    rows, columns = vectors.indices().numpy()
    matrix = csr_matrix((vectors.values().float().numpy(), (rows, columns)), shape=tuple(vectors.shape))
    matrix.sort_indices()
    return matrix


def _to_csr(values: Tensor) -> csr_matrix:
    rows, columns = values.nonzero(as_tuple=True)
    counts = torch.bincount(rows, minlength=values.shape[0]).cpu().numpy()
    indptr: NDArray[np.int64] = np.concatenate([[0], np.cumsum(counts)])
    data = values[rows, columns].float().cpu().numpy()
    return csr_matrix((data, columns.to(torch.int32).cpu().numpy(), indptr), shape=tuple(values.shape))


def rowless(error: IndexError) -> EncoderError:
    """What it means that an embedding table is too short."""
    return EncoderError(
        f"encoder must have an embedding row for every token of its tokenizer, got {error}; isthmus doctor names the "
        "tokens without one"
    )


def full_precision(encoder: Any) -> Any:
    """The encoder itself, or a float32 copy where it holds half-precision weights."""
    half = (torch.float16, torch.bfloat16)
    if any(parameter.dtype in half for parameter in encoder.parameters()):
        return copy.deepcopy(encoder).float()
    return encoder


def in_memory(encoder: Any) -> Any:
    """The encoder itself, with weights that no file stands behind: one that is mapped and cut off kills the process."""
    for tensor in (*encoder.parameters(), *encoder.buffers()):
        if tensor.device.type == "cpu":
            tensor.data = tensor.data.clone()
    return encoder


def _check(texts: Sequence[str], role: str) -> None:
    if isinstance(texts, str):
        raise InputError(f"texts must be a list of strings, got one string {texts[:40]!r}; put it in a list")
    for text in texts:
        if not isinstance(text, str):
            raise InputError(f"texts must be strings, got {type(text).__name__}")
    if role not in get_args(Role):
        raise InputError(f"role must be 'query' or 'document', got {role!r}")
