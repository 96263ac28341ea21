"""The rows of an audit: what is kept of each ranking, gaps to English, comparisons of models."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from isthmus.auditing.audit_result import Comparison, HardQuery, PoolResult, RankedPassage
from isthmus.auditing.measures import ENGLISH
from isthmus.auditing.mixed_metrics import language_share, mix_by_rank, split_of_first_hits
from isthmus.auditing.pools import Documents, Pool
from isthmus.auditing.ranking import Ranking
from isthmus.collections import ParallelCollection
from isthmus.evaluation.bootstrap import PairedBootstrap, bootstrap_interval, paired_bootstrap

HARDEST, HITS, SNIPPET = 10, 5, 240


def pool_result(
    name: str,
    collection: ParallelCollection,
    documents: Documents,
    pool: Pool,
    ranking: Ranking,
    values: dict[str, NDArray[np.float64]],
    resamples: int,
    seed: int,
) -> PoolResult:
    """The row of model ``name`` on ``pool``, without its gaps; ``values`` are its metrics by question."""
    mix, relevant = mix_by_rank(ranking, pool, documents)
    return PoolResult(
        model=name,
        pool=pool.info,
        per_query=values,
        intervals={
            metric: bootstrap_interval(found[~np.isnan(found)], resamples, seed) for metric, found in values.items()
        },
        gaps={},
        language_share=language_share(ranking, pool, documents),
        language_mix=mix,
        relevant_mix=relevant,
        split=split_of_first_hits(ranking, pool, documents),
        gold_ranks=tuple(tuple(ranks.tolist()) for ranks in ranking.gold_ranks),
        gold_languages=tuple(tuple(documents.languages[golds].tolist()) for golds in ranking.golds),
        tied_golds=ranking.tied,
        hardest=tuple(_hardest(collection.queries[pool.info.query_language], documents, ranking)),
    )


def _hardest(queries: Mapping[str, str], documents: Documents, ranking: Ranking) -> Iterator[HardQuery]:
    """Questions by falling Max@R; those that cannot be ranked better are no failures and are left out."""
    worst = np.array([ranks[-1] for ranks in ranking.gold_ranks])
    ids = list(queries)
    for query in np.argsort(-worst, kind="stable")[:HARDEST].tolist():
        golds, ranks = ranking.golds[query], ranking.gold_ranks[query]
        if worst[query] == len(golds):
            return
        top = [place for place in ranking.top[query, :HITS].tolist() if place >= 0]
        relevant = set(golds.tolist())
        yield HardQuery(
            id=ids[query],
            text=queries[ids[query]],
            first_rank=int(ranks[0]),
            worst_rank=int(ranks[-1]),
            hits=tuple(
                _hit(documents, rank, place, ranking.top_scores[query, rank - 1], place in relevant)
                for rank, place in enumerate(top, start=1)
            ),
            golds=tuple(
                _hit(documents, rank, place, score, True)
                for rank, place, score in zip(ranks, golds, ranking.gold_scores[query], strict=True)
            ),
        )


def _hit(documents: Documents, rank: int, place: int, score: float, relevant: bool) -> RankedPassage:
    text = " ".join(documents.texts[place].split())
    shown = text if len(text) <= SNIPPET else text[: SNIPPET - 1].rstrip() + "…"
    return RankedPassage(
        int(rank), documents.ids[place], str(documents.languages[place]), float(score), shown, relevant
    )


def with_gaps(
    result: PoolResult, others: Iterable[PoolResult], languages: Sequence[str], resamples: int, seed: int
) -> PoolResult:
    """Compare with what English questions get from the pool of :meth:`PoolInfo.key_in_english`."""
    key = result.pool.key_in_english(tuple(languages))
    english = next((other for other in others if other.pool.key == key), None)
    if result.pool.query_language == ENGLISH or english is None:
        return result
    tests = {
        metric: _paired(english.per_query.get(metric), values, resamples, seed)
        for metric, values in result.per_query.items()
    }
    return replace(result, gaps={metric: test for metric, test in tests.items() if test is not None})


def compare(results: Sequence[PoolResult], pools: int, resamples: int, seed: int) -> Iterator[Comparison]:
    """Every later model against the first; ``pools`` is the number of results of each."""
    for place, result in enumerate(results[pools:], start=pools):
        baseline = results[place % pools]
        for metric, values in result.per_query.items():
            test = _paired(values, baseline.per_query.get(metric), resamples, seed)
            if test is not None:
                yield Comparison(baseline.model, result.model, result.pool, metric, test)


def _paired(
    a: NDArray[np.float64] | None, b: NDArray[np.float64] | None, resamples: int, seed: int
) -> PairedBootstrap | None:
    """``a`` minus ``b`` over the questions that both are defined for; None where there are none."""
    if a is None or b is None:
        return None
    defined = ~(np.isnan(a) | np.isnan(b))
    return paired_bootstrap(a[defined], b[defined], resamples, seed) if defined.any() else None
