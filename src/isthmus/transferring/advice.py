"""What a transfer warns about: it works, but not as hoped."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from isthmus.bridge import BridgeVectors, Refinement
from isthmus.bridge.candidates import Ints, cosine_moments, heaviest_cosines, known_rows
from isthmus.token_map import Fate, TokenMap
from isthmus.vocabulary import Coverage, Vocabulary
from isthmus.vocabulary.script import letter_script

SCRIPT_TOKENS = 20
SCRIPT_OF_VOCABULARY = 0.05
SCRIPT_SHARE = 1 / 3
UNK_RATE = 0.01
POSITIONS = 1024
KEPT_SAMPLE = 500
# What any two tokens have in common, and how far their cosines lie apart.
FLAT_MEAN, FLAT_SPREAD = 0.5, 0.1
# Products beyond which indistinguishable pairs are not counted.
LIMIT = 2_000_000_000
_PAIRS = 65_536


def best_similarities(token_map: TokenMap, vectors: BridgeVectors) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Bridged target ids and the cosine of each with its heaviest source token, which is its most similar one."""
    rows = token_map.rows(Fate.BRIDGED)
    return rows, heaviest_cosines(token_map.weights[rows], vectors.target[rows], vectors.source)


def script_warnings(target: Vocabulary, token_map: TokenMap, vectors: BridgeVectors) -> list[str]:
    """Scripts that the bridge does not know.

    A script is named when more than a third of its tokens have no vector, share one with the token of another text, as
    unknown tokens do, or are hardly closer to the heaviest source token of their row than to the average one: by less
    than half of what is usual for bridged Latin tokens. Cosines are the bridge's own; the heaviest token was chosen by
    the corrected ones, for the most similar one by itself may be a hub. Scripts with fewer than 20 tokens or 5 % of the
    vocabulary are left out: most vocabularies hold a few characters of many scripts.
    """
    scripts = {token.id: _script(token.surface) for token in target.tokens if target.is_decodable(token.id)}
    blank = _blank_or_shared(target, vectors.target, [id for id, script in scripts.items() if script])
    rows, best = best_similarities(token_map, vectors)
    margins = best - vectors.target[rows] @ vectors.source.mean(axis=0, dtype=np.float64)
    latin = margins[[scripts.get(int(row)) == "Latin" for row in rows]]
    usual = 0.5
    if token_map.has(Fate.KEPT):
        # Within a language the most similar other word is closer than a translation.
        latin, usual = _margins_of_kept(token_map, vectors), 0.25
    weak = set()
    if len(latin) >= SCRIPT_TOKENS:
        weak = {int(row) for row in rows[margins < np.median(latin) * usual]}
    found = []
    least = max(SCRIPT_TOKENS, SCRIPT_OF_VOCABULARY * len(scripts))
    for script in sorted({script for script in scripts.values() if script}):
        ids = [id for id, other in scripts.items() if other == script]
        if len(ids) < least:
            continue
        for unknown, what in ((blank, "have no vector of their own"), (weak, "have no close source token")):
            count = sum(id in unknown for id in ids)
            if count > SCRIPT_SHARE * len(ids):
                found.append(
                    f"the bridge hardly knows the script {script}: {count} of its {len(ids)} tokens {what}; "
                    "choose a bridge that was trained on it"
                )
                break
    return found


def flat_warning(vectors: BridgeVectors, refinement: Refinement | None) -> str | None:
    """Warn when a bridge, as it comes, hardly tells tokens apart: nearly all cosines are the same."""
    if refinement is None:
        mean, spread = cosine_moments(known_rows(vectors.target), known_rows(vectors.source))
    else:
        mean, spread = refinement.mean, refinement.spread
    taught = refinement is not None and len(refinement.texts or {}) == 2
    if mean < FLAT_MEAN or spread > FLAT_SPREAD or taught:
        return None
    what = f"the bridge's similarities are flat: {mean:.2f} on average, and nearly all within {2 * spread:.2f} of it; "
    if refinement is None:
        return what + "leave out as_released and no-refine, which keep them so"
    return (
        what
        + "they were centred, and texts of both languages (bridge_texts and bridge_source_texts, --bridge-texts and "
        "--bridge-source-texts) teach it better ones"
    )


def _margins_of_kept(token_map: TokenMap, vectors: BridgeVectors) -> NDArray[np.float64]:
    """What to compare with where Latin tokens are not bridged: kept ones and the most similar other source token."""
    kept = token_map.rows(Fate.KEPT)
    chosen = kept[np.linspace(0, len(kept) - 1, min(KEPT_SAMPLE, len(kept))).astype(np.int64)]
    chosen = chosen[vectors.source[chosen].any(axis=1)]
    cosines = vectors.source[chosen] @ vectors.source.T
    cosines[np.arange(len(chosen)), chosen] = -1.0
    # A token that shares its vector with another text says nothing about closeness.
    best = np.where(cosines < 1 - 1e-5, cosines, -1.0).max(axis=1)
    return np.asarray(best - vectors.source[chosen] @ vectors.source.mean(axis=0, dtype=np.float64), dtype=np.float64)


