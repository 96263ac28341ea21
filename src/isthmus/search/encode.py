"""Texts to sparse vectors, by the encoder's own code or by a faster equal path."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Sequence
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, vstack
from sentence_transformers.util import select_max_active_dims
from torch import Tensor

from isthmus._progress import progress, wanted
from isthmus.errors import InputError
from isthmus.modules.max_head import segment_maximum

Role = Literal["query", "document"]
DType = Literal["float32", "bfloat16"]

# What each family does between its last hidden state and its decoder.
_TRANSFORMS: dict[str, Callable[[Any, Tensor], Tensor]] = {
    "BertForMaskedLM": lambda model, hidden: model.cls.predictions.transform(hidden),
    "DistilBertForMaskedLM": lambda model, hidden: model.vocab_layer_norm(
        model.activation(model.vocab_transform(hidden))
    ),
    "RobertaForMaskedLM": lambda model, hidden: _roberta_transform(model.lm_head, hidden),
    "XLMRobertaForMaskedLM": lambda model, hidden: _roberta_transform(model.lm_head, hidden),
    "ModernBertForMaskedLM": lambda model, hidden: model.head(hidden),
}
_PROMPT_NAMES = {"query": ("query",), "document": ("document", "passage", "corpus")}


def encode_texts(
    encoder: Any,
    texts: Sequence[str],
    *,
    role: Role,
    batch_size: int = 32,
    max_active_dims: int | None = None,
    dtype: DType = "float32",
    stock_head: bool = False,
    show_progress_bar: bool | None = None,
) -> csr_matrix:
    """Encode texts with a SparseEncoder.

    Encoders that are a masked language model with SPLADE max pooling take a faster path: the maximum over positions is
    taken before the activation and padding never reaches the vocabulary head. Both paths are equal up to rounding.

    Args:
        encoder: A ``sentence_transformers.SparseEncoder``; its prompts and routes for ``role`` are honoured and it is
            not modified.
        texts: What to encode; sorted by length inside, so batches hold little padding.
        role: Whether the texts are queries or documents.
        batch_size: Texts per step.
        max_active_dims: Keep this many of the largest entries; None takes the encoder's own setting.
        dtype: ``float32``, or ``bfloat16`` for autocast, which is faster where the processor knows it. Half-precision
            weights are computed with as float32, because half precision is slow on processors.
        stock_head: Always take the encoder's own path.
        show_progress_bar: None shows it on a terminal.

    Returns:
        float32 matrix of shape (texts, vocabulary), rows in the order of ``texts``, columns ascending.

    Raises:
        InputError: If an argument is out of its range.
    """
    _check(texts, role, batch_size, max_active_dims, dtype)
    encoder = _full_precision(encoder)
    if max_active_dims is None:
        max_active_dims = encoder.max_active_dims
    was_training = encoder.training
    encoder.eval()
    autocast = torch.autocast(torch.device(encoder.device).type, torch.bfloat16, enabled=dtype == "bfloat16")
    try:
        with torch.inference_mode(), autocast:
            if stock_head or not has_fast_head(encoder):
                return _encode_stock(encoder, texts, role, batch_size, max_active_dims, show_progress_bar)
            return _encode_fast(encoder, texts, role, batch_size, max_active_dims, dtype, show_progress_bar)
    finally:
        encoder.train(was_training)


def has_fast_head(encoder: Any) -> bool:
    """Whether the faster path knows this encoder: one of five families, SPLADE max pooling, nothing in between."""
    from sentence_transformers.base.modules import Transformer
    from sentence_transformers.sparse_encoder.modules import SpladePooling

    if len(encoder) != 2 or not isinstance(encoder[0], Transformer) or type(encoder[1]) is not SpladePooling:
        return False
    transformer, pooling = encoder[0], encoder[1]
    model = transformer.auto_model
    return (
        pooling.pooling_strategy == "max"
        and transformer.transformer_task == "fill-mask"
        and transformer.backend == "torch"
        and transformer.query_expansion is None
        and not transformer.can_flatten_inputs
        and type(model).__name__ in _TRANSFORMS
        # Remote code may reuse a class name for another head.
        and type(model).__module__.startswith("transformers.")
        and type(model.get_output_embeddings()) is torch.nn.Linear
    )


def _encode_fast(
    encoder: Any,
    texts: Sequence[str],
    role: Role,
    batch_size: int,
    max_active_dims: int | None,
    dtype: DType,
    show_progress_bar: bool | None,
) -> csr_matrix:
    model, pooling = encoder[0].auto_model, encoder[1]
    decoder = model.get_output_embeddings()
    weight = decoder.weight.to(getattr(torch, dtype))
    bias = torch.zeros_like(decoder.weight[:, 0]) if decoder.bias is None else decoder.bias
    name = next((name for name in _PROMPT_NAMES[role] if name in encoder.prompts), encoder.default_prompt_name)
    prompt = None if name is None else encoder.prompts[name]
    order = np.argsort([-len(text) for text in texts], kind="stable")
    batches = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
    parts = [csr_matrix((0, weight.shape[0]), dtype=np.float32)]
    for batch in progress(batches, desc=f"Encoding ({role})", total=len(batches), show=show_progress_bar):
        features = encoder.preprocess([texts[i] for i in batch], prompt=prompt, task=role)
        hidden, lengths = _hidden_states(model, features)
        filled = [row for row, length in enumerate(lengths) if length]
        values = torch.zeros(len(lengths), weight.shape[0], device=weight.device)
        if filled:
            logits, _ = segment_maximum(hidden.to(weight.dtype), weight, bias, [lengths[row] for row in filled])
            values[filled] = logits.relu_().log1p_()
        if pooling.activation_function == "log1p_relu":
            values.log1p_()
        if max_active_dims is not None:
            values = select_max_active_dims(values, max_active_dims)
        parts.append(_to_csr(values))
    return vstack(parts, format="csr")[np.argsort(order)]


def _hidden_states(model: Any, features: dict[str, Any]) -> tuple[Tensor, list[int]]:
    """Decoder inputs of the real tokens, end to end, and the number of tokens of each text."""
    # A tokenizer may return token types that its model does not know.
    known = inspect.signature(model.base_model.forward).parameters
    names = ("input_ids", "attention_mask", "token_type_ids")
    inputs = {name: features[name].to(model.device) for name in names if name in features and name in known}
    mask = inputs["attention_mask"].bool()
    lengths = mask.sum(dim=1).tolist()
    if not any(lengths):
        return torch.empty(0, 0), lengths
    hidden = model.base_model(**inputs).last_hidden_state[mask]
    return _TRANSFORMS[type(model).__name__](model, hidden), lengths


def _roberta_transform(head: Any, hidden: Tensor) -> Tensor:
    transformed: Tensor = head.layer_norm(torch.nn.functional.gelu(head.dense(hidden)))
    return transformed


def _encode_stock(
    encoder: Any,
    texts: Sequence[str],
    role: Role,
    batch_size: int,
    max_active_dims: int | None,
    show_progress_bar: bool | None,
) -> csr_matrix:
    if not texts:
        return csr_matrix((0, encoder.get_embedding_dimension() or 0), dtype=np.float32)
    encode = encoder.encode_query if role == "query" else encoder.encode_document
    vectors = encode(
        list(texts),
        batch_size=batch_size,
        convert_to_tensor=True,
        convert_to_sparse_tensor=True,
        save_to_cpu=True,
        max_active_dims=max_active_dims,
        show_progress_bar=wanted(show_progress_bar),
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


def _full_precision(encoder: Any) -> Any:
    """The encoder itself, or a float32 copy where it holds half-precision weights."""
    half = (torch.float16, torch.bfloat16)
    if any(parameter.dtype in half for parameter in encoder.parameters()):
        return copy.deepcopy(encoder).float()
    return encoder


def _check(texts: Sequence[str], role: str, batch_size: int, max_active_dims: int | None, dtype: str) -> None:
    if isinstance(texts, str):
        raise InputError(f"texts must be a list of strings, got one string {texts[:40]!r}; put it in a list")
    for text in texts:
        if not isinstance(text, str):
            raise InputError(f"texts must be strings, got {type(text).__name__}")
    if role not in get_args(Role):
        raise InputError(f"role must be 'query' or 'document', got {role!r}")
    if dtype not in get_args(DType):
        raise InputError(f"dtype must be 'float32' or 'bfloat16', got {dtype!r}")
    if batch_size < 1:
        raise InputError(f"batch_size must be 1 or more, got {batch_size}")
    if max_active_dims is not None and max_active_dims < 1:
        raise InputError(f"max_active_dims must be 1 or more, got {max_active_dims}; None keeps all")
