"""Known-item retrieval: does a piece of a text find that text again?

Needs no judgements, so it answers for any language whether an encoder reads it at all. BM25 over the same tokenizer is
the yardstick: it finds nearly every snippet, since all of its words are in the text.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.sparse import issparse

from isthmus.diagnostics.finding import Finding
from isthmus.diagnostics.segmentation import is_spaceless
from isthmus.evaluation.bm25 import BM25
from isthmus.evaluation.models import encode
from isthmus.index import search, search_dense

MIN_WORDS = 12
SNIPPET_WORDS = (5, 8)
# Of languages without spaces, a word is about two characters.
MIN_CHARACTERS = 24
SNIPPET_CHARACTERS = (10, 16)
MIN_TEXTS = 10
TOP_K = 10
OF_BM25 = 0.5
FLOOR = 0.1
REMEDY = (
    "this language is not ready: transfer the encoder to its tokenizer (isthmus transfer), or train it on pairs of this"
    " language; till then BM25 is the better search"
)


def draw_snippets(texts: Sequence[str], seed: int = 0) -> tuple[list[int], list[str]]:
    """Draw a run of consecutive words, or characters where no spaces are written, from every text that is long enough.

    Args:
        texts: The texts.
        seed: Seed of the places and lengths.

    Returns:
        Rows of the texts that a snippet comes from, and the snippets.
    """
    generator = np.random.default_rng(seed)
    spaceless = is_spaceless(texts)
    least, (shortest, longest) = (MIN_CHARACTERS, SNIPPET_CHARACTERS) if spaceless else (MIN_WORDS, SNIPPET_WORDS)
    rows, snippets = [], []
    for row, text in enumerate(texts):
        units = list(text) if spaceless else text.split()
        if len(units) < least:
            continue
        length = int(generator.integers(shortest, longest + 1))
        start = int(generator.integers(0, len(units) - length + 1))
        rows.append(row)
        snippets.append(("" if spaceless else " ").join(units[start : start + length]))
    return rows, snippets


def read_part(tokenizer: Any, texts: Sequence[str], limit: int | None) -> list[str]:
    """The part of each text that an encoder reads: a snippet of the rest would measure truncation, not the language."""
    if limit is None or not getattr(tokenizer, "is_fast", False):
        return list(texts)
    room = max(1, limit - tokenizer.num_special_tokens_to_add(pair=False))
    encoded = tokenizer(
        list(texts), add_special_tokens=False, truncation=False, return_offsets_mapping=True, verbose=False
    )
    return [
        text if len(offsets) <= room else text[: offsets[room - 1][1]]
        for text, offsets in zip(texts, encoded["offset_mapping"], strict=True)
    ]


def check_known_item(
    encoder: Any,
    tokenizer: Any,
    texts: Sequence[str],
    *,
    documents: Any = None,
    seed: int = 0,
    batch_size: int = 32,
    show_progress_bar: bool | None = None,
) -> Finding:
    """Search with a snippet of every text among all texts.

    Args:
        encoder: A SparseEncoder or SentenceTransformer.
        tokenizer: Its tokenizer, which BM25 shares; None goes without BM25.
        texts: Different texts, as the encoder reads them (see :func:`read_part`).
        documents: Their document vectors, one row each; None encodes them.
        seed: Seed of the snippets.
        batch_size: Texts per encoding step.
        show_progress_bar: None shows it on a terminal.

    Returns:
        A finding with success@1 as its value: an error below 0.1, a warning below half of BM25's, a note when fewer
        than ten texts are long enough.
    """
    rows, snippets = draw_snippets(texts, seed)
    if len(rows) < MIN_TEXTS:
        return Finding(
            "known-item",
            "note",
            f"not measured: {len(rows)} texts are long enough to search for by a piece of them",
            f"pass at least {MIN_TEXTS} texts of {MIN_WORDS} words, or {MIN_CHARACTERS} characters without spaces",
        )
    options: dict[str, Any] = {"batch_size": batch_size, "show_progress_bar": show_progress_bar}
    if documents is None:
        documents = encode(encoder, texts, role="document", **options)
    own = _ranks(encode(encoder, snippets, role="query", **options), documents, rows)
    success, mrr = own
    message = f"{len(rows)} snippets among {len(texts)} texts: success@1 {success:.2f}, MRR@10 {mrr:.2f}"
    bm25_success = 0.0
    if tokenizer is not None:
        bm25 = BM25(tokenizer)
        bm25_success, bm25_mrr = _ranks(bm25.encode_queries(snippets), bm25.encode_documents(texts), rows)
        message += f"; BM25 over the same tokenizer {bm25_success:.2f}, {bm25_mrr:.2f}"
    if success < FLOOR:
        return Finding("known-item", "error", f"{message}; snippets do not find their texts", REMEDY, success)
    if success < OF_BM25 * bm25_success:
        return Finding("known-item", "warning", f"{message}; less than half of BM25", REMEDY, success)
    return Finding("known-item", "ok", message, value=success)


def _ranks(queries: Any, documents: Any, rows: Sequence[int]) -> tuple[float, float]:
    """success@1 and MRR@10 of the text that each query was drawn from."""
    hits, _ = (search if issparse(queries) else search_dense)(queries, documents, TOP_K)
    found = hits == np.asarray(rows)[:, None]
    reciprocal = (found / np.arange(1, hits.shape[1] + 1)).sum(axis=1)
    return float(found[:, 0].mean()), float(reciprocal.mean())
