"""All checks of an encoder, in order."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.sparse import issparse

from isthmus.diagnostics.activity import check_vectors
from isthmus.diagnostics.finding import Finding
from isthmus.diagnostics.inspected import InspectedParts, look_into
from isthmus.diagnostics.known_item import check_known_item, read_part
from isthmus.diagnostics.mapped import check_token_map
from isthmus.diagnostics.segmentation import check_reading
from isthmus.diagnostics.surroundings import check_settings
from isthmus.diagnostics.tensors import check_weights
from isthmus.encoders.fingerprint import lexical_block
from isthmus.errors import InputError
from isthmus.evaluation.bm25 import BM25
from isthmus.evaluation.models import encode
from isthmus.token_map import TokenMap

MAX_TEXTS = 500
# After an error in one of these, encoding would fail or show nothing else.
NEEDED = frozenset(("weights", "head", "pooling", "length", "vocabulary", "special-tokens"))


def diagnose(
    encoder: Any,
    texts: Sequence[str] | None = None,
    token_map: TokenMap | None = None,
    *,
    folder: str | Path | None = None,
    max_texts: int = MAX_TEXTS,
    batch_size: int = 32,
    seed: int = 0,
    show_progress_bar: bool | None = None,
) -> list[Finding]:
    """Look for what is wrong with an encoder.

    Args:
        encoder: A ``SparseEncoder`` or ``SentenceTransformer``; not modified.
        texts: Texts of the language it is meant for, best passages of at least twelve words; None checks the model
            alone. Empty and repeated ones are left out.
        token_map: The map that the encoder was transferred by, or None.
        folder: Where the encoder was loaded from: tells which tensors the checkpoint really holds. None does without.
        max_texts: Use a sample of this many texts.
        batch_size: Texts per encoding step.
        seed: Seed of the sample and of the snippets.
        show_progress_bar: None shows it on a terminal.

    Returns:
        One finding per check, in a fixed order; checks that do not apply to this kind of encoder are left out.

    Raises:
        EncoderError: If ``encoder`` is of another kind.
        InputError: If ``texts`` is a single string, holds something else than strings or no text, or ``max_texts`` or
            ``batch_size`` is not positive.
    """
    if max_texts < 1 or batch_size < 1:
        raise InputError(f"max_texts and batch_size must be 1 or more, got {max_texts} and {batch_size}")
    parts = look_into(encoder)
    chosen = None if texts is None else sample(texts, max_texts, seed)
    findings = check_weights(parts, None if folder is None else Path(folder)) + check_settings(parts)
    ids = BM25(parts.tokenizer).token_ids(chosen) if chosen is not None and parts.vocabulary is not None else None
    if token_map is not None and parts.vocabulary is not None:
        findings += check_token_map(token_map, parts.vocabulary, ids)
    if chosen is None:
        remedy = "pass texts of the language it is meant for, one a line (--texts)"
        return [*findings, Finding("texts", "note", "no texts given: vectors and retrieval are not checked", remedy)]
    if parts.vocabulary is not None:
        findings += check_reading(parts, chosen)
    broken = sorted({finding.check for finding in findings if finding.level == "error"} & NEEDED)
    if broken:
        message = f"texts are not encoded because of the errors of {', '.join(broken)}"
        return [*findings, Finding("texts", "note", message, "mend these first, then ask again")]
    return findings + _with_vectors(parts, chosen, ids, seed, batch_size, show_progress_bar)


def sample(texts: Sequence[str], count: int, seed: int = 0) -> list[str]:
    """Draw at most ``count`` different texts, in the order they stand in.

    Raises:
        InputError: If ``texts`` is a single string, holds something else than strings, or no text.
    """
    if isinstance(texts, str):
        raise InputError(f"texts must be a list of strings, got one string {texts[:40]!r}; put it in a list")
    for text in texts:
        if not isinstance(text, str):
            raise InputError(f"texts must be strings, got {type(text).__name__}")
    distinct = list(dict.fromkeys(text.strip() for text in texts if text.strip()))
    if not distinct:
        raise InputError("texts must hold at least one text that is not empty, got none; leave them out to do without")
    if len(distinct) <= count:
        return distinct
    rows = np.random.default_rng(seed).choice(len(distinct), size=count, replace=False)
    return [distinct[row] for row in np.sort(rows)]


def _with_vectors(
    parts: InspectedParts,
    texts: list[str],
    ids: list[list[int]] | None,
    seed: int,
    batch_size: int,
    show_progress_bar: bool | None,
) -> list[Finding]:
    options: dict[str, Any] = {"batch_size": batch_size, "show_progress_bar": show_progress_bar}
    limit = parts.transformers[0].max_seq_length if parts.transformers else None
    if parts.vocabulary is not None:
        # Two texts may agree in all that is read of them.
        texts = list(dict.fromkeys(read_part(parts.tokenizer, texts, limit)))
        ids = BM25(parts.tokenizer).token_ids(texts)
    vectors = encode(parts.encoder, texts, role="document", **options)
    values = vectors.data if issparse(vectors) else vectors
    if not np.isfinite(values).all():
        message, remedy = "vectors hold NaN or infinity although all weights are finite", "encode in float32"
        return [Finding("vectors", "error", message, remedy)]
    findings: list[Finding] = []
    if parts.sparse:
        findings = check_vectors(
            vectors,
            vocabulary=parts.vocabulary if parts.lexical else None,
            token_ids=ids or [],
            silenced=parts.silenced(),
            columns=lexical_block(parts.encoder),
        )
    tokenizer = parts.tokenizer if parts.vocabulary is not None else None
    return [*findings, check_known_item(parts.encoder, tokenizer, texts, documents=vectors, seed=seed, **options)]
