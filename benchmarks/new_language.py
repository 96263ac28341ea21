r"""A language nobody prepared: from raw text and a bridge to search, in German and in Bengali.

    python recipes/mini_bridge.py --out runs/bridge-de-bn --languages de,bn \
        --vocabulary 32000 --steps 2500 --without-development
    ISTHMUS_DATA=... python benchmarks/new_language.py --bridge runs/bridge-de-bn/model

The raw text is the German or Bengali side of the parallel files, without the sentences of the development sections. A
tokenizer is trained on it, and every method carries the English encoder over to it with its defaults; nothing is
chosen. One JSON per cell (language, collection, pool, arm) with nDCG@10 by query beside it; a finished cell is not
measured again. ``summary.json`` compares the arms, ``LANGUAGE.ready.json`` has what the doctor says.
"""

from __future__ import annotations

import argparse
import json
import lzma
import os
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from cells import Cell, fingerprint, summarize, use_data, write_cell
from dev_pairs import paired, section_rows
from zero_shot import sample_queries, say

import isthmus
from isthmus.collections import Collection, load
from isthmus.diagnostics import diagnose
from isthmus.evaluation import BM25, evaluate_vectors
from isthmus.evaluation.models import encode, load_model, settings_of
from isthmus.lexical import add_lexical
from isthmus.lexical.options import POWER, WEIGHT
from isthmus.modules.lexical import KNOWN_SHARE
from isthmus.options import EncodeOptions
from isthmus.reading.storage import atomic_write, read_json
from isthmus.token_map import Fate
from isthmus.vocabulary import join_tokenizers, train_tokenizer

LANGUAGES = ("de", "bn")
TRANSFERS: dict[str, dict[str, Any]] = {
    "random": {"method": "random"},
    "nearest": {"method": "nearest", "refine": False},
    "sembridge": {"method": "sembridge", "refine": False, "standardize": False},
    # Of a language in the same script, words that are spelled as English ones often mean something else.
    "sembridge-not-copied": {
        "method": "sembridge",
        "refine": False,
        "standardize": False,
        "exact": False,
        "fuzzy": False,
    },
    "sembridge-keep-source": {"method": "sembridge", "refine": False, "standardize": False, "keep_source": True},
    "nearest-keep-source": {"method": "nearest", "refine": False, "keep_source": True},
    "random-keep-source": {"method": "random", "keep_source": True},
}
# Behind the name of an arm: with the words of the passages given back (docs/identity.md).
ECHO = "-echo"
WITHIN = (
    "bm25", "base", "base-echo", "bridge", "random", "nearest", "sembridge", "sembridge-not-copied", "sembridge-echo",
    "sembridge-keep-source", "sembridge-keep-source-echo",
)  # fmt: skip
ACROSS = (
    "bm25", "base", "bridge", "random-keep-source", "nearest-keep-source", "sembridge-keep-source",
    "sembridge-keep-source-echo",
)  # fmt: skip
# German is written in the script of the source, whose vocabulary can then not be kept.
KEPT = ("bn",)
DIAGNOSED = ("sembridge", "sembridge-keep-source")
OPTIONS: dict[str, Any] = {"dtype": "bfloat16", "max_active_dims": None, "stock_head": False}


def raw_text(language: str, args: argparse.Namespace) -> Path:
    """File of the raw text, one sentence a line."""
    path: Path = args.work / f"{language}.txt"
    if not path.exists():
        sys.path.append(str(Path(__file__).parent.parent / "recipes"))
        from data import parallel_pairs, without_development

        rows = without_development(args.data, language, parallel_pairs(args.data, language))
        atomic_write(path, "".join(f"{row[2]}\n" for row in rows).encode())
    return path


def tokenizer_folder(language: str, args: argparse.Namespace) -> Path:
    """The tokenizer trained on the raw text, with the defaults."""
    folder: Path = args.work / f"tokenizer-{language}"
    if not (folder / "tokenizer_report.json").exists():
        texts = raw_text(language, args).read_text(encoding="utf-8").split("\n")
        tokenizer, report = train_tokenizer(texts, language=language)
        tokenizer.save_pretrained(str(folder))
        report.save(folder)
    return folder


