"""Remedies against crowding, each alone, on development pairs; evaluation collections are never read.

    ISTHMUS_DATA=... python benchmarks/crowding.py --output benchmarks/results/crowding.json

Where rows are mixed, dozens of inflections of a word get one weight and crowd out the rest. Every encoder keeps the
English vocabulary; what differs is what it writes and what is done about it. Two pools (documentation sections asked
by their headings, and inverse cloze over general prose, arXiv 1906.00300) in four directions between English and the
language. Calibration reads passages of the training files without their queries. Resumable by language.
"""

from __future__ import annotations

import argparse
import json
import lzma
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from cells import fingerprint
from dev_pairs import LANGUAGES, SENTENCES, prose_blocks, section_rows
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

import isthmus
from isthmus.collections import Collection
from isthmus.encoders.encoding import encode_texts
from isthmus.encoders.load import load_tokenizer
from isthmus.evaluation import evaluate_vectors
from isthmus.reading.storage import atomic_write
from isthmus.token_map import Fate, TokenMap
from isthmus.transferring.columns import representatives, unwritten_columns
from isthmus.vocabulary import join_tokenizers

ENCODER, BRIDGE = "isthmus/mini-splade-en", "isthmus/mini-bridge"
SIDES = ("query_en", "passage_en", "query", "passage")
DIRECTIONS = {"en-en": (0, 1), "en-l": (0, 3), "l-en": (2, 1), "l-l": (2, 3)}
FOLDS = (0.99, 0.9, 0.8, 0.6)
RATES = (0.05, 0.02, 0.01)
ALPHAS = (2.0, 3.0, 6.0)
Texts = dict[str, list[str]]


def sections(data: Path, language: str, limit: int, seed: int) -> Texts:
    """Headings and sections of documentation in both languages."""
    rows = section_rows(data, language, limit, seed, queries=("query", "query_en"))
    return {side: [row[side] for row in rows] for side in SIDES}


def split_blocks(data: Path, language: str, limit: int, seed: int) -> tuple[list[Any], list[Any]]:
    """``limit`` blocks for the pool and as many others to calibrate on."""
    found = prose_blocks(data, language)
    order = np.random.default_rng(seed).permutation(len(found)).tolist()
    return [found[i] for i in order[:limit]], [found[i] for i in order[limit : 2 * limit]]


def cloze(data: Path, language: str, limit: int, seed: int) -> Texts:
    """Blocks without one sentence, which is the query."""
    rng = np.random.default_rng(seed)
    texts: Texts = {side: [] for side in SIDES}
    for block in split_blocks(data, language, limit, seed)[0]:
        taken = int(rng.integers(SENTENCES))
        for number, suffix in enumerate(("_en", "")):
            texts[f"query{suffix}"].append(block[taken][number])
            texts[f"passage{suffix}"].append(" ".join(pair[number] for i, pair in enumerate(block) if i != taken))
    return texts


def unlabelled(data: Path, language: str, limit: int, seed: int) -> tuple[list[str], list[str]]:
    """English passages, and passages of the language, that are in neither pool."""
    with lzma.open(data / f"sections/en-{language}.jsonl.xz", "rt", encoding="utf-8") as stream:
        rows = [json.loads(line) for line in stream]
    chosen = np.random.default_rng(seed).choice(len(rows), min(limit, len(rows)), replace=False).tolist()
    spare = split_blocks(data, language, limit, seed)[1]
    english = [rows[i]["passage_en"] for i in chosen] + [" ".join(pair[0] for pair in block) for block in spare]
    return english, [rows[i]["passage"] for i in chosen] + [" ".join(pair[1] for pair in block) for block in spare]


def lengthened(encoder: Any, token_map: TokenMap, power: float) -> Any:
    """Give mixed rows back, to a power, the length that averaging takes from them."""
    rows = torch.from_numpy(token_map.rows(Fate.BRIDGED))
    weight = encoder[0].auto_model.get_input_embeddings().weight
    lengths = weight[: token_map.shape[1]].norm(dim=1).double().detach().numpy()
    factor = token_map.weights[rows.numpy()] @ lengths / weight[rows].norm(dim=1).double().detach().numpy()
    with torch.no_grad():
        weight[rows] *= torch.from_numpy(factor**power).to(weight.dtype)[:, None]
    return encoder


def capped_rates(vectors: csr_matrix, added: NDArray[np.bool_], rates: NDArray[np.float64]) -> NDArray[np.float64]:
    """Shift of every added column, in logits, that leaves it active in at most a share ``rates`` of the texts."""
    columns = vectors.tocsc()
    allowed = (rates * vectors.shape[0]).astype(np.int64)
    shift = np.zeros(vectors.shape[1])
    for column in np.flatnonzero(added & (np.diff(columns.indptr) > allowed)):
        values = columns.data[columns.indptr[column] : columns.indptr[column + 1]]
        shift[column] = np.expm1(np.sort(values)[::-1][allowed[column]])
    return shift


def mixed_rates(english: csr_matrix, token_map: TokenMap) -> NDArray[np.float64]:
    """How often every token would be active if it were so as often as the tokens it is made of are in English."""
    rates = np.diff(english.tocsc().indptr)[: token_map.shape[1]] / english.shape[0]
    return np.asarray(token_map.weights @ rates)


def shifted(vectors: csr_matrix, shift: NDArray[np.float64]) -> csr_matrix:
    """What the encoder gives with a decoder bias lowered by ``shift``."""
    result = vectors.copy()
    result.data = np.log1p(np.maximum(np.expm1(result.data) - shift[result.indices], 0)).astype(np.float32)
    result.eliminate_zeros()
    return result


