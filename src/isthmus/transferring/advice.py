"""What a transfer warns about: it works, but not as hoped."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.bridge import BridgeVectors, Refinement
from isthmus.bridge.candidates import cosine_moments, known_rows
from isthmus.bridge.entmax import heaviest_cosines
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


def best_similarities(token_map: TokenMap, vectors: BridgeVectors) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Bridged target ids and the cosine of each with its heaviest source token, which is its most similar one."""
    rows = token_map.rows(Fate.BRIDGED)
    return rows, heaviest_cosines(token_map.weights[rows], vectors.target[rows], vectors.source)


def script_warnings(target: Vocabulary, token_map: TokenMap, vectors: BridgeVectors) -> list[str]:
    """Scripts that the bridge does not know.

    A script is named when more than a third of its tokens have no vector, share one with the token of another text, as
    unknown tokens do, or are hardly closer to their best source token than to the average one: by less than half of
    what is usual for bridged Latin tokens. Scripts with fewer than 20 tokens or 5 % of the vocabulary are left out:
    most vocabularies hold a few characters of many scripts.
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
