"""Does a transferred encoder beat BM25 when it gets the words of its texts back, and is it the meaning that helps?

    ISTHMUS_DATA=... python benchmarks/identity.py                    everything that is missing
    ISTHMUS_DATA=... python benchmarks/identity.py --stages zero-shot --languages ko --maps shuffled sembridge
    ISTHMUS_DATA=... python benchmarks/identity.py --large --maps shuffled sembridge    all collections, whole

Every map is measured plain, calibrated, with an echo and as a hybrid (docs/identity.md), on pools with distractors,
against BM25 over the same tokenizer and pool and against the same arm with *shuffled* rows, which has everything but
meaning. Calibration, IDF and weight are fitted on the texts of the pool, without labels. One JSON per cell (language,
map, vocabulary, stage), with nDCG@10 by query beside it; comparisons are made anew from those at every run.
"""

from __future__ import annotations

import argparse
import gc
import io
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from cells import ResultFile, fingerprint, use_data
from identity_arms import (
    MAPS,
    MAX_LENGTH,
    SAMPLE,
    TRIM,
    VOCABULARIES,
    Vectors,
    arms_of,
    encoder_of,
    has_trimmed,
    kept_tokens,
    method_name,
)
from identity_distil import taught_by
from identity_pools import distractors_and_queries, pools_of, shares_few_words
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from study import cut
from study_arms import BRIDGE, ENCODER, METHODS, RATES, TOKENIZER, TRAINING

import isthmus
from isthmus.collections import Collection
from isthmus.evaluation import BM25, bootstrap_interval, evaluate_vectors, paired_bootstrap
from isthmus.lexical.options import POWER, WEIGHT
from isthmus.modules.lexical import KNOWN_SHARE
from isthmus.reading.storage import atomic_write, read_json

LANGUAGES = ("ar", "hi", "ko", "ru", "zh")
STAGES = ("zero-shot", "fine-tuned", "distilled")
# Those that are taught their echo.
STUDENTS = ("sembridge", "shuffled")
# Largest entries of queries and documents that arms are cut to; BM25, which has about as many, is left whole.
MATCHED = (32, 128)
# What arms with sembridge are compared with, beside BM25; those of other maps with the first alone.
MAPS_BESIDE = ("shuffled", "gaussian", "mean")
# Trained at the learning rate of the method whose rows they permute or turn.
RATE_OF = {
    "shuffled": "sembridge", "shuffled-keep-source": "sembridge-keep-source", "sembridge-own": "sembridge",
}  # fmt: skip


@dataclass(frozen=True)
class Cell(ResultFile):
    """All arms of one encoder on one pool; BM25 is a cell of its own, with the map ``none``."""

    language: str
    collection: str
    token_map: str
    vocabulary: str
    stage: str
    path: Path
    settings: dict[str, Any]


def make_cell(
    language: str, collection: str, token_map: str, vocabulary: str, stage: str, args: argparse.Namespace
) -> Cell:
    """A cell and everything it depends on."""
    distractors, max_queries = distractors_and_queries(args)
    settings = {
        "language": language, "map": token_map, "vocabulary": vocabulary, "stage": stage,
        "encoder": fingerprint(ENCODER), "bridge": fingerprint(BRIDGE),
        "tokenizer": fingerprint(TOKENIZER.format(language=language)),
        "distractors": distractors, "max_queries": max_queries, "sample": SAMPLE,
        "weight": WEIGHT, "power": POWER,
        "max_length": MAX_LENGTH, "matched": None if token_map == "none" else MATCHED,
        "isthmus": isthmus.__version__,
    }  # fmt: skip
    if has_trimmed(token_map, stage):
        settings["trim"] = TRIM
    if vocabulary == "keep-source":
        settings["known_share"] = KNOWN_SHARE
    if token_map != "none":
        settings["transfer"] = METHODS[method_name(token_map, vocabulary)]
    if stage != "zero-shot":
        settings["training"] = TRAINING.identity() | {"learning_rate": rate_of(token_map, vocabulary, args)}
    if stage == "distilled":
        settings["teacher"] = taught_by()
    place = f"{language}.{collection}-large" if args.large else language
    path = args.output / f"{place}.{token_map}.{vocabulary}.{stage}.json"
    return Cell(language, collection, token_map, vocabulary, stage, path, json.loads(json.dumps(settings)))


