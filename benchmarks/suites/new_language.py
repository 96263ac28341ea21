r"""A language nobody prepared: from raw text and a bridge to search, in German and in Bengali.

    python recipes/mini_bridge.py --out runs/bridge-de-bn --languages de,bn \
        --vocabulary 32000 --steps 2500 --without-development
    ISTHMUS_DATA=... python -m benchmarks new-language --bridge runs/bridge-de-bn/model

The raw text is the German or Bengali side of the parallel files, without the sentences of the development sections. A
tokenizer is trained on it, and every method carries the English encoder over to it with its defaults; nothing is
chosen. ``ready`` in the result file has what the doctor says.
"""

from __future__ import annotations

import argparse
import json
import lzma
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import isthmus
from benchmarks import harness
from benchmarks.encoding import sample_queries, sides_of
from benchmarks.harness import PoolCell, Results, Row, fingerprint, markdown, say, timed
from benchmarks.pairs import paired, section_rows
from isthmus.collections import Collection, load
from isthmus.diagnostics import diagnose
from isthmus.encoders.load import load_tokenizer
from isthmus.evaluation import BM25, evaluate_vectors
from isthmus.evaluation.models import load_model, settings_of
from isthmus.lexical import add_lexical
from isthmus.lexical.options import POWER, WEIGHT
from isthmus.modules.lexical import KNOWN_SHARE
from isthmus.options import EncodeOptions
from isthmus.reading.storage import atomic_write, read_json
from isthmus.token_map import Fate
from isthmus.vocabulary import join_tokenizers, train_tokenizer

LANGUAGES = ("de", "bn")
SEMBRIDGE: dict[str, Any] = {"method": "sembridge", "refine": False, "standardize": False}
TRANSFERS: dict[str, dict[str, Any]] = {
    "random": {"method": "random"},
    "nearest": {"method": "nearest", "refine": False},
    "sembridge": SEMBRIDGE,
    # Of a language in the same script, words that are spelled as English ones often mean something else.
    "sembridge-not-copied": {**SEMBRIDGE, "exact": False, "fuzzy": False},
    "sembridge-keep-source": {**SEMBRIDGE, "keep_source": True},
    "nearest-keep-source": {"method": "nearest", "refine": False, "keep_source": True},
    "random-keep-source": {"method": "random", "keep_source": True},
}
# Behind the name of an arm: with the words of the passages given back (docs/results/exact-matching.md).
ECHO = "-echo"
NAMES = {
    "bm25": "BM25",
    "base": "base (English encoder untouched)",
    "base-echo": "base, echo",
    "bridge": "the bridge alone (dense)",
    "random": "random",
    "nearest": "nearest",
    "sembridge": "sembridge",
    "sembridge-not-copied": "sembridge, words not copied",
    "sembridge-echo": "sembridge, echo",
    "sembridge-keep-source": "sembridge, source kept",
    "sembridge-keep-source-echo": "sembridge, source kept, echo",
    "nearest-keep-source": "nearest, source kept",
    "random-keep-source": "random, source kept",
}
WITHIN = tuple(arm for arm in NAMES if arm not in ("nearest-keep-source", "random-keep-source"))
ACROSS = (
    "bm25", "base", "bridge", "random-keep-source", "nearest-keep-source", "sembridge-keep-source",
    "sembridge-keep-source-echo",
)  # fmt: skip
# German is written in the script of the source, whose vocabulary can then not be kept.
KEPT = ("bn",)
DIAGNOSED = ("sembridge", "sembridge-keep-source")
OPTIONS: dict[str, Any] = {"dtype": "bfloat16", "max_active_dims": None, "stock_head": False}
COLLECTIONS = {
    "xquad": "XQuAD",
    "sections-dev": "sections",
    "en-sections-dev": "English to sections",
    "en-flores-dev": "English to FLORES dev",
}


