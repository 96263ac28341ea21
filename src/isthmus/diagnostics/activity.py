"""Checks of the sparse vectors of the texts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from isthmus.diagnostics.finding import Finding, some
from isthmus.evaluation.metrics import activation_rates, active_dims
from isthmus.vocabulary import Kind, Vocabulary

FEW_DIMS = 5.0
MANY_DIMS = 0.05
ALWAYS_ON = 0.5
# With fewer texts, a word that half of them share is nothing unusual.
ALWAYS_ON_TEXTS = 10
# Of the tokens that the texts hold, an encoder leaves out function words and pieces, but not most.
DEAD = 0.5
REGULARISE = "train it with a FLOPS regulariser (SpladeLoss); a masked language model alone is no sparse encoder"
SILENCE = "silence them: set their decoder bias to -10000 and save the encoder again"


def check_vectors(
    vectors: csr_matrix,
    *,
    vocabulary: Vocabulary | None,
    token_ids: Sequence[Sequence[int]],
    silenced: Collection[int] = (),
    columns: int | None = None,
) -> list[Finding]:
    """Check document vectors.

    Args:
        vectors: Shape (texts, columns), at least one text.
        vocabulary: What the columns stand for; None where they are no tokens, which leaves only their number to check.
        token_ids: Ids of the tokens of each text, without special ones.
        silenced: Columns that are kept from being active on purpose.
        columns: Of the vectors, those that the encoder computes; None where all are. A lexical block behind them is as
            active as its tokens are frequent.
    """
    findings = [_dims(vectors), _empty(vectors)]
    if vocabulary is None:
        return findings
    rates = activation_rates(vectors)[:columns]
    special = {token.id for token in vocabulary.tokens if token.kind is Kind.SPECIAL}
    return [
        *findings,
        _dead(rates, vectors.shape[0], vocabulary, token_ids, silenced),
        _always_on(rates, vectors.shape[0], vocabulary, special),
        _leaking(rates, vocabulary, special),
    ]


def _dims(vectors: csr_matrix) -> Finding:
    dims, columns = active_dims(vectors), vectors.shape[1]
    message = f"{dims:.1f} active dimensions per text, {dims / columns:.2%} of {columns}"
    if dims < FEW_DIMS:
        remedy = "weaken the regulariser, raise the decoder bias, or look at the warnings about the tokenizer"
        return Finding("active-dims", "warning", f"{message}: too few to tell texts apart", remedy, dims)
    if dims > MANY_DIMS * columns:
        remedy = f"{REGULARISE}; max_active_dims bounds the vectors meanwhile"
        return Finding("active-dims", "warning", f"{message}: an index will be large and slow", remedy, dims)
    return Finding("active-dims", "ok", message, value=dims)


def _empty(vectors: csr_matrix) -> Finding:
    used = np.bincount(vectors.nonzero()[0], minlength=vectors.shape[0])
    empty = np.flatnonzero(used == 0)
    if len(empty):
        lines = some(str(row + 1) for row in empty)
        return Finding(
            "empty-vectors",
            "error",
            f"{len(empty)} of {vectors.shape[0]} vectors are all zero (texts {lines} as used): no query finds them",
            "look at these texts, at unknown tokens and at the decoder bias; a collapsed training needs a weaker or "
            "slower regulariser",
            len(empty),
        )
    return Finding("empty-vectors", "ok", "no vector is all zero", value=0)


def _dead(
    rates: NDArray[np.float64],
    texts: int,
    vocabulary: Vocabulary,
    token_ids: Sequence[Sequence[int]],
    silenced: Collection[int],
) -> Finding:
    open_columns = [token.id for token in vocabulary.tokens if token.id not in silenced]
    never = sum(rates[id] == 0 for id in open_columns) / max(1, len(open_columns))
    counts = Counter(id for ids in token_ids for id in ids if id not in silenced)
    own = [id for id, _ in counts.most_common()]
    dead = [id for id in own if rates[id] == 0]
    share = len(dead) / max(1, len(own))
    message = (
        f"{never:.1%} of the columns are never active in {texts} texts; "
        f"of those whose token is in the texts, {share:.1%}"
    )
    if share > DEAD:
        remedy = (
            "train the encoder on this language; right after a transfer, see the findings token-map and shared-rows"
        )
        return Finding("dead-columns", "warning", f"{message} ({_named(vocabulary, dead)})", remedy, share)
    return Finding("dead-columns", "ok", message, value=share)


def _always_on(rates: NDArray[np.float64], texts: int, vocabulary: Vocabulary, special: Collection[int]) -> Finding:
    if texts < ALWAYS_ON_TEXTS:
        return Finding(
            "always-on",
            "note",
            f"not looked for in {texts} texts",
            f"pass at least {ALWAYS_ON_TEXTS} different texts",
        )
    order = np.argsort(-rates, kind="stable")
    found = [int(id) for id in order if rates[id] > ALWAYS_ON and id not in special]
    if found:
        return Finding(
            "always-on",
            "warning",
            f"{len(found)} columns are active in more than {ALWAYS_ON:.0%} of the texts: {_named(vocabulary, found)}; "
            "they cost time and tell nothing",
            f"train on with a stronger FLOPS regulariser; or, if they mean nothing here, {SILENCE}",
            len(found),
        )
    return Finding("always-on", "ok", f"no column is active in more than {ALWAYS_ON:.0%} of the texts", value=0)


def _leaking(rates: NDArray[np.float64], vocabulary: Vocabulary, special: Collection[int]) -> Finding:
    found = sorted((id for id in special if rates[id] > 0), key=lambda id: -rates[id])
    if found:
        most = float(rates[found[0]])
        return Finding(
            "special-columns",
            "warning",
            f"special tokens are active in the vectors: {_named(vocabulary, found)}, in up to {most:.1%} of the texts",
            SILENCE,
            most,
        )
    return Finding("special-columns", "ok", "no special token is active", value=0.0)


def _named(vocabulary: Vocabulary, ids: Sequence[int]) -> str:
    return some(token.raw if (token := vocabulary.get(id)) is not None else f"id {id}" for id in ids)
