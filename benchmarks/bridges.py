"""Bridges that people have: published and built-in ones, as they come, refined, and taught by sentences.

    make models && ISTHMUS_DATA=... python benchmarks/bridges.py

Every cell is one transfer: a language, an encoder, a bridge, what was done to it, the vocabulary replaced or kept. It
is measured on development pairs, where choices are made (*sections*, *cloze* and, with the source kept, sections asked
by their English headings), and on XQuAD or KorQuAD, which are only measured. Texts that a bridge learns from are
sentences of parallel files, the English ones from another file than those of the language, without the prose that
development reads. Bridges run in bfloat16. One row a cell in one file, resumable.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import json
import lzma
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from cells import fingerprint, use_data
from dev_pairs import PROSE, cloze, paired, section_rows, sections
from training_pairs import LEFT_OUT
from zero_shot import say

import isthmus
from isthmus.assets import cache_folder
from isthmus.bridge import open_bridge
from isthmus.collections import Collection, load
from isthmus.encoders.load import load_encoder, load_tokenizer
from isthmus.evaluation import BM25, evaluate_model
from isthmus.reading.storage import atomic_write
from isthmus.transferring import transfer_encoder

LANGUAGES = ("zh", "ru", "ko", "ar", "hi")
ENCODERS = ("published/splade-tiny", "isthmus/mini-splade-en")
BRIDGES = ("published/multilingual-e5-small", "isthmus/mini-bridge")
PLAIN: dict[str, Any] = {"refine": False}
TEXTS: dict[str, Any] = {"texts": True}
# What is done with a bridge; "texts" stands for sentences of both languages.
ARMS: dict[str, dict[str, Any]] = {
    "sembridge, refined": {"method": "sembridge"},
    "sembridge, taught": {"method": "sembridge"} | TEXTS,
    "sembridge, as it comes": {"method": "sembridge", "standardize": False} | PLAIN,
    "sembridge, centred only": {"method": "sembridge", "standardize": False},
    "nearest, as it comes": {"method": "nearest"} | PLAIN,
    "nearest, refined": {"method": "nearest"},
    "nearest, taught": {"method": "nearest"} | TEXTS,
    "ofa, refined": {"method": "ofa", "temperature": 0.02},
    "ofa, as it comes": {"method": "ofa", "temperature": 0.02} | PLAIN,
}
KEPT = ("sembridge, refined", "sembridge, taught", "sembridge, as it comes", "nearest, refined")
WITHOUT_BRIDGE: dict[str, dict[str, Any]] = {
    "multivariate-gaussian": {"method": "multivariate-gaussian"},
    "gaussian": {"method": "gaussian"},
    "focus, PPMI": {"method": "focus", "space": "ppmi"},
}
SENTENCES = 24_000
DEVELOPMENT = 150


def sentences(data: Path, language: str, column: int, seed: int) -> list[str]:
    """Sentences of one side of a parallel file, 15 to 160 characters, 8 in Chinese; column 1 is English."""
    least = 8 if (language, column) == ("zh", 2) else 15
    found = []
    with lzma.open(data / f"parallel/en-{language}.tsv.xz", "rt", encoding="utf-8") as stream:
        for line in stream:
            row = line.rstrip("\n").split("\t")
            text = row[column].strip()
            if not row[0].startswith((*PROSE, *LEFT_OUT, "wiki_titles", "cedict")) and least <= len(text) <= 160:
                found.append(text)
    found = list(dict.fromkeys(found))
    chosen = np.random.default_rng(seed).choice(len(found), min(SENTENCES, len(found)), replace=False)
    return [found[place] for place in sorted(chosen.tolist())]


@functools.cache
def texts_of(data: Path, language: str) -> dict[str, list[str]]:
    """Sentences to teach a bridge."""
    return {
        "bridge_texts": sentences(data, language, 2, 1),
        "bridge_source_texts": sentences(data, "zh" if language == "ru" else "ru", 1, 1),
    }


@functools.cache
def bridge_of(name: str) -> Any:
    """A bridge that remembers, on disk too, what it has embedded: cells share most of their texts."""
    model = open_bridge(name)
    path = cache_folder() / "benchmarks" / f"{fingerprint(name)}.npz"
    known: dict[tuple[str, str], Any] = {}
    if path.is_file():
        with np.load(path) as stored:
            keys = zip(stored["prompts"].tolist(), stored["texts"].tolist(), strict=True)
            known = dict(zip(keys, stored["vectors"], strict=True))
    encode = model.encode

    def remembering(texts: list[str], *, prompt: str = "", **options: Any) -> Any:
        missing = sorted({text for text in texts if (prompt, text) not in known}, key=lambda text: (len(text), text))
        if missing:
            wide = next(model.parameters()).dtype == torch.float32
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=wide):
                rows = encode(missing, prompt=prompt, **options)
            known.update(zip(((prompt, text) for text in missing), rows, strict=True))
            path.parent.mkdir(parents=True, exist_ok=True)
            prompts, kept = zip(*known, strict=True)
            partial = path.with_suffix(".partial.npz")
            np.savez(partial, prompts=np.array(prompts), texts=np.array(kept), vectors=np.stack(list(known.values())))
            partial.replace(path)
        return np.stack([known[prompt, text] for text in texts])

    model.encode = remembering
    return model


@functools.cache
def pools_of(data: Path, language: str) -> dict[str, Collection]:
    """Development pairs, and the evaluation collection of a language."""
    rows = section_rows(data, language, DEVELOPMENT, 0, queries=("query", "query_en"))
    name = "korquad" if language == "ko" else "xquad"
    return {
        "sections": sections(data, language, DEVELOPMENT, 0),
        "cloze": cloze(data, language, DEVELOPMENT, 0),
        "sections, English headings": paired("", [row["query_en"] for row in rows], [row["passage"] for row in rows]),
        name: load(name, language=language),
    }


def cells(args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """All cells, what decides first."""
    for encoder, language in itertools.product(args.encoders, args.languages):
        yield {"language": language, "encoder": encoder, "bridge": None, "arm": "BM25", "kept": False}
        for bridge in args.bridges:
            for kept in (False, True):
                for arm in KEPT if kept else ARMS:
                    yield {"language": language, "encoder": encoder, "bridge": bridge, "arm": arm, "kept": kept}
        for arm in WITHOUT_BRIDGE:
            yield {"language": language, "encoder": encoder, "bridge": None, "arm": arm, "kept": False}


def make(cell: dict[str, Any], args: argparse.Namespace) -> tuple[Any, dict[str, Any]]:
    """The model of a cell, and what its report says of the bridge."""
    tokenizer = f"isthmus/tokenizer-{cell['language']}"
    if cell["arm"] == "BM25":
        return BM25(tokenizer), {}
    options = dict((ARMS | WITHOUT_BRIDGE)[cell["arm"]])
    if options.pop("texts", False):
        options |= texts_of(args.data, cell["language"])
    if options["method"] == "focus":
        options["texts"] = texts_of(args.data, cell["language"])["bridge_texts"]
    options |= {"keep_source": cell["kept"], "seed": args.seed}
    model, report = transferred(cell["encoder"], cell["bridge"], cell["language"], **options)
    stated = report.to_dict()
    return model, {name: stated[name] for name in ("bridge_refinement", "support_mean", "best_similarity", "seconds")}


def transferred(encoder: str, bridge: str | None, language: str, **options: Any) -> tuple[Any, Any]:
    """An encoder carried over to a language with a bridge that remembers, and the report."""
    return transfer_encoder(
        load_encoder(encoder), load_tokenizer(f"isthmus/tokenizer-{language}"),
        bridge=None if bridge is None else bridge_of(bridge), show_progress_bar=False, **options,
    )  # fmt: skip


def main() -> None:
    """Measure what is missing."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, default=os.environ.get("ISTHMUS_DATA"), help="default: ISTHMUS_DATA")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results" / "bridges.json")
    parser.add_argument("--languages", nargs="+", choices=LANGUAGES, default=LANGUAGES)
    parser.add_argument("--encoders", nargs="+", default=ENCODERS)
    parser.add_argument("--bridges", nargs="+", default=BRIDGES)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    use_data(parser, args)
    rows = json.loads(args.output.read_text())["rows"] if args.output.exists() else []
    run = {"seed": args.seed, "isthmus": isthmus.__version__, "dtype": "bfloat16"}
    for cell in cells(args):
        prints = {side: cell[side] and fingerprint(cell[side]) for side in ("encoder", "bridge")}
        key = cell | {"run": run | prints}
        if any(key.items() <= row.items() for row in rows):
            continue
        model, made = make(cell, args)
        scores = {}
        for pool, collection in pools_of(args.data, cell["language"]).items():
            if cell["kept"] or not pool.endswith("English headings"):
                result = evaluate_model(model, collection, dtype="bfloat16", show_progress_bar=False).to_dict()
                scores[pool] = {
                    "ndcg@10": result["ndcg@10"],
                    "documents": result["documents"],
                    "flops": result["flops"],
                }
        rows.append(key | {"pools": scores, "report": made})
        atomic_write(args.output, json.dumps({"rows": rows}, ensure_ascii=False, indent=1).encode())
        told = ", ".join(f"{pool} {found['ndcg@10']:.3f}" for pool, found in scores.items())
        say(f"{' '.join(str(value) for value in cell.values())}: {told}")


if __name__ == "__main__":
    main()
