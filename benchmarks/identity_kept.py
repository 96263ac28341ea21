"""Should English tokens that a transfer kept get lexical weights, too? Measured on development pairs.

    ISTHMUS_DATA=... python benchmarks/identity_kept.py
    ISTHMUS_DATA=... python benchmarks/identity_kept.py --taught     what students of an echo find, by the chosen share

The encoders keep English and write its columns, so that what a word of the target language gets is its lexical weight
alone, and a kept one has a weight of its own. ``settings.py`` and ``identity_settings.py`` use the same pairs; no
evaluation collection is read.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from cells import use_data
from dev_pairs import LANGUAGES, paired, section_rows
from identity import rate_of, tuned_rates
from identity_arms import DTYPE, Vectors, encoder_of, joined, kept_tokens
from identity_settings import FURTHER, PAIRS, SAMPLE, collections, dims, score
from scipy.sparse import csr_matrix
from study_arms import ENCODER, TOKENIZER
from training_pairs import training_rows

from isthmus.collections import Collection
from isthmus.evaluation import BM25
from isthmus.lexical import add_lexical
from isthmus.lexical.statistics import lexical_vectors
from isthmus.modules.lexical import KNOWN_SHARE, MODES
from isthmus.reading.storage import atomic_write, read_json

RESULTS = Path(__file__).parent / "results"
WEIGHTS = (1.0, 2.0, 4.0)
# Lexical weights of kept tokens: the share of what others get in a product of two, and whether only where the encoder
# writes their columns itself.
KEPT = {"none": (0.0, False), "as others": (1.0, False), **{f"{s:g} where active": (s, True) for s in (1.0, 0.5, 0.25)}}
CHOSEN = {f"{share:g} where active": (share, True) for share in KNOWN_SHARE.values()}
# The encoder of this language is measured in English, too.
ENGLISH_BY = "ko"


def english(data: Path) -> Collection:
    """English development sections of the Korean files, in a pool of as many others as the Korean ones."""
    rows = section_rows(data, "ko", PAIRS, 0, queries=("query_en",))
    found = paired("sections-dev-en", [row["query_en"] for row in rows], [row["passage_en"] for row in rows], "en")
    known = set(found.corpus.values())
    passages = [row["passage_en"] for row in training_rows(data, "ko")]
    others = dict.fromkeys(passages[i] for i in np.random.default_rng(0).permutation(len(passages)))
    further = [text for text in others if text.strip() and text not in known][:FURTHER]
    return replace(found, corpus=found.corpus | {f"x{i}": text for i, text in enumerate(further)})


def from_english(data: Path, language: str, within: Collection) -> Collection:
    """The English headings of a language's development sections, in the pool of its own headings."""
    rows = section_rows(data, language, PAIRS, 0, queries=("query", "query_en"))
    found = paired(f"sections-dev-en-{language}", [row["query_en"] for row in rows], [row["passage"] for row in rows])
    known = set(found.corpus.values())
    further = {f"w{name}": text for name, text in within.corpus.items() if text not in known}
    return replace(found, corpus=found.corpus | further)


def measure(
    made: Vectors, collection: Collection, words: BM25, kept: Sequence[int], shares: dict[str, tuple[float, bool]]
) -> list[dict[str, Any]]:
    """NDCG@10 of BM25, of the encoder, and of echo and hybrid with and without weights for kept tokens."""
    queries, documents = list(collection.queries.values()), list(collection.corpus.values())
    plain = (made(queries, "query"), made(documents, "document"))
    bm25 = (words.encode_queries(queries), words.encode_documents(documents))
    rows: list[dict[str, Any]] = [
        {"arm": name, "ndcg@10": score(vectors, collection), "dims": dims(vectors)}
        for name, vectors in {"bm25": bm25, "plain": plain}.items()
    ]
    for told, (share, gated) in shares.items():
        if told == "none" and collection.language == "en":
            # English has no tokens but those.
            continue
        left_out = kept if told == "none" else ()
        options = {"known": kept, "known_share": share} if gated else {"leave_out": left_out}
        fitted = add_lexical(made.encoder, documents, "echo", max_texts=SAMPLE, dtype=DTYPE, weight=1.0, **options)
        *_, scale, lexical = fitted.children()
        own = tuple(csr_matrix(vectors.multiply(scale.scale.numpy())) for vectors in plain)
        held = tuple(
            lexical_vectors(made.encoder, lexical, texts, role, 64, vectors if gated else None)
            for role, texts, vectors in (("query", queries, own[0]), ("document", documents, own[1]))
        )
        for weight, mode in product(WEIGHTS, MODES):
            # Both sides carry the square root of the weight.
            vectors = joined(mode, own, tuple(side * np.float32(np.sqrt(weight)) for side in held))
            setting = {"arm": mode, "kept_tokens": told, "weight": weight}
            rows.append(setting | {"ndcg@10": score(vectors, collection), "dims": dims(vectors)})
    return rows


def main(argv: Sequence[str] | None = None) -> None:
    """Measure what is missing."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, default=os.environ.get("ISTHMUS_DATA"), help="default: ISTHMUS_DATA")
    parser.add_argument("--output", type=Path, help="default: benchmarks/results/identity_kept.json, or _taught")
    parser.add_argument("--languages", nargs="+", choices=LANGUAGES, default=list(LANGUAGES))
    parser.add_argument("--taught", action="store_true", help="measure the students of identity.py --stages distilled")
    parser.add_argument("--study", type=Path, default=RESULTS / "study", help="where the learning rates are")
    parser.add_argument("--work", type=Path, default=Path("runs/study"), help="students are kept here")
    args = parser.parse_args(argv)
    use_data(parser, args)
    args.output = args.output or RESULTS / f"identity_{'taught' if args.taught else 'kept'}.json"
    shares = CHOSEN if args.taught else KEPT
    args.rates = tuned_rates(args.study)
    rows = read_json(args.output)["rows"] if args.output.exists() else []
    for language in args.languages:
        if any(row["language"] == language for row in rows):
            continue
        stage = "distilled" if args.taught else "zero-shot"
        rate = rate_of("sembridge", "keep-source", args)
        made = Vectors(
            encoder_of(language, "sembridge", "keep-source", stage, rate=rate, data=args.data, work=args.work)
        )
        words = BM25(TOKENIZER.format(language=language))
        measured = [(language, name, found, words) for name, found in collections(args.data, language).items()]
        within = measured[0][2]
        measured.append((language, "from English", from_english(args.data, language, within), words))
        if language == ENGLISH_BY:
            measured.append(("en", "sections", english(args.data), BM25(ENCODER)))
        for code, name, collection, baseline in measured:
            place = {"language": code, "pairs": name, "queries": len(collection.queries)}
            place["documents"] = len(collection.corpus)
            rows += [
                place | row for row in measure(made, collection, baseline, kept_tokens(language, "keep-source"), shares)
            ]
        del made
        gc.collect()
        atomic_write(args.output, (json.dumps({"rows": rows, "sample": SAMPLE}, indent=1) + "\n").encode())
        print(f"{language} measured", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