def with_other_sections(collection: Collection, language: str, args: argparse.Namespace) -> Collection:
    """A larger pool: other sections of the same kind of documentation, each text once."""
    with lzma.open(args.data / f"sections/en-{language}.jsonl.xz", "rt", encoding="utf-8") as stream:
        rows = [json.loads(line)["passage"].strip() for line in stream]
    known = {text.strip() for text in collection.corpus.values()}
    others = [text for text in dict.fromkeys(rows) if text and text not in known]
    chosen = np.random.default_rng(args.seed).choice(len(others), min(args.distractors, len(others)), replace=False)
    added = {f"s{i}": others[i] for i in sorted(chosen.tolist())}
    return replace(collection, corpus=collection.corpus | added, distractors=len(added))


def pools(language: str, args: argparse.Namespace) -> Iterator[tuple[str, Collection, tuple[str, ...]]]:
    """(pool, collection, arms) of a language."""
    within = tuple(arm for arm in WITHIN if language in KEPT or "keep-source" not in arm)
    if language == "de":
        yield "alone", sample_queries(load("xquad", language="de"), args.max_queries, args.seed), within
    rows = section_rows(args.data, language, sys.maxsize, args.seed, queries=("query", "query_en"))
    passages = [row["passage"] for row in rows]
    sections = paired("sections-dev", [row["query"] for row in rows], passages, language)
    yield "alone", sections, within
    if language not in KEPT:
        return
    yield f"sections-{args.distractors}", with_other_sections(sections, language, args), within
    across = paired("en-sections-dev", [row["query_en"] for row in rows], passages, language)
    yield f"sections-{args.distractors}", with_other_sections(across, language, args), ACROSS
    with lzma.open(args.data / f"parallel_dev/flores_dev.en-{language}.tsv.xz", "rt", encoding="utf-8") as stream:
        sentences = [line.rstrip("\n").split("\t") for line in stream]
    flores = paired("en-flores-dev", [row[0] for row in sentences], [row[1] for row in sentences], language)
    yield "alone", sample_queries(flores, args.max_queries, args.seed), ACROSS


def make_model(arm: str, language: str, across: bool, args: argparse.Namespace) -> tuple[Any, Any]:
    """The model of an arm without its echo, and the report of its transfer where there was one."""
    arm = arm.removesuffix(ECHO)
    tokenizer = tokenizer_folder(language, args)
    if arm == "bm25":
        return BM25(_joined(tokenizer, args) if across else tokenizer), None
    if arm in ("base", "bridge"):
        return load_model(args.encoder if arm == "base" else args.bridge), None
    bridge = None if arm.startswith("random") else args.bridge
    return isthmus.transfer(
        args.encoder, target_tokenizer=tokenizer, bridge=bridge, seed=args.seed, language=language, **TRANSFERS[arm]
    )


def _joined(tokenizer: Path, args: argparse.Namespace) -> Any:
    from transformers import AutoTokenizer

    source = load_model(args.encoder).tokenizer
    return join_tokenizers(source, [AutoTokenizer.from_pretrained(str(tokenizer))]).tokenizer


def run_settings(args: argparse.Namespace) -> dict[str, Any]:
    """What all cells of a run have in common."""
    return {
        "encoder": fingerprint(args.encoder),
        "bridge": fingerprint(args.bridge),
        "tokenizers": {language: fingerprint(str(tokenizer_folder(language, args))) for language in LANGUAGES},
        "dtype": OPTIONS["dtype"],
        "seed": args.seed,
        "max_queries": args.max_queries,
        "distractors": args.distractors,
        "isthmus": isthmus.__version__,
    }


def make_cells(language: str, run: dict[str, Any], args: argparse.Namespace) -> list[Cell]:
    """All cells of a language."""
    cells = []
    for pool, collection, arms in pools(language, args):
        for arm in arms:
            settings = {
                "run": run,
                "language": language,
                "collection": collection.name,
                "pool": pool,
                "arm": arm,
                "transfer": TRANSFERS.get(arm.removesuffix(ECHO)),
            }
            if arm.endswith(ECHO):
                settings["lexical"] = {"mode": "echo", "weight": WEIGHT, "power": POWER}
                if "keep-source" in arm:
                    settings["lexical"]["known_share"] = KNOWN_SHARE["echo"]
            path = args.output / f"{language}.{collection.name}.{pool}.{arm}.json"
            cells.append(Cell(arm, pool, collection, path, settings))
    return cells


