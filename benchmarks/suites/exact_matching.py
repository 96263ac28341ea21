"""Does a transferred encoder beat BM25 when it gets the words of its texts back, and is it the meaning that helps?

    ISTHMUS_DATA=... python -m benchmarks exact-matching                    everything that is missing
    ISTHMUS_DATA=... python -m benchmarks exact-matching --stages zero-shot --languages ko --maps shuffled sembridge
    ISTHMUS_DATA=... python -m benchmarks exact-matching --large --maps shuffled sembridge    all collections, whole

Every map is measured plain, calibrated, with an echo and as a hybrid (docs/results/exact-matching.md), on pools with
distractors, against BM25 over the same tokenizer and pool and against the same arm with *shuffled* rows, which has
everything but meaning. Calibration, IDF and weight are fitted on the texts of the pool, without labels. A file a
language, a cell for each map, vocabulary and stage; comparisons are made anew at every run.
"""

from __future__ import annotations

import argparse
import gc
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

import isthmus
from benchmarks import harness
from benchmarks.encoding import Encoded, cut, dims_of, sample_queries
from benchmarks.harness import LANGUAGES, TOKENIZER, Results, Row, say
from benchmarks.suites import exact_encoders as encoders
from benchmarks.suites.exact_encoders import (
    MAPS,
    MAX_LENGTH,
    SAMPLE,
    TRIM,
    VOCABULARIES,
    arms_of,
    encoder_of,
    method_of,
)
from benchmarks.suites.study import MINI, RATE, TRAINING
from benchmarks.suites.zero_shot import OF_LANGUAGE
from isthmus.collections import Collection, load
from isthmus.evaluation import BM25, bootstrap_interval, evaluate_vectors, paired_bootstrap
from isthmus.lexical.options import POWER, WEIGHT
from isthmus.modules.lexical import KNOWN_SHARE

STAGES = ("zero-shot", "fine-tuned", "distilled")
# Those that are taught their echo, and trained with the source kept.
STUDENTS = ("sembridge", "shuffled")
# Largest entries of queries and documents that arms are cut to; BM25, which has about as many, is left whole.
MATCHED = (32, 128)
# What arms with sembridge are compared with, beside BM25; those of other maps with the first alone.
MAPS_BESIDE = ("shuffled", "gaussian", "mean")
# Distractors and questions: of a language's first collection, or (large) of every one.
SMALL, LARGE = (1000, 1200), (8000, None)
Scores = dict[str, NDArray[np.float64]]


@dataclass(frozen=True)
class Cell(harness.Cell):
    """All arms of one encoder on one pool; BM25 is a cell of its own, with the map ``none``."""

    language: str
    token_map: str
    vocabulary: str
    stage: str


def make_cell(language: str, collection: str, token_map: str, vocabulary: str, stage: str, *, large: bool) -> Cell:
    """A cell and everything it depends on."""
    distractors, max_queries = LARGE if large else SMALL
    settings: Row = {
        "language": language, "map": token_map, "vocabulary": vocabulary, "stage": stage, **MINI.prints(language),
        "distractors": distractors, "max_queries": max_queries, "sample": SAMPLE, "weight": WEIGHT, "power": POWER,
        "max_length": MAX_LENGTH, "matched": None if token_map == "none" else MATCHED,
        "isthmus": isthmus.__version__,
    }  # fmt: skip
    if has_trimmed(token_map, stage):
        settings["trim"] = TRIM
    if vocabulary == "keep-source":
        settings["known_share"] = KNOWN_SHARE
    if token_map != "none":
        settings["transfer"] = method_of(token_map, vocabulary)[1]
    if stage != "zero-shot":
        settings["training"] = TRAINING.identity() | {"learning_rate": RATE}
    if stage == "distilled":
        settings["teacher"] = encoders.taught_by()
    place = f"{language}.{collection}-large" if large else language
    name = f"{place}.{token_map}.{vocabulary}.{stage}"
    return Cell(name, json.loads(json.dumps(settings)), language, token_map, vocabulary, stage)


def has_trimmed(token_map: str, stage: str) -> bool:
    """Whether the trimmed arms are measured: of sembridge and of shuffled rows."""
    return token_map in STUDENTS and stage != "distilled"