def score(name: str, vectors: tuple[csr_matrix, csr_matrix], pool: Collection) -> dict[str, NDArray[np.float64]]:
    """NDCG@10 of every query, whole and cut to the largest entries."""
    whole = evaluate_vectors(*vectors, pool, name=name).per_query["ndcg@10"]
    few = tuple(cut(side, dims) for side, dims in zip(vectors, MATCHED, strict=True))
    return {name: whole, f"{name}:matched": evaluate_vectors(*few, pool, name=name).per_query["ndcg@10"]}


def row_of(
    cell: Cell, arm: str, pool: Collection, scores: dict[str, NDArray[np.float64]], low: NDArray[np.bool_],
    vectors: tuple[csr_matrix, csr_matrix],
) -> dict[str, Any]:  # fmt: skip
    """What one arm reached."""
    own = scores[arm]
    return {
        "language": cell.language, "collection": pool.name, "arm": arm, "map": cell.token_map,
        "vocabulary": cell.vocabulary, "stage": cell.stage, "ndcg@10": float(own.mean()),
        "ndcg@10_ci": list(bootstrap_interval(own)), "queries": len(own), "documents": len(pool.corpus),
        "active_dims": vectors[1].nnz / vectors[1].shape[0], "query_active_dims": vectors[0].nnz / vectors[0].shape[0],
        "low_overlap": float(own[low].mean()), "high_overlap": float(own[~low].mean()),
        "matched": float(scores.get(f"{arm}:matched", own).mean()), "p_vs_bm25": None,
    }  # fmt: skip


def comparisons(
    arm: str, scores: dict[str, NDArray[np.float64]], low: NDArray[np.bool_],
    others: dict[str, dict[str, NDArray[np.float64]]],
) -> dict[str, Any]:  # fmt: skip
    """How one arm compares with ``others``: scores by arm, by name of the reference."""
    found: dict[str, Any] = {}
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


def compare(language: str, args: argparse.Namespace) -> None:
    """Write into every finished cell of a language how its arms compare with BM25 and with other maps."""
    for pool in pools_of(language, args):
        compare_on(pool, language, args)


def compare_on(pool: Collection, language: str, args: argparse.Namespace) -> None:
    """The same of one pool."""
    low = shares_few_words(pool, BM25(TOKENIZER.format(language=language)))
    words = read_scores(make_cell(language, pool.name, "none", "target", "zero-shot", args))
    for stage, vocabulary in product(STAGES, VOCABULARIES):
        cells = {name: make_cell(language, pool.name, name, vocabulary, stage, args) for name in MAPS}
        finished = {name: read_scores(cell) for name, cell in cells.items() if cell.done()}
        for token_map, scores in finished.items():
            beside = MAPS_BESIDE if token_map == "sembridge" else MAPS_BESIDE[:1]
            others = {"bm25": words} | {
                name: finished[name] for name in beside if name in finished and name != token_map
            }
            content = read_json(cells[token_map].path)
            content["rows"] = [
                {key: value for key, value in row.items() if "vs_" not in key}
                | comparisons(row["arm"], scores, low, others)
                for row in content["rows"]
            ]
            text = json.dumps(content, ensure_ascii=False, indent=1) + "\n"
            atomic_write(cells[token_map].path, text.encode())


