"""How strong an echo or a lexical block has to be, measured on development pairs; no evaluation set is read.

    ISTHMUS_DATA=... python benchmarks/identity_settings.py

The sembridge encoder of every language, on both kinds of development pairs (``dev_pairs.py``) among further passages of
the same kind. Writes one JSON with nDCG@10 by language, pairs, mode, calibration, power of the IDF and weight; with the
strength that the source encoder gives the words of English sections instead; and with few of the encoder's own entries.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from cells import use_data
from dev_pairs import LANGUAGES, cloze, sections
from identity_arms import joined
from scipy.sparse import csr_matrix
from study import cut
from study_arms import ENCODER, TOKENIZER, transferred
from training_pairs import training_rows

from isthmus.collections import Collection
from isthmus.encoders.encoding import encode_texts
from isthmus.evaluation import BM25, evaluate_vectors
from isthmus.evaluation.models import load_model
from isthmus.lexical import add_lexical, fit_self_activation
from isthmus.lexical.options import POWER, WEIGHT
from isthmus.lexical.statistics import SelfActivation, lexical_vectors
from isthmus.modules.lexical import MODES
from isthmus.reading.storage import atomic_write, read_json

PAIRS = 250
FURTHER = 1000
POWERS = (0.5, 0.75)
WEIGHTS = (1.0, 2.0, 3.0, 4.0, 6.0, 8.0)
SAMPLE = 200
# Entries of the encoder's own, of queries and passages.
TRIMS = ((4, 8), (8, 16), (8, 32), (16, 32), (32, 64), (32, 128))


def collections(data: Path, language: str) -> dict[str, Collection]:
    """Development pairs of a language with up to ``FURTHER`` other passages of the same kind in the pool."""
    found = {"sections": sections(data, language, PAIRS, 0), "cloze": cloze(data, language, PAIRS, 1)}
    passages = [row["passage"] for row in training_rows(data, language)]
    others = {
        "sections": [passages[i] for i in np.random.default_rng(0).permutation(len(passages))],
        "cloze": list(cloze(data, language, PAIRS + FURTHER, 2).corpus.values()),
    }
    result = {}
    for name, collection in found.items():
        own = set(collection.corpus.values())
        further = [text for text in dict.fromkeys(others[name]) if text not in own][:FURTHER]
        corpus = collection.corpus | {f"x{i}": text for i, text in enumerate(further)}
        result[name] = Collection(collection.name, corpus, collection.queries, collection.qrels, language)
    return result


def self_activations(data: Path) -> dict[bool, SelfActivation]:
    """How the English encoder weighs the words of English sections, by whether its columns are calibrated."""
    passages = list(dict.fromkeys(row["passage_en"] for row in training_rows(data, "ko")))
    encoder = load_model(ENCODER)
    options: dict[str, Any] = {"max_texts": SAMPLE, "dtype": "bfloat16"}
    return {
        calibrate: fit_self_activation(encoder, passages, calibrate=calibrate, **options) for calibrate in (False, True)
    }


def measure(
    encoder: Any, collection: Collection, words: BM25, source: dict[bool, SelfActivation]
) -> list[dict[str, Any]]:
    """NDCG@10 of every combination of settings on one collection."""
    queries, documents = list(collection.queries.values()), list(collection.corpus.values())
    options: dict[str, Any] = {"dtype": "bfloat16"}
    plain = (
        encode_texts(encoder, queries, role="query", **options),
        encode_texts(encoder, documents, role="document", **options),
    )
    bm25 = (words.encode_queries(queries), words.encode_documents(documents))
    rows = [{"mode": "bm25", "ndcg@10": score(bm25, collection), "dims": dims(bm25)}]
    for calibrate in (False, True):
        for power in POWERS:
            fitted = add_lexical(
                encoder, documents, "hybrid", calibrate=calibrate, weight=1.0, power=power, max_texts=SAMPLE, **options
            )
            *_, before, lexical = fitted.children()
            factors = before.scale.numpy() if calibrate else np.ones(plain[0].shape[1], dtype=np.float32)
            own = tuple(csr_matrix(vectors.multiply(factors)) for vectors in plain)
            if power == POWERS[0]:
                rows.append({"mode": "plain", "calibrate": calibrate, "ndcg@10": score(own, collection)})
            held = (
                lexical_vectors(encoder, lexical, queries, "query", 64),
                lexical_vectors(encoder, lexical, documents, "document", 64),
            )
            for weight, mode in product(WEIGHTS, MODES):
                # Both sides carry the square root of the weight.
                lexical_side = tuple(vectors * np.float32(np.sqrt(weight)) for vectors in held)
                setting = {"mode": mode, "calibrate": calibrate, "power": power, "weight": weight}
                rows.append({**setting, "ndcg@10": score(joined(mode, own, lexical_side), collection)})
                if (calibrate, power, weight) != (True, POWER, WEIGHT):
                    continue
                for trim in TRIMS:
                    few = tuple(cut(side, most) for side, most in zip(own, trim, strict=True))
                    vectors = joined(mode, few, lexical_side)
                    rows.append({**setting, "trim": trim, "ndcg@10": score(vectors, collection), "dims": dims(vectors)})
                rows[-len(TRIMS) - 1]["dims"] = dims(joined(mode, own, lexical_side))
        # The strength that the source has, instead of one that is fitted to the spread of scores.
        fitted = add_lexical(
            encoder,
            documents,
            "hybrid",
            calibrate=calibrate,
            self_activation=source[calibrate],
            max_texts=SAMPLE,
            **options,
        )
        lexical = list(fitted.children())[-1]
        held = (
            lexical_vectors(encoder, lexical, queries, "query", 64),
            lexical_vectors(encoder, lexical, documents, "document", 64),
        )
        for mode in MODES:
            setting = {"mode": mode, "calibrate": calibrate, "self_activation": asdict(source[calibrate])}
            rows.append({**setting, "ndcg@10": score(joined(mode, own, held), collection)})
    return rows


def dims(vectors: Sequence[csr_matrix]) -> list[float]:
    """Mean entries of a query and of a document."""
    return [side.nnz / side.shape[0] for side in vectors]


def score(vectors: Sequence[csr_matrix], collection: Collection) -> float:
    return float(evaluate_vectors(vectors[0], vectors[1], collection, name="setting")["ndcg@10"])


def main(argv: Sequence[str] | None = None) -> None:
    """Measure the languages that are missing."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, default=os.environ.get("ISTHMUS_DATA"), help="default: ISTHMUS_DATA")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results" / "identity_settings.json")
    parser.add_argument("--languages", nargs="+", choices=LANGUAGES, default=list(LANGUAGES))
    args = parser.parse_args(argv)
    use_data(parser, args)
    rows = read_json(args.output)["rows"] if args.output.exists() else []
    source = self_activations(args.data)
    for language in args.languages:
        words = BM25(TOKENIZER.format(language=language))
        for name, collection in collections(args.data, language).items():
            if any((row["language"], row["pairs"]) == (language, name) for row in rows):
                continue
            encoder = transferred("sembridge", language, 0, args.data)
            place = {"language": language, "pairs": name, "queries": len(collection.queries)}
            place["documents"] = len(collection.corpus)
            rows += [place | row for row in measure(encoder, collection, words, source)]
            del encoder
            gc.collect()
            content = {"rows": rows, "sample": SAMPLE}
            atomic_write(args.output, (json.dumps(content, indent=1) + "\n").encode())
            print(f"{language} {name} measured", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