def raw_text(language: str, args: argparse.Namespace) -> Path:
    """File of the raw text, one sentence a line."""
    path: Path = args.work / f"{language}.txt"
    if not path.exists():
        sys.path.append(str(harness.ROOT / "recipes"))
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
    larger = f"sections-{args.distractors}"
    yield larger, with_other_sections(sections, language, args), within
    across = paired("en-sections-dev", [row["query_en"] for row in rows], passages, language)
    yield larger, with_other_sections(across, language, args), ACROSS
    with lzma.open(args.data / f"parallel_dev/flores_dev.en-{language}.tsv.xz", "rt", encoding="utf-8") as stream:
        sentences = [line.rstrip("\n").split("\t") for line in stream]
    flores = paired("en-flores-dev", [row[0] for row in sentences], [row[1] for row in sentences], language)
    yield "alone", sample_queries(flores, args.max_queries, args.seed), ACROSS


def make_model(arm: str, language: str, across: bool, args: argparse.Namespace) -> tuple[Any, Any]:
    """The model of an arm without its echo, and the report of its transfer where there was one."""
    arm = arm.removesuffix(ECHO)
    tokenizer = tokenizer_folder(language, args)
    if arm == "bm25":
        own = load_tokenizer(str(tokenizer))
        return BM25(join_tokenizers(load_tokenizer(args.encoder), [own]).tokenizer if across else tokenizer), None
    if arm in ("base", "bridge"):
        return load_model(args.encoder if arm == "base" else args.bridge), None
    options: Row = {"target_tokenizer": tokenizer, "seed": args.seed, "language": language, **TRANSFERS[arm]}
    return isthmus.transfer(args.encoder, bridge=None if arm.startswith("random") else args.bridge, **options)


def run_settings(args: argparse.Namespace) -> Row:
    """What all cells of a run have in common."""
    tokenizers = {language: fingerprint(str(tokenizer_folder(language, args))) for language in LANGUAGES}
    more = {"tokenizers": tokenizers, "dtype": OPTIONS["dtype"]}
    return harness.run_settings(args, "seed", "max_queries", "distractors", **more)


def make_cells(language: str, run: Row, args: argparse.Namespace) -> list[PoolCell]:
    """All cells of a language."""
    cells = []
    for pool, collection, arms in pools(language, args):
        for arm in arms:
            settings: Row = {"run": run, "transfer": TRANSFERS.get(arm.removesuffix(ECHO))}
            if arm.endswith(ECHO):
                share = {"known_share": KNOWN_SHARE["echo"]} if "keep-source" in arm else {}
                settings["lexical"] = {"mode": "echo", "weight": WEIGHT, "power": POWER, **share}
            cells.append(harness.pool_cell(language, pool, collection, arm, **settings))
    return cells


def measure(results: Results, cells: Sequence[PoolCell], language: str, across: bool, args: Any) -> None:
    """Measure the cells of one arm."""
    (model, report), made = timed(lambda: make_model(cells[0].arm, language, across, args))
    for cell in cells:
        started, used = time.perf_counter(), model
        if cell.arm.endswith(ECHO):
            kept = () if report is None else report.token_map.rows(Fate.KEPT).tolist()
            texts = list(cell.collection.corpus.values())
            used = add_lexical(model, texts, "echo", known=kept, dtype=OPTIONS["dtype"])
        sides = sides_of(used, cell.collection, **OPTIONS)
        settings = {"seed": args.seed, **settings_of(used, EncodeOptions(**OPTIONS))}
        result = evaluate_vectors(*sides, cell.collection, name=cell.arm, settings=settings, started=started)
        harness.add_pool(results, cell, result, None if report is None else report.to_dict(), made)
        say(f"{cell.name}: {result['ndcg@10']:.3f}")


def examine(results: Results, language: str, run: Row, args: argparse.Namespace) -> None:
    """What the doctor says of the new encoders, over the passages of the development sections."""
    arms = [arm for arm in DIAGNOSED if language in KEPT or "keep-source" not in arm]
    wanted = {"run": run, "arms": {arm: TRANSFERS[arm] for arm in arms}}
    ready = results.content.get("ready", {})
    if ready.get(language, {}).get("settings") == wanted:
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
    results.update(ready=ready | {language: {"settings": wanted, "tokenizer": tokenizer, "findings": findings}})