def scores(vectors: dict[str, csr_matrix], keep: NDArray[np.bool_]) -> dict[str, float]:
    """nDCG@10 in four directions, and active entries in the language."""
    kept = {side: matrix.multiply(keep.astype(np.float32)).tocsr() for side, matrix in vectors.items()}
    for matrix in kept.values():
        matrix.eliminate_zeros()
    count = kept["query"].shape[0]
    texts = {f"d{i}": "." for i in range(count)}
    pool = Collection("dev", texts, {f"q{i}": "." for i in range(count)}, {f"q{i}": {f"d{i}": 1} for i in range(count)})
    found = {}
    for name, (query, document) in DIRECTIONS.items():
        result = evaluate_vectors(kept[SIDES[query]], kept[SIDES[document]], pool, name=name, started=0.0, settings={})
        found[name] = float(result.to_dict()["ndcg@10"])
    return found | {f"{side}_active_dims": kept[side].nnz / count for side in SIDES}


def encodings(encoder: Any, texts: dict[str, Texts]) -> dict[str, dict[str, csr_matrix]]:
    roles = {side: "query" if side.startswith("query") else "document" for side in SIDES}
    return {
        pool: {side: encode_texts(encoder, found[side], role=roles[side], dtype="bfloat16") for side in SIDES}  # type: ignore[arg-type]
        for pool, found in texts.items()
    }


def carried(language: str, alpha: float = 4.0) -> tuple[Any, TokenMap]:
    """An encoder that reads English and the language, and writes everything."""
    encoder, report = isthmus.transfer(
        ENCODER,
        target_tokenizer=[f"isthmus/tokenizer-{language}"],
        bridge=BRIDGE,
        keep_source=True,
        output="both",
        fold=1,
        alpha=alpha,
        csls=False,
        refine=False,
        standardize=False,
    )
    return encoder.float(), report.token_map


def measure(data: Path, language: str, limit: int, seed: int) -> Iterator[dict[str, Any]]:
    """One row for every output, remedy and pool."""
    texts = {"sections": sections(data, language, limit, seed), "cloze": cloze(data, language, limit, seed)}
    encoder, token_map = carried(language)
    masks = written(language)
    vectors = encodings(encoder, texts)
    english, background = (
        encode_texts(encoder, found, role="document", dtype="bfloat16")
        for found in unlabelled(data, language, limit, seed)
    )

    def rows(remedy: str, found: dict[str, dict[str, csr_matrix]], keeps: dict[str, NDArray[np.bool_]]) -> Any:
        for output, keep in keeps.items():
            for pool, sides in found.items():
                place = {"language": language, "pool": pool, "output": output, "remedy": remedy}
                yield place | {"pairs": len(texts[pool]["query"])} | scores(sides, keep)

    yield from rows("none", vectors, masks)
    crowded = {output: masks[output] for output in ("target", "both")}
    own = np.arange(token_map.shape[0])
    for threshold in FOLDS:
        folded = {
            output: keep & (representatives(token_map.weights, keep, threshold) == own)
            for output, keep in crowded.items()
        }
        yield from rows(f"one for all above cosine {threshold}", vectors, folded)
    caps = {f"active in at most {rate:.0%} of texts": np.full(len(own), rate) for rate in RATES}
    caps["active as often as its source tokens in English"] = mixed_rates(english, token_map)
    for remedy, rates in caps.items():
        shift = capped_rates(background, ~masks["source"], rates)
        calibrated = {pool: {side: shifted(m, shift) for side, m in sides.items()} for pool, sides in vectors.items()}
        yield from rows(remedy, calibrated, crowded)
    yield from rows("length restored by half", encodings(lengthened(encoder, token_map, 0.5), texts), masks)
    with letters_kept():
        encoder, _ = carried(language)
    every = {"source": own < token_map.shape[1]}
    yield from rows("letters of other scripts kept", encodings(encoder, texts), every)
    for alpha in ALPHAS:
        encoder, _ = carried(language, alpha)
        yield from rows(f"alpha {alpha:g}", encodings(encoder, texts), masks)


@contextmanager
def letters_kept() -> Iterator[None]:
    """Transfer as if the English vocabulary's letters of other scripts were English."""

    def join(*arguments: Any) -> Any:
        joined = join_tokenizers(*arguments)
        none = np.zeros(len(joined.known), dtype=np.bool_)
        return replace(joined, foreign=none, handed_over=none)

    with patch("isthmus.transferring.columns.join_tokenizers", join):
        yield


def written(language: str) -> dict[str, NDArray[np.bool_]]:
    """Columns of every output."""
    joined = join_tokenizers(load_tokenizer(ENCODER), [load_tokenizer(f"isthmus/tokenizer-{language}")])
    return {output: ~unwritten_columns(output, joined) for output in ("source", "target", "both")}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, default=os.environ.get("ISTHMUS_DATA"))
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results/crowding.json"))
    parser.add_argument("--languages", default=",".join(LANGUAGES))
    parser.add_argument("--limit", type=int, default=150)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    if args.data is None:
        parser.error("--data must name the folder with the development pairs (or set ISTHMUS_DATA)")
    run = {"encoder": fingerprint(ENCODER), "bridge": fingerprint(BRIDGE), "limit": args.limit, "seed": args.seed}
    found = json.loads(args.output.read_text())["rows"] if args.output.exists() else []
    found = [row for row in found if row["run"] == run]
    for language in args.languages.split(","):
        if any(row["language"] == language for row in found):
            continue
        for row in measure(Path(args.data), language, args.limit, args.seed):
            found.append(row | {"run": run})
            sys.stderr.write(f"{language} {row['pool']} {row['output']}, {row['remedy']}: {row['l-l']:.3f}\n")
        atomic_write(args.output, json.dumps({"rows": found}, indent=1).encode())


if __name__ == "__main__":
    main()
