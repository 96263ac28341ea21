"""Metrics of pools in several languages, from the ranks of what is relevant.

Max@R, Max@R_norm and Complete@K are those of arXiv 2604.05684. The language preference rate, Lang-nDCG and the split of
first hits are in the manner of MLAIRE (arXiv 2605.07249), whose abstract names them; its formulas were not at hand, so
the definitions below are this project's own and need not agree with the paper's in every detail.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from isthmus.auditing.measures import DEPTH, ENGLISH, SPLIT
from isthmus.auditing.pools import Documents, Pool
from isthmus.auditing.ranking import Ranking

Values = NDArray[np.float64]


def max_rank_norm(max_rank: Values, documents: Values, golds: Values) -> Values:
    """Max@R_norm of each question: 100 * (log2 |D| - log2 Max@R) / (log2 |D| - log2 |R|), arXiv 2604.05684.

    Args:
        max_rank: Rank of the worst-ranked relevant document, shape (questions,).
        documents: Documents it was ranked against, |D|.
        golds: Relevant documents, |R|.

    Returns:
        100 where the relevant documents fill the first ranks, as they do where every document is relevant; 0 where one
        of them comes last.
    """
    room = np.log2(documents) - np.log2(golds)
    lost = np.log2(max_rank) - np.log2(golds)
    norm: Values = 100.0 * (1.0 - np.divide(lost, room, out=np.zeros_like(room), where=room > 0))
    return norm


def per_query(ranking: Ranking, pool: Pool, documents: Documents) -> dict[str, Values]:
    """The metrics of :data:`isthmus.auditing.measures.METRICS` for each question.

    - ``max@r``: rank of the worst-ranked relevant document; ``max@r_norm``: :func:`max_rank_norm`;
    - ``complete@10``: 100 where every relevant document is among the first 10, else 0;
    - ``ndcg@10``, ``recall@10``: by ir-measures, all relevant documents alike;
    - ``lang_ndcg@10``: nDCG@10 with gain 2 for relevant documents in the question's language and 1 for others;
    - ``english_first``: 1 where an irrelevant English document stands above every relevant one, else 0; absent where
      the pool does not hold English and another language;
    - ``language_preference``: 1 where the first relevant document is in the question's language, 0 where it is in
      another, NaN where the relevant ones are not in both; absent where all are NaN.
    """
    own = pool.info.query_language
    spoken = [documents.languages[golds] == own for golds in ranking.golds]
    worst = np.array([ranks[-1] for ranks in ranking.gold_ranks], dtype=np.float64)
    first = np.array([ranks[0] for ranks in ranking.gold_ranks], dtype=np.float64)
    counts = np.array([len(ranks) for ranks in ranking.gold_ranks], dtype=np.float64)
    found: dict[str, Values] = {
        "max@r": worst,
        "max@r_norm": max_rank_norm(worst, ranking.sizes.astype(np.float64), counts),
        "complete@10": np.where(worst <= DEPTH, 100.0, 0.0),
        **_standard(ranking.gold_ranks, spoken),
    }
    if ENGLISH in pool.info.languages and len(pool.info.languages) > 1:
        above = (ranking.english_rank > 0) & (ranking.english_rank < first)
        found["english_first"] = above.astype(np.float64)
    preference = np.array([float(mine[0]) if mine.any() and not mine.all() else np.nan for mine in spoken])
    if not np.isnan(preference).all():
        found["language_preference"] = preference
    return found


def _standard(gold_ranks: Sequence[NDArray[np.int64]], own: Sequence[NDArray[np.bool_]]) -> dict[str, Values]:
    """Metrics of ir-measures. Documents are called by their ranks, so that nothing is left for it to break ties by."""
    import ir_measures

    ndcg, recall = ir_measures.nDCG @ DEPTH, ir_measures.R @ DEPTH
    shown = {str(rank): float(-rank) for rank in range(1, DEPTH + 1)}
    run = {str(query): shown for query in range(len(gold_ranks))}
    judged = {
        str(query): {str(rank): (1, 2)[bool(mine)] for rank, mine in zip(ranks.tolist(), own[query], strict=True)}
        for query, ranks in enumerate(gold_ranks)
    }
    plain = {query: dict.fromkeys(grades, 1) for query, grades in judged.items()}
    found = {name: np.zeros(len(gold_ranks)) for name in ("ndcg@10", "recall@10", "lang_ndcg@10")}
    for metric in ir_measures.iter_calc([ndcg, recall], plain, run):
        found["ndcg@10" if metric.measure == ndcg else "recall@10"][int(metric.query_id)] = metric.value
    for metric in ir_measures.iter_calc([ndcg], judged, run):
        found["lang_ndcg@10"][int(metric.query_id)] = metric.value
    return found


def split_of_first_hits(ranking: Ranking, pool: Pool, documents: Documents) -> dict[str, float]:
    """Share of questions by what comes first, in the manner of MLAIRE's four-way split.

    Relevant or not, in the question's language or not: ``right``, ``language_failure`` (relevant, another language),
    ``semantic_failure`` (irrelevant, own language) and ``both_failures``. Only questions with a relevant document in
    their own language count, so that ``language_failure`` always means that a better first hit was there.

    Returns:
        Shares that add up to 1; empty where no question counts.
    """
    own = pool.info.query_language
    kinds = []
    for golds, ranks, top in zip(ranking.golds, ranking.gold_ranks, ranking.top, strict=True):
        if (documents.languages[golds] == own).any():
            relevant = ranks[0] == 1
            first = golds[0] if relevant else top[0]
            # Where nothing was found there is no first hit, and so neither the content nor the language is right.
            mine = first >= 0 and documents.languages[first] == own
            kinds.append(SPLIT[2 * (not relevant) + (not mine)])
    return {kind: kinds.count(kind) / len(kinds) for kind in SPLIT} if kinds else {}


def language_share(ranking: Ranking, pool: Pool, documents: Documents, depth: int = DEPTH) -> dict[str, float]:
    """Share of each language of the pool among the first ``depth`` hits of all questions together.

    Returns:
        Shares that add up to 1, or are all 0 where nothing was found.
    """
    hits = ranking.top[:, :depth]
    spoken = documents.languages[hits[hits >= 0]]
    return {language: float((spoken == language).sum()) / max(1, len(spoken)) for language in pool.info.languages}


def mix_by_rank(ranking: Ranking, pool: Pool, documents: Documents) -> tuple[dict[str, Values], dict[str, Values]]:
    """What stands at rank 1, 2, ..., 20.

    Returns:
        By language, the share of the hits at each rank that are in it, and the share of the questions that have a
        relevant document in it there; each of shape (ranks,).
    """
    depth = ranking.top.shape[1]
    filled = np.maximum(1, (ranking.top >= 0).sum(axis=0))
    spoken = np.where(ranking.top >= 0, documents.languages[ranking.top], "")
    ranks = np.concatenate(ranking.gold_ranks)
    languages = documents.languages[np.concatenate(ranking.golds)]

    def relevant(language: str) -> Values:
        near = ranks[(languages == language) & (ranks <= depth)]
        return np.bincount(near - 1, minlength=depth) / len(ranking.golds)

    mixed = {language: (spoken == language).sum(axis=0) / filled for language in pool.info.languages}
    return mixed, {language: relevant(language) for language in pool.info.languages}