def bare_warning(encoder: Any) -> str | None:
    """Warn when an encoder was made of a bare checkpoint without an MLM head: perhaps a sparse one was meant."""
    from sentence_transformers import SparseEncoder

    # sentence-transformers notes here what modules.json says of every module: nothing where there is none.
    if isinstance(encoder, SparseEncoder) or encoder.module_kwargs != {}:
        return None
    name = type(encoder.transformers_model).__name__
    pooling = next((f" with {mode} pooling" for part in encoder if (mode := getattr(part, "pooling_mode", None))), "")
    return (
        f"the encoder is a bare {name} without modules.json and without an MLM head, and was taken as a dense encoder"
        f"{pooling}; isthmus index takes sparse ones alone: for one, start from a SPLADE encoder, or from a checkpoint "
        "that was saved with its MLM head"
    )


def unk_warning(coverage: Coverage) -> str | None:
    """Warn when the target tokenizer cannot read more than 1 % of the sample texts."""
    if coverage.unk_rate <= UNK_RATE:
        return None
    return (
        f"{coverage.unk_rate:.1%} of the sample texts' tokens are unknown to the target tokenizer: "
        "is it the tokenizer of this language?"
    )


def frame_warning(source: Any, target: Any) -> str | None:
    """Warn when the source puts special tokens around a text and the target does not, or the other way round."""
    counts = [tokenizer.num_special_tokens_to_add(pair=False) for tokenizer in (source, target)]
    if counts[0] == counts[1]:
        return None
    return f"the source tokenizer puts {counts[0]} special tokens around a text, the target tokenizer {counts[1]}"


def position_warning(source_pad: int, target_pad: int) -> str | None:
    """Warn when the position table grows by many rows that are never looked up."""
    if target_pad - source_pad < POSITIONS:
        return None
    return f"the pad id {target_pad} adds {target_pad - source_pad} unused rows to the position table"


def _script(text: str) -> str | None:
    """Script of the first letter, for people: Hangul, Latin, CJK."""
    name = letter_script(text)
    return name if name is None or name == "CJK" else name.title()


def _blank_or_shared(target: Vocabulary, vectors: NDArray[np.float32], ids: Sequence[int]) -> set[int]:
    chosen = np.asarray(ids, dtype=np.int64)
    if len(chosen) == 0:
        return set()
    # Equal vectors have equal projections; that unequal ones do, to six digits twice, does not happen.
    axes = np.random.default_rng(0).standard_normal((vectors.shape[1], 2))
    keys = np.round(vectors[chosen].astype(np.float64) @ axes, 6)
    _, groups = np.unique(keys, axis=0, return_inverse=True)
    texts: dict[int, set[str]] = {}
    for id, group in zip(ids, groups.ravel(), strict=True):
        token = target.get(id)
        text = unicodedata.normalize("NFKC", token.surface if token is not None else "").casefold().strip()
        texts.setdefault(int(group), set()).add(text)
    return {
        id for id, group in zip(ids, groups.ravel(), strict=True) if len(texts[int(group)]) > 1 or not vectors[id].any()
    }


@dataclass(frozen=True)
class ClosePairs:
    """Indistinguishable pairs of rows.

    Attributes:
        count: How many there are; None where so many rows are widely spread that counting would take minutes.
        examples: Some of them as (row, row, cosine), one for each group of equal rows or pair of groups.
    """

    count: int | None
    examples: tuple[tuple[int, int, float], ...]


