"""Bridges that people have: published and built-in ones, as they come, refined, and taught by sentences.

    make models && ISTHMUS_DATA=... python -m benchmarks bridges

Every cell is one transfer: a language, an encoder, a bridge, what was done to it, the vocabulary replaced or kept. It
is measured on development pairs, where choices are made (*sections*, *cloze* and, with the source kept, sections asked
by their English headings), and on XQuAD or KorQuAD, which are only measured. Texts that a bridge learns from are
sentences of parallel files, the English ones from another file than those of the language, without the prose that
development reads. Bridges run in bfloat16. One row a cell.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import lzma
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch

import isthmus
from benchmarks import harness
from benchmarks.harness import ENCODER, TOKENIZER, Row, fingerprint, markdown, say
from benchmarks.pairs import LEFT_OUT, PROSE, cloze, paired, section_rows, sections
from isthmus.assets import cache_folder
from isthmus.bridge import open_bridge
from isthmus.collections import Collection, load
from isthmus.encoders.load import load_encoder, load_tokenizer
from isthmus.evaluation import BM25, evaluate_model
from isthmus.transferring import transfer_encoder

LANGUAGES = ("zh", "ru", "ko", "ar", "hi")
ENCODERS = ("published/splade-tiny", ENCODER)
BRIDGES = ("published/multilingual-e5-small", harness.BRIDGE)
SHORT = {name: name.rpartition("/")[2] for name in (*ENCODERS, *BRIDGES)}
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
REPORTED = ("bridge_refinement", "support_mean", "best_similarity", "seconds")


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
    english = sentences(data, "zh" if language == "ru" else "ru", 1, 1)
    return {"bridge_texts": sentences(data, language, 2, 1), "bridge_source_texts": english}


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


def cells(args: argparse.Namespace) -> Iterator[Row]:
    """All cells, what decides first."""
    for encoder, language in itertools.product(args.encoders, args.languages):
        arms = [(None, "BM25", False)]
        for bridge in args.bridges:
            arms += [(bridge, arm, kept) for kept in (False, True) for arm in (KEPT if kept else ARMS)]
        for bridge, arm, kept in [*arms, *((None, arm, False) for arm in WITHOUT_BRIDGE)]:
            yield {"language": language, "encoder": encoder, "bridge": bridge, "arm": arm, "kept": kept}


def make(cell: Row, args: argparse.Namespace) -> tuple[Any, Row]:
    """The model of a cell, and what its report says of the bridge."""
    tokenizer = TOKENIZER.format(language=cell["language"])
    if cell["arm"] == "BM25":
        return BM25(tokenizer), {}
    options = dict((ARMS | WITHOUT_BRIDGE)[cell["arm"]])
    if options.pop("texts", False):
        options |= texts_of(args.data, cell["language"])
    if options["method"] == "focus":
        options["texts"] = texts_of(args.data, cell["language"])["bridge_texts"]
    bridge = None if cell["bridge"] is None else bridge_of(cell["bridge"])
    model, report = transfer_encoder(
        load_encoder(cell["encoder"]), load_tokenizer(tokenizer), bridge=bridge, keep_source=cell["kept"],
        seed=args.seed, show_progress_bar=False, **options,
    )  # fmt: skip
    stated = report.to_dict()
    return model, {name: stated[name] for name in REPORTED}


def main(argv: Sequence[str] | None = None) -> None:
    """Measure what is missing."""
    parser = harness.parser_of(__doc__, "bridges", languages=LANGUAGES)
    parser.add_argument("--encoders", nargs="+", default=ENCODERS)
    parser.add_argument("--bridges", nargs="+", default=BRIDGES)
    parser.add_argument("--seed", type=int, default=0)
    args = harness.parse(parser, argv)
    rows = harness.read_rows(args.output)
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
                scores[pool] = {name: result[name] for name in ("ndcg@10", "documents", "flops")}
        rows.append(key | {"pools": scores, "report": made})
        harness.write_json(args.output, {"rows": rows})
        told = ", ".join(f"{pool} {found['ndcg@10']:.3f}" for pool, found in scores.items())
        say(f"{' '.join(str(value) for value in cell.values())}: {told}")


def scores_table(results: Path, *, encoder: str, kept: bool) -> str:
    """nDCG@10 by bridge and what was done with it: evaluation collection by language, then development means."""
    every = harness.read_rows(results / "bridges.json")
    rows = [row for row in every if (row["encoder"], row["kept"]) == (encoder, kept)]
    languages = [language for language in LANGUAGES if any(row["language"] == language for row in rows)]
    order: list[tuple[str | None, str]] = [] if kept else [(None, "BM25")]
    order += [(bridge, arm) for bridge in BRIDGES for arm in (KEPT if kept else ARMS)]
    order += [] if kept else [(None, arm) for arm in WITHOUT_BRIDGE]
    lines = []
    for bridge, arm in order:
        found = {row["language"]: row for row in rows if (row["bridge"], row["arm"]) == (bridge, arm)}
        if found:
            title = arm if bridge is None else f"{SHORT[bridge]}: {arm}"
            lines.append([title, *_scores(found, languages)])
    sizes = sorted({pool["documents"] for row in rows for name, pool in row["pools"].items() if name.endswith("quad")})
    vocabulary, pools = "kept" if kept else "replaced", " and ".join(map(str, sizes))
    text = (
        f"nDCG@10, zero-shot, {SHORT[encoder]}, vocabulary {vocabulary}: XQuAD (KorQuAD in Korean), pools of {pools} "
        "passages; development is the mean of *sections* and *cloze* over the languages. Seed 0; encoders and bridges "
        "in bfloat16. What was not measured is empty."
    )
    return markdown(["bridge: method", *languages, "mean", "development"], lines, text)


def _scores(found: dict[str, Row], languages: Sequence[str]) -> list[str]:
    scores = {
        language: next(pool["ndcg@10"] for name, pool in row["pools"].items() if name.endswith("quad"))
        for language, row in found.items()
    }
    cells = [f"{scores[language]:.3f}" if language in scores else "" for language in languages]
    # A mean over some of the languages would not stand beside one over all.
    if len(scores) < len(languages):
        return [*cells, "", ""]
    development = [row["pools"][pool]["ndcg@10"] for row in found.values() for pool in ("sections", "cloze")]
    return [*cells, f"{fmean(scores.values()):.3f}", f"{fmean(development):.3f}"]


TABLES = {
    f"bridges-{SHORT[encoder]}-{'kept' if kept else 'replaced'}": partial(scores_table, encoder=encoder, kept=kept)
    for encoder in ENCODERS
    for kept in (False, True)
}
