"""Pools of ``keep_source.py``: queries and passages in English, in another language, and the passages in both."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, get_args

import numpy as np

from benchmarks.encoding import sample_queries
from isthmus.collections import Collection, add_distractors, load
from isthmus.collections.distractors import read_distractors
from isthmus.encoders.load import load_tokenizer
from isthmus.errors import CollectionError, EncoderError
from isthmus.token_map import TokenMap
from isthmus.transferring.columns import representatives, unwritten_columns
from isthmus.transferring.options import DEFAULT_FOLD, Output
from isthmus.vocabulary.join import join_tokenizers

ENGLISH = "en"
# Cosine above which a transfer writes two tokens as one, by what it writes: its own defaults.
FOLDS = {"source": 1.0, "target": DEFAULT_FOLD, "both": DEFAULT_FOLD}


@dataclass(frozen=True)
class Pool:
    """What one row of results is measured on.

    Attributes:
        collection: The passages, their ids led by their language, and the queries.
        name: ``alone`` or ``distractors-N``.
        query_language: Language of the queries.
        document_languages: Language of the passages, or both.
    """

    collection: Collection
    name: str
    query_language: str
    document_languages: tuple[str, ...]

    @property
    def key(self) -> str:
        """What tells the pool from the others of its language."""
        return f"{self.collection.name}.{self.name}.{self.query_language}-{self.document_language}"

    @property
    def document_language(self) -> str:
        """Languages of the passages as one text, "en+ru" for both."""
        return "+".join(self.document_languages)


def pools_of(language: str, args: argparse.Namespace) -> list[Pool]:
    """All pools of a language: XQuAD, or KorQuAD and the parallel demo collection for Korean, which XQuAD has not."""
    if language != "ko":
        return list(_pools(parallel("xquad", language, args), args.distractors, args))
    korquad = sample_queries(load("korquad", language=language), args.max_queries, args.seed)
    demo = parallel("demo", language, args)
    return [*_pools({language: korquad}, args.distractors, args), *_pools(demo, 0, args)]


def parallel(name: str, language: str, args: argparse.Namespace) -> dict[str, Collection]:
    """A collection in English and in another language, with the same sample of its queries.

    Raises:
        CollectionError: If an id does not mean the same in both.
    """
    sides = {code: load(name, language=code) for code in (ENGLISH, language)}
    english, other = sides.values()
    if list(english.corpus) != list(other.corpus) or english.qrels != other.qrels:
        raise CollectionError(
            f"collection {name!r} must have the same passage ids, query ids and qrels in 'en' and {language!r}, got "
            f"{len(english.corpus)} and {len(other.corpus)} passages, {len(english.queries)} and "
            f"{len(other.queries)} queries; give files that are translations of each other, in the same order"
        )
    kept = sample_queries(english, args.max_queries, args.seed)
    queries = {query: other.queries[query] for query in kept.queries}
    return {ENGLISH: kept, language: replace(other, queries=queries, qrels=kept.qrels)}


def _pools(sides: Mapping[str, Collection], distractors: int, args: argparse.Namespace) -> Iterator[Pool]:
    """Every query language on every document language and on all at once, alone and with distractors of those."""
    # Read before the loops: a file of distractors belongs to several pools.
    files = {code: args.data / "distractors" / f"{code}.jsonl.xz" for code in sides} if distractors else {}
    more = {code: read_distractors(path, limit=distractors, seed=args.seed) for code, path in files.items()}
    for languages in dict.fromkeys([*((code,) for code in sides), tuple(sides)]):
        for asked in sides:
            alone = join(sides[asked], {code: sides[code] for code in languages})
            yield Pool(alone, "alone", asked, languages)
            if more:
                added = {identifier: text for code in languages for identifier, text in more[code].items()}
                yield Pool(add_distractors(alone, added), f"distractors-{distractors}", asked, languages)


def join(queries: Collection, documents: Mapping[str, Collection]) -> Collection:
    """The queries of a collection on passages by language; all that are parallel to a relevant one are relevant."""
    corpus = {f"{code}:{id}": text for code, side in documents.items() for id, text in side.corpus.items()}
    qrels = {
        query: {f"{code}:{id}": grade for code in documents for id, grade in grades.items()}
        for query, grades in queries.qrels.items()
    }
    return replace(queries, corpus=corpus, qrels=qrels)


def columns_of(encoder: Any, token_map: TokenMap, source: str, targets: Sequence[str]) -> dict[str | None, Any]:
    """Columns that a transfer writes for each output, of an encoder that writes all of them; tokenizers by name.

    Raises:
        EncoderError: If the encoder limits its active dimensions.
    """
    if encoder.max_active_dims is not None:
        raise EncoderError(
            f"max_active_dims of {source!r} must be None for its outputs to be cut from one encoding, got "
            f"{encoder.max_active_dims}; save the encoder without the limit"
        )
    joined = join_tokenizers(load_tokenizer(source), [load_tokenizer(name) for name in targets])
    columns: dict[str | None, Any] = {}
    for output in get_args(Output):
        written = ~unwritten_columns(output, joined)
        if FOLDS[output] < 1:
            written &= representatives(token_map.weights, written, FOLDS[output]) == np.arange(len(written))
        columns[output] = np.flatnonzero(written)
    return columns