def indistinguishable(
    weights: csr_matrix, *, threshold: float = 0.99, examples: int = 5, block: int = 2048
) -> ClosePairs:
    """Count the pairs of rows with a cosine above ``threshold``, exactly and without a dense matrix.

    Equal rows are counted as groups. Of the others, rows x and y can only be that close when y has nearly the share of
    x in the column where x is largest: their angle is at least the difference of their angles to that axis. This leaves
    few pairs, and only those get a whole dot product.

    Args:
        weights: Shape (rows, columns); empty rows belong to no pair.
        threshold: Cosine above which two rows are indistinguishable.
        examples: At most this many examples.
        block: Rows per step.
    """
    filled = np.flatnonzero(np.diff(weights.indptr))
    unit, firsts, sizes = _distinct(weights[filled])
    count = int((sizes * (sizes - 1) // 2).sum())
    shown = [(int(filled[rows[0]]), int(filled[rows[1]]), 1.0) for rows in _some(firsts, sizes > 1, examples)]
    largest, share = _largest(unit)
    # Below this the axis bound says nothing: such a row is spread over more than fifty source tokens.
    spread = np.flatnonzero(share**2 <= 1 - threshold**2 + 1e-9)
    if len(spread) * unit.nnz > LIMIT:
        return ClosePairs(None, tuple(shown))
    for left, right in _candidates(unit, largest, share, spread, threshold, block):
        for start in range(0, len(left), _PAIRS):
            i, j = left[start : start + _PAIRS], right[start : start + _PAIRS]
            cosines = np.asarray(unit[i].multiply(unit[j]).sum(axis=1)).ravel()
            close = cosines > threshold
            count += int((sizes[i[close]] * sizes[j[close]]).sum())
            for a, b, cosine in zip(i[close], j[close], cosines[close], strict=True):
                if len(shown) >= examples:
                    break
                shown.append((int(filled[firsts[a][0]]), int(filled[firsts[b][0]]), float(min(cosine, 1.0))))
    return ClosePairs(count, tuple(shown[:examples]))


def _distinct(weights: csr_matrix) -> tuple[csr_matrix, list[Ints], Ints]:
    """Unit rows without repetition, the rows of each, and their numbers."""
    rows = csr_matrix(weights, dtype=np.float64, copy=True)
    rows.sort_indices()
    norms = np.sqrt(np.asarray(rows.multiply(rows).sum(axis=1)).ravel())
    rows.data /= np.repeat(norms, np.diff(rows.indptr))
    places: dict[bytes, int] = {}
    groups = np.empty(rows.shape[0], dtype=np.int64)
    for row in range(rows.shape[0]):
        part = slice(rows.indptr[row], rows.indptr[row + 1])
        key = rows.indices[part].tobytes() + rows.data[part].tobytes()
        groups[row] = places.setdefault(key, len(places))
    order = np.argsort(groups, kind="stable")
    sizes = np.bincount(groups, minlength=len(places)).astype(np.int64)
    members = np.split(order, np.cumsum(sizes)[:-1]) if len(places) else []
    return rows[[int(rows_of[0]) for rows_of in members]], members, sizes


def _some(members: list[Ints], chosen: NDArray[np.bool_], count: int) -> list[Ints]:
    return [members[group] for group in np.flatnonzero(chosen)[:count]]


def _largest(unit: csr_matrix) -> tuple[Ints, NDArray[np.float64]]:
    """Column and value of the largest absolute entry of each row."""
    sizes = np.abs(unit)
    columns = np.asarray(sizes.argmax(axis=1)).ravel().astype(np.int64)
    return columns, np.asarray(sizes.max(axis=1).toarray()).ravel()


def _candidates(
    unit: csr_matrix, largest: Ints, share: NDArray[np.float64], spread: Ints, threshold: float, block: int
) -> Iterator[tuple[Ints, Ints]]:
    """Pairs (i, j) that may be close, each once: from the axis of i, and all pairs with a spread row."""
    entries = np.abs(unit).tocoo()
    own = np.arccos(np.clip(share, 0.0, 1.0))
    reach = np.arccos(threshold) + 1e-9
    # One sorted key for all axes: column, then angle to it; every row asks for an interval of its own column.
    keys = entries.col + np.arccos(np.clip(entries.data, 0.0, 1.0)) / 4
    order = np.argsort(keys, kind="stable")
    keys, members = keys[order], entries.row[order].astype(np.int64)
    is_spread = np.zeros(unit.shape[0], dtype=np.bool_)
    is_spread[spread] = True
    rows = np.flatnonzero(~is_spread)
    for start in range(0, len(rows), block):
        some = rows[start : start + block]
        first = np.searchsorted(keys, largest[some] + np.clip(own[some] - reach, 0, None) / 4 - 1e-9)
        last = np.searchsorted(keys, largest[some] + (own[some] + reach) / 4 + 1e-9)
        lengths = last - first
        left = np.repeat(some, lengths)
        right = members[np.arange(lengths.sum()) + np.repeat(first - (np.cumsum(lengths) - lengths), lengths)]
        ordinary = (left != right) & ~is_spread[right]
        left, right = left[ordinary], right[ordinary]
        # A pair may turn up from the axis of either row: keep it from the lower one then.
        back = np.abs(np.asarray(unit[left, largest[right]]).ravel()) if len(left) else np.empty(0)
        twice = (left > right) & (np.abs(np.arccos(np.clip(back, 0.0, 1.0)) - own[right]) <= reach)
        yield left[~twice], right[~twice]
    for row in spread:
        cosines = np.asarray((unit @ unit[row].T).todense()).ravel()
        close = np.flatnonzero((cosines > threshold) & (~is_spread | (np.arange(len(cosines)) > row)))
        yield np.full(len(close), row), close