def left_out(token_map: str, vocabulary: str, stage: str) -> bool:
    """Combinations that say nothing: columns that are not written need no directions, and there are two students."""
    if token_map == "sembridge-own" and vocabulary != "target":
        return True
    return token_map not in STUDENTS and (stage == "distilled" or (stage, vocabulary) == ("fine-tuned", "keep-source"))


def pools_of(language: str, args: argparse.Namespace) -> Iterator[Collection]:
    """The evaluation collections of a language with distractors."""
    distractors, max_queries = LARGE if args.large else SMALL
    path = args.data / "distractors" / f"{language}.jsonl.xz"
    for name in OF_LANGUAGE[language][: None if args.large else 1]:
        found = load(name, language=language, distractors=path, max_distractors=distractors, seed=0)
        yield sample_queries(found, max_queries, 0)


def overlap_of(pool: Collection, words: BM25) -> NDArray[np.float64]:
    """Share of each query's distinct tokens that its best relevant passage holds, in the order of the queries."""
    queries = [set(ids) for ids in words.token_ids(list(pool.queries.values()))]
    golds = [max(pool.qrels[query], key=lambda d: pool.qrels[query][d]) for query in pool.queries]
    held = [set(ids) for ids in words.token_ids([pool.corpus[gold] for gold in golds])]
    return np.array([len(q & d) / max(1, len(q)) for q, d in zip(queries, held, strict=True)])


def shares_few_words(pool: Collection, words: BM25) -> NDArray[np.bool_]:
    """Whether a query shares a smaller part of its words with its passage than the median query."""
    overlap = overlap_of(pool, words)
    return overlap < np.median(overlap)


def score(name: str, vectors: Sequence[csr_matrix], pool: Collection) -> Scores:
    """NDCG@10 of every query, whole and cut to the largest entries."""
    few = tuple(cut(side, dims) for side, dims in zip(vectors, MATCHED, strict=True))
    whole, matched = (evaluate_vectors(*sides, pool, name=name).per_query["ndcg@10"] for sides in (vectors, few))
    return {name: whole, f"{name}:matched": matched}


def row_of(
    cell: Cell, arm: str, pool: Collection, scores: Scores, low: NDArray[np.bool_], vectors: Sequence[csr_matrix]
) -> Row:
    """What one arm reached."""
    own = scores[arm]
    return {
        "language": cell.language, "collection": pool.name, "arm": arm, "map": cell.token_map,
        "vocabulary": cell.vocabulary, "stage": cell.stage, "ndcg@10": float(own.mean()),
        "ndcg@10_ci": list(bootstrap_interval(own)), "queries": len(own), "documents": len(pool.corpus),
        "active_dims": dims_of(vectors[1]), "query_active_dims": dims_of(vectors[0]),
        "low_overlap": float(own[low].mean()), "high_overlap": float(own[~low].mean()),
        "matched": float(scores.get(f"{arm}:matched", own).mean()), "p_vs_bm25": None,
    }  # fmt: skip


def comparisons(arm: str, scores: harness.Scores, low: NDArray[np.bool_], others: dict[str, harness.Scores]) -> Row:
    """How one arm compares with ``others``: scores by arm, by name of the reference."""
    found: Row = {}
    for name, theirs in others.items():
        # BM25 is one arm against all, and never cut; rows of another map are compared arm by arm.
        whole, few = ("bm25", "bm25") if name == "bm25" else (arm, f"{arm}:matched")
        if whole not in theirs:
            continue
        test = paired_bootstrap(scores[arm], theirs[whole])
        found |= {f"p_vs_{name}": test.p_value, f"vs_{name}": test.to_dict()}
        found[f"low_overlap_vs_{name}"] = paired_bootstrap(scores[arm][low], theirs[whole][low]).to_dict()
        found[f"matched_vs_{name}"] = paired_bootstrap(scores[f"{arm}:matched"], theirs[few]).to_dict()
    return found