def write(cell: Cell, rows: Sequence[dict[str, Any]], scores: dict[str, NDArray[np.float64]]) -> None:
    """Scores by query first, so that a cell that exists is whole."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **{name: values.astype(np.float32) for name, values in scores.items()})
    atomic_write(cell.path.with_suffix(".npz"), buffer.getvalue())
    content = {"rows": list(rows), "settings": cell.settings, "settings_hash": cell.key}
    atomic_write(cell.path, (json.dumps(content, ensure_ascii=False, indent=1) + "\n").encode())
    for row in rows:
        where = f"{row['language']} {row['collection']} {row['stage']} {row['map']} ({row['vocabulary']}) {row['arm']}"
        print(f"{where}: {row['ndcg@10']:.3f}", file=sys.stderr, flush=True)


def read_scores(cell: Cell) -> dict[str, NDArray[np.float64]]:
    """Scores by query of a finished cell."""
    with np.load(cell.path.with_suffix(".npz"), allow_pickle=False) as arrays:
        return {name: arrays[name].astype(np.float64) for name in arrays.files}


def left_out(token_map: str, vocabulary: str, stage: str) -> bool:
    """Combinations that say nothing: columns that are not written need no directions, and there are two students."""
    if token_map == "sembridge-own" and vocabulary != "target":
        return True
    return stage == "distilled" and token_map not in STUDENTS


def measure(language: str, stage: str, args: argparse.Namespace) -> None:
    """All cells of a language and a stage."""
    pools = list(pools_of(language, args))
    for pool in pools:
        measure_words(pool, language, args)
    for vocabulary in args.vocabularies:
        for token_map in [name for name in MAPS if name in args.maps]:
            cells = [make_cell(language, pool.name, token_map, vocabulary, stage, args) for pool in pools]
            missing = [(cell, pool) for cell, pool in zip(cells, pools, strict=True) if not cell.done()]
            if not missing or left_out(token_map, vocabulary, stage):
                continue
            rate = rate_of(token_map, vocabulary, args)
            if stage != "zero-shot" and rate is None:
                name = method_name(token_map, vocabulary)
                print(f"{name} has no learning rate yet; see study.py --only tune", file=sys.stderr, flush=True)
                continue
            encoder = encoder_of(language, token_map, vocabulary, stage, rate=rate, data=args.data, work=args.work)
            made = Vectors(encoder)
            for cell, pool in missing:
                measure_arms(cell, pool, made)
            del encoder, made
            gc.collect()


def measure_words(pool: Collection, language: str, args: argparse.Namespace) -> None:
    """The cell of BM25 on a pool."""
    cell = make_cell(language, pool.name, "none", "target", "zero-shot", args)
    if cell.done():
        return
    words = BM25(TOKENIZER.format(language=language))
    held = words.encode_documents(list(pool.corpus.values()))
    vectors = (words.encode_queries(list(pool.queries.values())), held)
    scores = {"bm25": evaluate_vectors(*vectors, pool, name="bm25").per_query["ndcg@10"]}
    write(cell, [row_of(cell, "bm25", pool, scores, shares_few_words(pool, words), vectors)], scores)


def measure_arms(cell: Cell, pool: Collection, made: Vectors) -> None:
    """The cell of an encoder on a pool."""
    low = shares_few_words(pool, BM25(TOKENIZER.format(language=cell.language)))
    trimmed = has_trimmed(cell.token_map, cell.stage)
    known = kept_tokens(cell.language, cell.vocabulary)
    arms = arms_of(made, list(pool.queries.values()), list(pool.corpus.values()), known, trimmed=trimmed)
    scores = {key: one for arm, vectors in arms.items() for key, one in score(arm, vectors, pool).items()}
    write(cell, [row_of(cell, arm, pool, scores, low, vectors) for arm, vectors in arms.items()], scores)


def rate_of(token_map: str, vocabulary: str, args: argparse.Namespace) -> float | None:
    """Learning rate at which a map's encoder trains; None where it has not been tuned."""
    name = method_name(token_map, vocabulary)
    found: float | None = args.rates.get(RATE_OF.get(name, name))
    return found


def tuned_rates(folder: Path) -> dict[str, float]:
    """The study's learning rate of every method that has one."""
    path = folder / "learning_rates.json"
    rows = [row for row in read_json(path)["rows"] if row["learning_rate"] in RATES] if path.exists() else []
    best: dict[str, dict[str, Any]] = {}
    for row in rows:
        so_far = best.get(row["method"])
        if so_far is None or row["development"]["best"] > so_far["development"]["best"]:
            best[row["method"]] = row
    return {method: row["learning_rate"] for method, row in best.items()}


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Command line."""
    results = Path(__file__).parent / "results"
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, default=os.environ.get("ISTHMUS_DATA"), help="default: ISTHMUS_DATA")
    parser.add_argument("--output", type=Path, default=results / "identity")
    parser.add_argument("--study", type=Path, default=results / "study", help="where the learning rates are")
    parser.add_argument("--work", type=Path, default=Path("runs/study"), help="trained encoders are kept here")
    parser.add_argument("--languages", nargs="+", choices=LANGUAGES, default=list(LANGUAGES))
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=list(STAGES))
    parser.add_argument("--maps", nargs="+", choices=MAPS, default=list(MAPS))
    parser.add_argument("--vocabularies", nargs="+", choices=VOCABULARIES, default=list(VOCABULARIES))
    parser.add_argument("--large", action="store_true", help="every collection, all questions, all distractors")
    args = parser.parse_args(argv)
    use_data(parser, args)
    args.rates = tuned_rates(args.study)
    return args


def main(argv: Sequence[str] | None = None) -> None:
    """Measure what is missing."""
    args = parse(argv)
    for stage in args.stages:
        for language in args.languages:
            measure(language, stage, args)
    for language in args.languages:
        compare(language, args)


if __name__ == "__main__":
    main()
