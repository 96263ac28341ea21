"""What an audit found: one row per model, pool and query language, with what a table or a page needs of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.auditing.measures import ENGLISH, METRICS, SMALL
from isthmus.auditing.own_language import OwnLanguage, read_languages
from isthmus.evaluation.bootstrap import PairedBootstrap
from isthmus.reading.notes import Notes
from isthmus.reading.storage import atomic_write


@dataclass(frozen=True)
class PoolInfo:
    """What a pool holds; printed with every number that is measured on it.

    Attributes:
        name: ``mono-same``, ``mono-cross``, ``multi``, ``pairs``, ``partly-parallel`` or ``english-distractors``.
        query_language: Language of the questions that search it.
        languages: Languages of its documents, in the order they were asked for.
        documents: Documents that a question is ranked against, |D|; in ``english-distractors``, where every question
            has a pool of its own, the rounded mean.
        documents_by_language: Documents of each language in the pool as a whole.
        golds: Relevant documents per question, |R|, mean over the questions.
        golds_range: Smallest and largest |R| of a question.
        duplicates: Passages that were merged because their text is that of another of their language.
        distractors: Documents that are relevant to nothing because they come from another file.
        rule: What the pool is made of, one sentence.
        deduplication: The deduplication rule, one sentence.
        ties: The rule for equal scores, one sentence.
        keep_copies: Whether every question has copies of its own of the passages that answer it.
    """

    name: str
    query_language: str
    languages: tuple[str, ...]
    documents: int
    documents_by_language: Mapping[str, int]
    golds: float
    golds_range: tuple[int, int]
    duplicates: int
    distractors: int
    rule: str
    deduplication: str
    ties: str
    keep_copies: bool = False

    @property
    def key(self) -> tuple[str, str, tuple[str, ...]]:
        """(name, query language, languages): tells the pool from every other of an audit."""
        return self.name, self.query_language, self.languages

    def key_in_english(self, order: tuple[str, ...]) -> tuple[str, str, tuple[str, ...]]:
        """Key of the pool that English questions search instead; ``order`` is that of the audit's languages.

        Where a pool follows the question's language, the two languages change places in it: Korean questions on Korean
        passages are compared with English questions on English ones, Korean on English with English on Korean.
        """
        swapped = {self.query_language: ENGLISH, ENGLISH: self.query_language}
        searched = {swapped.get(language, language) for language in self.languages}
        return self.name, ENGLISH, tuple(language for language in order if language in searched)


@dataclass(frozen=True)
class RankedPassage:
    """A document in the ranking of a question.

    Attributes:
        rank: From 1; relevant documents stand behind irrelevant ones of the same score.
        id: Id of the passage, the same in every language.
        language: Language of the text.
        score: Cosine of dense models, dot product of sparse ones.
        text: Start of the text; plain, not escaped.
        relevant: Whether it answers the question.
    """

    rank: int
    id: str
    language: str
    score: float
    text: str
    relevant: bool


@dataclass(frozen=True)
class HardQuery:
    """One of the questions that a pool serves worst.

    Attributes:
        id: Id of the question, the same in every language.
        text: The question, in ``PoolInfo.query_language``.
        first_rank: Rank of its best-ranked relevant document.
        worst_rank: Rank of its worst-ranked one, its Max@R.
        hits: The first documents of its ranking.
        golds: Its relevant documents by rank, wherever they are.
    """

    id: str
    text: str
    first_rank: int
    worst_rank: int
    hits: tuple[RankedPassage, ...]
    golds: tuple[RankedPassage, ...]


@dataclass(frozen=True, eq=False)
class PoolResult:
    """One model on one pool.

    Attributes:
        model: Name of the model.
        pool: What was searched, in which language.
        per_query: By the keys of :data:`METRICS`, a float per question, shape (questions,), in the order of
            ``AuditResult.query_ids``; NaN where a metric says nothing about a question. Metrics that say nothing about
            the pool at all are absent: ``english_first`` where it does not hold English and another language,
            ``language_preference`` where no question has relevant documents in its own language and in another.
        intervals: 95 % bootstrap interval of the mean of each metric in ``per_query``.
        gaps: The same question in English and in this language: English minus this language, paired by question id, on
            this pool or, where the pool follows the question's language, on the one that English questions get. Empty
            for English and where English was not asked for.
        language_share: Share of the first 10 hits that each language of the pool has.
        language_mix: Share of each language at rank 1, 2, ..., 20, shape (ranks,); ranks end with the pool.
        relevant_mix: Share of the questions with a relevant document of each language at rank 1, 2, ..., 20.
        split: Share of questions by :data:`isthmus.auditing.measures.SPLIT`, adding up to 1; empty where no
            question has a relevant document in its own language.
        gold_ranks: Ranks of each question's relevant documents, ascending.
        gold_languages: Languages of those documents, in the same places.
        tied_golds: Relevant documents whose score an irrelevant one of another text has too.
        hardest: The questions with the largest Max@R, hardest first.
    """

    model: str
    pool: PoolInfo
    per_query: Mapping[str, NDArray[np.float64]]
    intervals: Mapping[str, tuple[float, float]]
    gaps: Mapping[str, PairedBootstrap]
    language_share: Mapping[str, float]
    language_mix: Mapping[str, NDArray[np.float64]]
    relevant_mix: Mapping[str, NDArray[np.float64]]
    split: Mapping[str, float]
    gold_ranks: tuple[tuple[int, ...], ...]
    gold_languages: tuple[tuple[str, ...], ...]
    tied_golds: int
    hardest: tuple[HardQuery, ...] = ()

    def __getitem__(self, metric: str) -> float | None:
        """Mean of a metric over the questions it is defined for; None where there are none."""
        values = self.per_query.get(metric)
        return None if values is None else float(np.nanmean(values))

    @property
    def max_rank_median(self) -> float:
        """Median of Max@R over the questions."""
        return float(np.median(self.per_query["max@r"]))

    def ranks_of(self, language: str) -> list[int]:
        """Ranks of all relevant documents of a language, over all questions, in their order."""
        return [
            rank
            for ranks, languages in zip(self.gold_ranks, self.gold_languages, strict=True)
            for rank, spoken in zip(ranks, languages, strict=True)
            if spoken == language
        ]

    def to_dict(self) -> dict[str, Any]:
        """One row of JSON values under stable keys; None where a metric says nothing about the pool."""
        row: dict[str, Any] = {
            "model": self.model,
            "pool": self.pool.name,
            "query_language": self.pool.query_language,
            "pool_languages": list(self.pool.languages),
            "keep_copies": self.pool.keep_copies,
            "documents": self.pool.documents,
            "golds": self.pool.golds,
            "queries": len(self.gold_ranks),
            "max@r": self["max@r"],
            "max@r_median": self.max_rank_median,
            **{name: self[name] for name in METRICS if name != "max@r"},
            "language_share": dict(self.language_share),
            "split": dict(self.split) or None,
            "tied_golds": self.tied_golds,
            "gap": {name: gap.to_dict() for name, gap in self.gaps.items()} or None,
        }
        row |= {f"{name}_ci": list(self.intervals[name]) if name in self.intervals else None for name in METRICS}
        return row


@dataclass(frozen=True)
class Comparison:
    """Two models on one pool, by one metric, paired by question.

    Attributes:
        baseline: The first model of the audit.
        model: Another one.
        pool: What was searched.
        metric: A key of :data:`METRICS`.
        test: ``model`` minus ``baseline``, with its 95 % interval and p value (not corrected for several tests).
    """

    baseline: str
    model: str
    pool: PoolInfo
    metric: str
    test: PairedBootstrap


@dataclass(frozen=True, eq=False)
class AuditResult:
    """Outcome of an audit.

    Attributes:
        collection: Name of the parallel collection.
        languages: Languages asked for, in that order; every one of them asked every question.
        models: Names of the models, in the order they were given; the first is the baseline of ``comparisons``.
        pools: Every pool that was searched, in the order of tables.
        results: One per model and pool: all pools of the first model, then of the next.
        comparisons: Every later model against the first; empty for one model.
        query_ids: Ids of the questions, the same for every language and pool.
        settings: Everything else the numbers depend on, as JSON values: ``seed``, ``split``, ``max_queries``,
            ``dropped_queries``, ``dropped_passages``, ``reading`` (what was taken for granted, counted), ``alignment``
            (how passages were aligned), ``distractors`` (a number by language), ``partly_parallel_share``,
            ``keep_copies``, ``batch_size``, ``resamples``, ``versions`` (by package), and ``models`` (by name: its
            kind, dtype, length, prompts and so on).
        seconds: Wall time of each model, encoding and ranking, without loading.
        notes: What was taken for granted when the collection was read.
        own_languages: How each model searches each language alone, beside BM25; measured whatever pools were asked for.
    """

    collection: str
    languages: tuple[str, ...]
    models: tuple[str, ...]
    pools: tuple[PoolInfo, ...]
    results: tuple[PoolResult, ...]
    comparisons: tuple[Comparison, ...]
    query_ids: tuple[str, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)
    notes: Notes = field(default_factory=Notes)
    own_languages: tuple[OwnLanguage, ...] = ()

    @cached_property
    def own(self) -> dict[tuple[str, str], OwnLanguage]:
        """``own_languages`` by model and language."""
        return {(found.model, found.language): found for found in self.own_languages}

    @property
    def small(self) -> bool:
        """Whether there are fewer than :data:`SMALL` questions."""
        return len(self.query_ids) < SMALL

    def tells_preference(self, found: PoolResult) -> bool:
        """Whether a mixed pool tells what a model prefers: it reads the question's language and another one there."""
        read = read_languages(self.own, found.model, found.pool.languages)
        asked = read_languages(self.own, found.model, (found.pool.query_language,))
        return bool(asked) and len(read) > 1

    @cached_property
    def _by_key(self) -> dict[tuple[str, tuple[str, str, tuple[str, ...]]], PoolResult]:
        return {(result.model, result.pool.key): result for result in self.results}

    def of(self, model: str, pool: PoolInfo) -> PoolResult:
        """The result of one model on one pool.

        Raises:
            KeyError: If the audit has no such model or pool.
        """
        return self._by_key[model, pool.key]

    def in_english(self, result: PoolResult) -> PoolResult | None:
        """What the same model does for English questions on the pool that ``result`` is compared with, if any."""
        key = result.pool.key_in_english(self.languages)
        return None if key == result.pool.key else self._by_key.get((result.model, key))

    def to_rows(self) -> list[dict[str, Any]]:
        """Every result as one row of JSON values; later models have in ``vs_first`` their difference from the first."""
        reading = self.settings.get("reading", {})
        rows = {key: {**result.to_dict(), "reading": reading} for key, result in self._by_key.items()}
        for result, row in zip(self.results, rows.values(), strict=True):
            alone = self.own.get((result.model, result.pool.query_language))
            row["own_language"] = None if alone is None else alone.to_dict()
            row["truncated"] = self.settings.get("models", {}).get(result.model, {}).get("truncated", {})
        for found in self.comparisons:
            rows[found.model, found.pool.key].setdefault("vs_first", {})[found.metric] = found.test.to_dict()
        return list(rows.values())

    def to_json(self, indent: int | None = 2) -> str:
        """Pools with their rules, rows, comparisons and settings as JSON text."""
        content = {
            "collection": self.collection,
            "languages": list(self.languages),
            "queries": len(self.query_ids),
            "pools": [asdict(pool) for pool in self.pools],
            "rows": self.to_rows(),
            "comparisons": [
                {
                    "baseline": found.baseline,
                    "model": found.model,
                    "pool": found.pool.name,
                    "query_language": found.pool.query_language,
                    "pool_languages": list(found.pool.languages),
                    "metric": found.metric,
                    **found.test.to_dict(),
                }
                for found in self.comparisons
            ],
            "settings": dict(self.settings),
            "seconds": dict(self.seconds),
        }
        return json.dumps(content, ensure_ascii=False, indent=indent) + "\n"

    def save(self, path: str | Path) -> None:
        """Write :meth:`to_json` to a file, whole or not at all.

        Raises:
            OutputError: If it cannot be written.
        """
        atomic_write(Path(path), self.to_json().encode())

    def __str__(self) -> str:
        """A table, what it says, and the rules behind it."""
        from isthmus.auditing.wording import plain

        return plain(self)
