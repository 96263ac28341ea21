"""The kinds of model that can be evaluated, and how each turns texts into vectors."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from isthmus._progress import wanted
from isthmus.encoders.load import load_encoder
from isthmus.encoders.prompts import Role, prompt_for, warn_without_prompts
from isthmus.encoders.truncation import watched
from isthmus.errors import EncoderError
from isthmus.evaluation.bm25 import BM25, MULTILINGUAL_TOKENIZER
from isthmus.options import EncodeOptions


def load_model(
    name: str, language: str | None = None, *, tokenizer: str | Path | None = None, trust_remote_code: bool = False
) -> Any:
    """Load a model by name.

    Args:
        name: ``"bm25"``, or the built-in name, path or hub id of a sparse or dense encoder.
        language: Language of the collection; chooses the tokenizer of BM25.
        tokenizer: Tokenizer of BM25; None takes the built-in one of ``language``, or the multilingual one.
        trust_remote_code: Run code that comes with the model.

    Raises:
        NotFoundError: If there is nothing under this name.
        EncoderError: If what is there is no model.
        InputError: If BM25 has no tokenizer for ``language``.
    """
    if name.lower() == "bm25":
        if tokenizer:
            return BM25(tokenizer, trust_remote_code=trust_remote_code)
        return BM25(MULTILINGUAL_TOKENIZER) if language is None else BM25.for_language(language)
    return load_encoder(name, trust_remote_code=trust_remote_code, argument="model", besides="'bm25', ")


def is_sparse(model: Any) -> bool:
    """Whether ``model`` gives sparse vectors.

    Raises:
        EncoderError: If it is no kind of model that can be evaluated.
    """
    if isinstance(model, BM25):
        return True
    from sentence_transformers import SentenceTransformer, SparseEncoder

    if not isinstance(model, (SparseEncoder, SentenceTransformer)):
        raise EncoderError(
            f"model must be a SparseEncoder, a SentenceTransformer or BM25, got {type(model).__name__}; "
            "load it with sentence-transformers"
        )
    return isinstance(model, SparseEncoder)


def encode(
    model: Any, texts: Sequence[str], options: EncodeOptions | None = None, *, role: Role, **changes: Any
) -> Any:
    """Vectors of ``texts``, one row each.

    Args:
        model: A SparseEncoder, SentenceTransformer or BM25; BM25 takes its statistics from ``texts`` when they are
            documents, so hand it the whole pool.
        texts: What to encode.
        options: How; None takes the defaults.
        role: Whether they are queries or documents.
        **changes: Fields of ``options`` to replace.

    Returns:
        A float32 CSR matrix, or for dense models a float32 array of unit vectors, so that dot products are cosines.

    Raises:
        EncoderError: If ``model`` is of another kind, or has no row for some token.
    """
    options = EncodeOptions.of(options, **changes)
    if isinstance(model, BM25):
        return model.encode_queries(texts) if role == "query" else model.encode_documents(texts)
    if is_sparse(model):
        from isthmus.encoders.encoding import encode_texts

        return encode_texts(model, texts, options, role=role)
    return _encode_dense(model, texts, role, options)


def settings_of(model: Any, options: EncodeOptions) -> dict[str, Any]:
    """What a result has to state about ``model`` and the options it was encoded with."""
    if isinstance(model, BM25):
        return model.settings()
    sparse = is_sparse(model)
    prompts = {role: prompt_for(model, role, options) or None for role in get_args(Role)}
    stated = {"dtype": options.dtype, "max_seq_length": model.max_seq_length, "prompts": prompts}
    if sparse:
        limit = model.max_active_dims if options.max_active_dims is None else options.max_active_dims
        stated |= {"stock_head": options.stock_head, "max_active_dims": limit}
    return stated


def _encode_dense(model: Any, texts: Sequence[str], role: Role, options: EncodeOptions) -> NDArray[np.float32]:
    import torch

    from isthmus.encoders.encoding import full_precision, rowless

    warn_without_prompts(model, role, options)
    model = full_precision(model)
    encode_role = model.encode_query if role == "query" else model.encode_document
    try:
        bfloat16 = torch.autocast(torch.device(model.device).type, torch.bfloat16, enabled=options.dtype == "bfloat16")
        with bfloat16, watched(model, role):
            vectors = encode_role(
                list(texts),
                prompt=prompt_for(model, role, options),
                batch_size=options.batch_size,
                normalize_embeddings=True,
                convert_to_numpy=True,
                show_progress_bar=wanted(options.show_progress_bar),
            )
    except IndexError as error:
        raise rowless(error) from error
    return np.asarray(vectors, dtype=np.float32)
