"""Checks of a token map on the tokens that occur in the texts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.sparse import csr_matrix, diags

from isthmus.diagnostics.finding import Finding, some
from isthmus.token_map import COPIES, Fate, TokenMap
from isthmus.vocabulary import Vocabulary

GUESSED = 0.1
SHARED = 0.3
# As the report of a transfer counts indistinguishable pairs.
COSINE = 0.99
BLOCK = 512
ANOTHER_BRIDGE = "transfer with a bridge that was trained on this language (--bridge), or train the encoder on it"


def check_token_map(
    token_map: TokenMap, vocabulary: Vocabulary, token_ids: Sequence[Sequence[int]] | None
) -> list[Finding]:
    """Check a token map, and where its rows came from for the tokens of the texts.

    Args:
        token_map: The map that the encoder was transferred by.
        vocabulary: What the encoder's tokenizer holds.
        token_ids: Ids of the tokens of each text, without special ones; None without texts.
    """
    strangers = [
        token.raw
        for token in vocabulary.tokens
        if token.id >= token_map.shape[0] or token_map.target_tokens[token.id] != token.raw
    ]
    if strangers:
        return [
            Finding(
                "token-map",
                "error",
                f"the token map is not that of this tokenizer: it does not have {some(strangers)} at these ids",
                "take the token map that was saved with the encoder, or transfer again",
                len(strangers),
            )
        ]
    ids = np.asarray([id for row in token_ids or () for id in row], dtype=np.int64)
    if not len(ids):
        return [Finding("token-map", "ok", f"belongs to this tokenizer; {token_map.shape[0]} tokens")]
    return [_fates(token_map, ids), _shared(token_map, sorted(set(ids.tolist())))]


def _fates(token_map: TokenMap, ids: np.ndarray[tuple[int, ...], np.dtype[np.int64]]) -> Finding:
    def share(*fates: Fate) -> float:
        return float(np.isin(ids, token_map.rows(*fates)).mean())

    guessed = share(Fate.BACKGROUND, Fate.SAMPLED)
    message = (
        f"of the texts' {len(ids)} tokens {share(*COPIES):.1%} are copied or kept, {share(Fate.BRIDGED):.1%} bridged, "
        f"{guessed:.1%} without a meaning of their own (background or sampled)"
    )
    if guessed > GUESSED:
        return Finding("token-map", "warning", message, ANOTHER_BRIDGE, guessed)
    return Finding("token-map", "ok", message, value=guessed)


def _shared(token_map: TokenMap, types: Sequence[int]) -> Finding:
    partners = _partners(token_map, types)
    share = len(partners) / len(types)
    # Of two that are each other's partner, one example is enough.
    pairs = [(a, b) for a, b in partners.items() if a < b or partners.get(b) != a]
    examples = some((" = ".join(token_map.target_tokens[id] for id in pair) for pair in pairs), 3)
    message = f"{share:.1%} of the texts' {len(types)} different tokens cannot be told from another one by their row"
    message += f" ({examples})" if pairs else ""
    if share > SHARED:
        remedy = "train the encoder on this language: training moves such rows apart; a better bridge shares fewer"
        return Finding("shared-rows", "warning", message, remedy, share)
    return Finding("shared-rows", "ok", message, value=share)


def _partners(token_map: TokenMap, types: Sequence[int]) -> dict[int, int]:
    """Token types whose row another type has too, up to a cosine above .99, each with the first such type.

    Background rows are all the same row; sampled ones are drawn one by one and share nothing, nor do those with a
    direction of their own.
    """
    background = [id for id in types if token_map.fate(id) is Fate.BACKGROUND]
    found = {id: background[id == background[0]] for id in background} if len(background) > 1 else {}
    parted, starts = token_map.parted, token_map.weights.indptr
    mixed = np.asarray([id for id in types if starts[id] < starts[id + 1] and not parted[id]])
    if not len(mixed):
        return found
    rows = csr_matrix(token_map.weights[mixed], dtype=np.float64)
    unit = csr_matrix(diags(1 / np.sqrt(np.asarray(rows.multiply(rows).sum(axis=1)).ravel())) @ rows)
    for start in range(0, len(mixed), BLOCK):
        close = (unit[start : start + BLOCK] @ unit.T).tocoo()
        paired = (close.data > COSINE) & (close.row + start != close.col)
        for row, column in zip(mixed[close.row[paired] + start], mixed[close.col[paired]], strict=True):
            id, other = int(row), int(column)
            found[id] = min(other, found.get(id, other))
    return found
