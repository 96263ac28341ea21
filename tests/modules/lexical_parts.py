"""Encoders with lexical parts of made-up numbers, and batches of ids."""

from __future__ import annotations

from typing import Any

import torch
from sentence_transformers import SparseEncoder

from isthmus.modules.column_scale import ColumnScale
from isthmus.modules.lexical import Lexical, LexicalMode

TEXTS = ["house", "water war . war", "the capital of the school of the house of war 1 2 ?", "houses", "zzz", "12", ""]


def lexical_for(encoder: SparseEncoder, mode: LexicalMode, **options: Any) -> Lexical:
    """A lexical part for an encoder: IDF rising by id, as strong as the encoder's own weights."""
    size = len(encoder.tokenizer)
    given: dict[str, Any] = {"strength": 0.5, "special_ids": encoder.tokenizer.all_special_ids}
    return Lexical(mode, torch.linspace(0.1, 6.0, size), 3.5, **{**given, **options})


def scale_for(encoder: SparseEncoder) -> ColumnScale:
    """Factors from 2 down to 0."""
    return ColumnScale(torch.linspace(2.0, 0.0, len(encoder.tokenizer)))


def parts_for(encoder: SparseEncoder, name: str) -> list[Any]:
    """``echo``, ``hybrid``, ``scale``, or two of them joined by ``+``."""
    return [scale_for(encoder) if part == "scale" else lexical_for(encoder, part) for part in name.split("+")]


def features_of(rows: list[list[int]], *, form: str = "right", **more: Any) -> dict[str, Any]:
    """A batch of ids, padded with 0 on a side, or flattened."""
    if form == "flat":
        ends = torch.tensor([0, *map(len, rows)]).cumsum(0).int()
        ids = torch.tensor([id for row in rows for id in row], dtype=torch.int64)
        return {"input_ids": ids[None], "cu_seq_lens_q": ends, **more}
    width = max((len(row) for row in rows), default=0)
    ids, mask = torch.zeros(len(rows), width, dtype=torch.int64), torch.zeros(len(rows), width, dtype=torch.int64)
    for number, row in enumerate(rows):
        place = slice(0, len(row)) if form == "right" else slice(width - len(row), width)
        ids[number, place], mask[number, place] = torch.tensor(row, dtype=torch.int64), 1
    return {"input_ids": ids, "attention_mask": mask, **more}