def compare(results: Results, pool: Collection, language: str, *, large: bool) -> None:
    """Write into every finished cell of a pool how its arms compare with BM25 and with other maps."""
    low, by_cell = shares_few_words(pool, BM25(TOKENIZER.format(language=language))), results.scores()
    words = by_cell[make_cell(language, pool.name, "none", "target", "zero-shot", large=large).name]
    cells = []
    for stage, vocabulary in product(STAGES, VOCABULARIES):
        made = {name: make_cell(language, pool.name, name, vocabulary, stage, large=large) for name in MAPS}
        finished = {name: by_cell[cell.name] for name, cell in made.items() if results.done(cell)}
        for token_map, scores in finished.items():
            beside = [name for name in MAPS_BESIDE[: None if token_map == "sembridge" else 1] if name in finished]
            others = {"bm25": words} | {name: finished[name] for name in beside if name != token_map}
            cell = results.by_name[made[token_map].name]
            rows = [
                {key: value for key, value in row.items() if "vs_" not in key}
                | comparisons(row["arm"], scores, low, others)
                for row in cell["rows"]
            ]
            cells.append(cell | {"rows": rows})
    results.replace(cells)


def add(results: Results, cell: Cell, rows: Sequence[Row], scores: Scores) -> None:
    """Write a cell and tell of it."""
    results.add(cell, {"rows": list(rows)}, scores)
    for row in rows:
        say(f"{cell.name} {row['arm']}: {row['ndcg@10']:.3f}")


def measure(results: Results, language: str, stage: str, args: argparse.Namespace) -> None:
    """All cells of a language and a stage."""
    pools = list(pools_of(language, args))
    for pool in pools:
        measure_words(results, pool, language, large=args.large)
    for vocabulary, token_map in product(args.vocabularies, [name for name in MAPS if name in args.maps]):
        place = (token_map, vocabulary, stage)
        cells = [make_cell(language, pool.name, *place, large=args.large) for pool in pools]
        missing = [(cell, pool) for cell, pool in zip(cells, pools, strict=True) if not results.done(cell)]
        if not missing or left_out(*place):
            continue
        made = encoders.reading_all(encoder_of(language, *place, data=args.data, work=args.work))
        for cell, pool in missing:
            measure_arms(results, cell, pool, made)
        del made
        gc.collect()


def measure_words(results: Results, pool: Collection, language: str, *, large: bool) -> None:
    """The cell of BM25 on a pool."""
    cell = make_cell(language, pool.name, "none", "target", "zero-shot", large=large)
    if results.done(cell):
        return
    words = BM25(TOKENIZER.format(language=language))
    held = words.encode_documents(list(pool.corpus.values()))
    vectors = (words.encode_queries(list(pool.queries.values())), held)
    scores = {"bm25": evaluate_vectors(*vectors, pool, name="bm25").per_query["ndcg@10"]}
    add(results, cell, [row_of(cell, "bm25", pool, scores, shares_few_words(pool, words), vectors)], scores)


def measure_arms(results: Results, cell: Cell, pool: Collection, made: Encoded) -> None:
    """The cell of an encoder on a pool."""
    low = shares_few_words(pool, BM25(TOKENIZER.format(language=cell.language)))
    known, trimmed = encoders.kept_tokens(cell.language, cell.vocabulary), has_trimmed(cell.token_map, cell.stage)
    arms = arms_of(made, list(pool.queries.values()), list(pool.corpus.values()), known, trimmed=trimmed)
    scores = {key: one for arm, vectors in arms.items() for key, one in score(arm, vectors, pool).items()}
    add(results, cell, [row_of(cell, arm, pool, scores, low, vectors) for arm, vectors in arms.items()], scores)


def main(argv: Sequence[str] | None = None) -> None:
    """Measure what is missing, and compare."""
    parser = harness.parser_of(__doc__, "exact-matching", languages=LANGUAGES, work="runs/study")
    for name, known in (("stages", STAGES), ("maps", MAPS), ("vocabularies", VOCABULARIES)):
        parser.add_argument(f"--{name}", nargs="+", choices=known, default=list(known))
    parser.add_argument("--large", action="store_true", help="every collection, all questions, all distractors")
    args: Any = harness.parse(parser, argv)
    for language in args.languages:
        results = Results(args.output.with_suffix(f".{language}.json"), args.output.with_suffix(".npz"))
        for stage in args.stages:
            measure(results, language, stage, args)
        for pool in pools_of(language, args):
            compare(results, pool, language, large=args.large)
