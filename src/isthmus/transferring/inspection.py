"""What a token of a transferred encoder is made of, and what a source token went into, read off its folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from isthmus.errors import InputError, NotFoundError
from isthmus.token_map import RECORD, TokenMap


def load_token_map(model: Path) -> TokenMap:
    """Read the token map beside a transferred encoder.

    Raises:
        NotFoundError: If the folder is not a transferred encoder.
    """
    found = TokenMap.find(model)
    if found is None:
        raise NotFoundError(f"{model} must be a folder that `isthmus transfer` wrote; it holds no {RECORD}")
    return found


def describe(token_map: TokenMap, model: Path, token: str, top_k: int) -> list[dict[str, Any]]:
    """One row per target token that ``token`` is or consists of, or one for a token of the source vocabulary alone.

    The reverse look-up stands in the first row.

    Raises:
        InputError: If neither vocabulary knows the token nor any part of it.
    """
    used_by = [list(pair) for pair in _used_by(token_map, token, top_k)]
    try:
        ids = [token_map.target_id(token)]
    except InputError:
        if used_by:
            return [{"token": token, "id": None, "fate": None, "written_as": None, "sources": [], "used_by": used_by}]
        ids = _pieces(token_map, model, token)
    if not ids:
        raise InputError(f"TOKEN must be in the source or target vocabulary, got {token!r}; try a part of it")
    rows: list[dict[str, Any]] = [
        {
            "token": token_map.target_tokens[row],
            "id": row,
            "fate": token_map.fate(row).value,
            "written_as": token_map.info.get("written_as", {}).get(token_map.target_tokens[row]),
            "sources": [list(pair) for pair in token_map.explain(row, top_k)],
            "used_by": [],
        }
        for row in ids
    ]
    rows[0]["used_by"] = used_by
    return rows


def _used_by(token_map: TokenMap, token: str, top_k: int) -> list[tuple[str, float]]:
    try:
        return token_map.used_by(token, top_k)
    except InputError:
        return []


def _pieces(token_map: TokenMap, model: Path, token: str) -> list[int]:
    """Target ids that a text consists of, unknown ones left out."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
    # Some are stored with a fixed length, up to which they pad.
    tokenizer.no_padding()
    tokenizer.no_truncation()
    ids = tokenizer.encode(token, add_special_tokens=False).ids
    return [i for i in dict.fromkeys(ids) if token_map.target_tokens[i] not in ("[UNK]", "<unk>")]