def main(argv: Sequence[str] | None = None) -> None:
    """Measure what is missing, then compare."""
    parser = harness.parser_of(__doc__, "new-language", languages=LANGUAGES, work="runs/new-language")
    parser.add_argument("--encoder", default=harness.ENCODER)
    parser.add_argument("--bridge", default="runs/bridge-de-bn/model", help="one that knows the languages")
    parser.add_argument("--distractors", type=int, default=500, help="other sections in the larger pools")
    parser.add_argument("--max-queries", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    args = harness.parse(parser, argv)
    results, run = Results(args.output), run_settings(args)
    for language in args.languages:
        cells = [cell for cell in make_cells(language, run, args) if not results.done(cell)]
        for across in (False, True):
            asked = [cell for cell in cells if cell.collection.name.startswith("en-") == across]
            for arm in dict.fromkeys(cell.arm for cell in asked):
                measure(results, [cell for cell in asked if cell.arm == arm], language, across, args)
        examine(results, language, run, args)
    references = ("sembridge", "sembridge-keep-source", "bm25")
    harness.compare_pools(results, run, languages=LANGUAGES, arms=list(NAMES), references=references)


def scores_table(results: Path, *, language: str) -> str:
    """nDCG@10 with its interval, by arm and pool; marked where the difference to sembridge is significant."""
    _, cells, tests = harness.compared_pools(results / "new_language.json")
    found = {place[1:]: arms for place, arms in harness.by_pool(cells).items() if place[0] == language}
    pools = sorted(found, key=lambda pool: (list(COLLECTIONS).index(pool[0]), pool[1] != "alone"))

    def shown(pool: tuple[str, str], arm: str) -> str:
        cell = found[pool].get(arm)
        if cell is None:
            return ""
        reference = "sembridge" if "sembridge" in found[pool] else "sembridge-keep-source"
        mark = harness.arrow(tests.get((language, *pool, arm, reference)))
        return harness.with_interval(cell["ndcg@10"], cell["ndcg@10_interval"]) + mark

    sizes = {pool: next(iter(found[pool].values())) for pool in pools}
    header = [
        f"{COLLECTIONS[pool[0]]}: {cell['queries']} queries, {cell['documents']:,} passages"
        for pool, cell in sizes.items()
    ]
    rows = [[NAMES[arm], *(shown(pool, arm) for pool in pools)] for arm in NAMES]
    text = (
        "nDCG@10 with its 95 % bootstrap interval; ▲ ▼ above or below sembridge (with the source kept where there is "
        f"no other), paired bootstrap over queries, p < {harness.LEVEL}. Nothing was trained on queries, and nothing "
        "chosen by these numbers."
    )
    return markdown(["", *header], [row for row in rows if any(row[1:])], text)


def ready_table(results: Path) -> str:
    """What the doctor says of the new encoders that is not in order, and the tokenizers that were trained."""
    rows, lines = [], []
    for language, found in Results(results / "new_language.json").content["ready"].items():
        for arm, findings in found["findings"].items():
            known = next(finding for finding in findings if finding["check"] == "known-item")
            wrong = [one for one in findings if one["level"] in ("error", "warning") and one is not known]
            told = "; ".join(f"{finding['level']} {finding['check']}" for finding in wrong) or "none"
            rows.append([f"{language}, {NAMES[arm]}", f"{known['level']}: {known['message']}", told])
        made = found["tokenizer"]
        lines.append(
            f"Tokenizer {language}: {made['vocabulary_size']:,} entries from {made['lines']:,} lines "
            f"({made['characters'] / 1e6:.1f} million characters); on {made['held_out_lines']:,} lines kept out "
            f"{made['fertility']:.2f} tokens per word, {made['unknown_characters']:.2%} of the characters unknown."
        )
    return markdown(["encoder", "known-item", "other findings"], rows, lines)


TABLES = {
    "new-language-de": lambda results: scores_table(results, language="de"),
    "new-language-bn": lambda results: scores_table(results, language="bn"),
    "new-language-ready": ready_table,
}