def measure(cells: Sequence[Cell], language: str, across: bool, args: argparse.Namespace) -> None:
    """Measure the cells of one arm, and let the doctor look at what it made."""
    started = time.perf_counter()
    model, report = make_model(cells[0].arm, language, across, args)
    made = time.perf_counter() - started
    for cell in cells:
        encoding = time.perf_counter()
        options = {} if isinstance(model, BM25) else OPTIONS
        texts = (list(cell.collection.queries.values()), list(cell.collection.corpus.values()))
        used = model
        if cell.arm.endswith(ECHO):
            kept = () if report is None else report.token_map.rows(Fate.KEPT).tolist()
            used = add_lexical(model, texts[1], "echo", known=kept, dtype=OPTIONS["dtype"])
        queries = encode(used, texts[0], role="query", **options)
        documents = encode(used, texts[1], role="document", **options)
        settings = {"seed": args.seed, **settings_of(used, EncodeOptions(**OPTIONS))}
        result = evaluate_vectors(
            queries, documents, cell.collection, name=cell.arm, settings=settings, started=encoding
        )
        write_cell(cell, result, None if report is None else report.to_dict(), made)
        say(f"{language} {cell.collection.name} {cell.pool} {cell.arm}: {result['ndcg@10']:.3f}")


def examine(language: str, run: dict[str, Any], args: argparse.Namespace) -> None:
    """What the doctor says of the new encoders, over the passages of the development sections."""
    path = args.output / f"{language}.ready.json"
    arms = [arm for arm in DIAGNOSED if language in KEPT or "keep-source" not in arm]
    wanted = {"run": run, "arms": {arm: TRANSFERS[arm] for arm in arms}}
    if path.exists() and read_json(path).get("settings") == wanted:
        return
    texts = [row["passage"] for row in section_rows(args.data, language, sys.maxsize, args.seed)]
    findings = {}
    for arm in arms:
        encoder, report = make_model(arm, language, False, args)
        found = diagnose(encoder, texts, report.token_map, seed=args.seed)
        findings[arm] = [finding.to_dict() for finding in found]
        for finding in found:
            say(f"{language} {arm}: {finding.level} {finding.check}: {finding.message}")
    tokenizer = read_json(tokenizer_folder(language, args) / "tokenizer_report.json")
    content = {"language": language, "settings": wanted, "tokenizer": tokenizer, "findings": findings}
    atomic_write(path, (json.dumps(content, ensure_ascii=False, indent=1) + "\n").encode())


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--languages", nargs="+", choices=LANGUAGES, default=list(LANGUAGES))
    parser.add_argument("--encoder", default="isthmus/mini-splade-en")
    parser.add_argument("--bridge", default="runs/bridge-de-bn/model", help="one that knows the languages")
    parser.add_argument("--data", type=Path, default=os.environ.get("ISTHMUS_DATA"), help="default: ISTHMUS_DATA")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results" / "new-language")
    parser.add_argument("--work", type=Path, default=Path("runs/new-language"), help="texts and tokenizers")
    parser.add_argument("--distractors", type=int, default=500, help="other sections in the larger pools")
    parser.add_argument("--max-queries", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    use_data(parser, args)
    return args


def main(argv: Sequence[str] | None = None) -> None:
    """Measure what is missing, then compare."""
    args = parse(argv)
    run = run_settings(args)
    for language in args.languages:
        cells = [cell for cell in make_cells(language, run, args) if not cell.done()]
        for across in (False, True):
            asked = [cell for cell in cells if cell.collection.name.startswith("en-") == across]
            for arm in dict.fromkeys(cell.arm for cell in asked):
                measure([cell for cell in asked if cell.arm == arm], language, across, args)
        examine(language, run, args)
    order = {"languages": LANGUAGES, "arms": list(dict.fromkeys((*WITHIN, *ACROSS)))}
    references = ("sembridge", "sembridge-keep-source", "bm25")
    summary = summarize(args.output, run, **order, references=references)
    atomic_write(args.output / "summary.json", (json.dumps(summary, ensure_ascii=False, indent=1) + "\n").encode())


if __name__ == "__main__":
    main()
