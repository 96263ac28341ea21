"""Write the tables of the documentation from the result files.

    python benchmarks/tables.py            rewrite every table
    python benchmarks/tables.py --check    fail when one is stale

A table stands between ``<!-- table:NAME -->`` and ``<!-- /table -->`` in README.md or a file below docs/.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from alignment_published_tables import (
    alignment_published,
    alignment_published_arms,
    alignment_published_copies,
    alignment_published_directions,
)
from alignment_tables import alignment, alignment_languages
from bilingual_tables import bilingual, bilingual_cost, bilingual_english, bilingual_korean, crowding
from bridges import ENCODERS
from bridges_tables import SHORT, bridges
from domain_tables import domain, domain_choices
from identity_choices import (
    identity_head,
    identity_kept,
    identity_settings,
    identity_taught,
    identity_trims,
    own_directions,
)
from identity_tables import (
    identity,
    identity_distilled,
    identity_large,
    identity_maps,
    identity_strata,
    identity_trimmed,
)
from new_language_tables import new_language, new_language_ready
from serve_tables import serve
from study_published import PAIRS, STAGES
from study_published_tables import study_published, study_published_languages, study_published_rates
from study_tables import study, study_alpha, study_cost, study_rates

from isthmus.reading.storage import atomic_write, read_json

ROOT = Path(__file__).parent.parent
MARKED = re.compile(r"(<!-- table:([\w-]+) -->\n)(.*?)(<!-- /table -->)", re.DOTALL)
INITIALISATIONS = (
    "random", "mean", "gaussian", "multivariate-gaussian", "nearest", "nearest-any-kind",
    "sembridge-released", "sembridge",
)  # fmt: skip
TITLES = {
    "bm25": "BM25",
    "base": "base",
    "multivariate-gaussian": "multivar. Gaussian",
    "gaussian": "Gaussian",
    "nearest-any-kind": "nearest (any kind)",
    "sembridge-released": "sembridge (released)",
    "sembridge": "**sembridge**",
    "minilm": "MiniLM (dense)",
}
COLLECTIONS = {"xquad": "XQuAD", "korquad": "KorQuAD", "drcd": "DRCD", "cmrc2018": "CMRC 2018", "arcd": "ARCD"}
LEVEL = 0.05


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; the first column is text, the others are numbers."""
    rules = ["---", *("---:" for _ in header[1:])]
    return "\n".join("| " + " | ".join(row) + " |" for row in (header, rules, *rows)) + "\n"


def by_pool(summary: dict[str, Any]) -> dict[tuple[str, str, str], dict[str, dict[str, Any]]]:
    """Cells by (language, collection, pool), then by arm."""
    found: dict[tuple[str, str, str], dict[str, dict[str, Any]]] = {}
    for cell in summary["cells"]:
        settings = cell["settings"]
        place = (settings["language"], settings["collection"], settings["pool"])
        found.setdefault(place, {})[cell["arm"]] = cell
    return found


def p_value(summary: dict[str, Any], place: tuple[str, str, str], arm: str, reference: str) -> float:
    """Paired p value of an arm against a reference; 1 where they were not compared."""
    for test in summary["comparisons"]:
        if (test["language"], test["collection"], test["pool"]) == place and (test["arm"], test["reference"]) == (
            arm,
            reference,
        ):
            return float(test["p_value"])
    return 1.0


def zero_shot(results: Path) -> str:
    """nDCG@10 of every arm on every pool."""
    summary = read_json(results / "zero_shot" / "summary.json")
    pools = by_pool(summary)
    arms = [
        arm for arm in ("bm25", "base", *INITIALISATIONS, "minilm") if any(arm in cells for cells in pools.values())
    ]
    rows = []
    for place, cells in pools.items():
        best = max(cells, key=lambda arm: cells[arm]["ndcg@10"])
        texts = []
        for arm in arms:
            if arm not in cells:
                texts.append("")
                continue
            text = f"{cells[arm]['ndcg@10']:.3f}"
            if arm == "sembridge":
                text += mark(summary, place, cells)
            texts.append(f"**{text}**" if arm == best else text)
        rows.append([*label(place, cells), *texts])
    header = ["collection", "passages", "queries", *(TITLES.get(arm, arm) for arm in arms)]
    return markdown(header, rows) + "\n" + notes(summary, pools)


def label(place: tuple[str, str, str], cells: dict[str, dict[str, Any]]) -> list[str]:
    """Collection, pool size and number of queries of a row."""
    language, collection, _ = place
    cell = next(iter(cells.values()))
    return [f"{COLLECTIONS.get(collection, collection)} {language}", f"{cell['documents']:,}", f"{cell['queries']:,}"]


def mark(summary: dict[str, Any], place: tuple[str, str, str], cells: dict[str, dict[str, Any]]) -> str:
    """A dagger where sembridge is significantly above every other initialisation."""
    own = cells["sembridge"]["ndcg@10"]
    others = [arm for arm in INITIALISATIONS if arm in cells and not arm.startswith("sembridge")]
    above = all(cells[arm]["ndcg@10"] < own and p_value(summary, place, arm, "sembridge") < LEVEL for arm in others)
    return " †" if others and above else ""


def notes(summary: dict[str, Any], pools: dict[tuple[str, str, str], dict[str, dict[str, Any]]]) -> str:
    """What the table means, counted from the same cells."""
    transferred = {place: cells for place, cells in pools.items() if "sembridge" in cells and place[0] != "en"}
    languages = sorted({place[0] for place in transferred})
    led = [language for language in languages if leads(language, transferred)]
    ahead = [
        f"{COLLECTIONS.get(place[1], place[1])} {place[0]} ({cells['bm25']['documents']:,} passages)"
        for place, cells in transferred.items()
        if "bm25" in cells and cells["bm25"]["ndcg@10"] > cells["sembridge"]["ndcg@10"]
    ]
    lead = f"BM25 stays ahead on {'; '.join(ahead)}." if ahead else "BM25 is ahead nowhere."
    if len(ahead) == len(transferred):
        lead = "BM25 stays ahead of every transferred encoder on all of them."
    run = summary["run"]
    lines = [
        f"nDCG@10, exact search; seed {run['seed']}, {run['dtype']}, isthmus {run['isthmus']}. Bold: best of the row.",
        f"† above every other initialisation (random to nearest), paired bootstrap over queries, p < {LEVEL}.",
        f"By the mean over the pools of a language, sembridge leads the other initialisations in {len(led)} of "
        f"{len(languages)} languages{' (' + ', '.join(led) + ')' if led else ''}.",
        lead,
        "The distractors of the larger pools are off-domain for the most part, so easy ones.",
    ]
    if run["max_queries"] is not None:
        lines.append(f"At most {run['max_queries']} queries of each collection, drawn by the seed.")
    return "\n".join(lines) + "\n"


def leads(language: str, pools: dict[tuple[str, str, str], dict[str, dict[str, Any]]]) -> bool:
    """Whether sembridge has the highest mean over the pools of a language, its released form aside."""
    mine = [cells for place, cells in pools.items() if place[0] == language]
    arms = [arm for arm in INITIALISATIONS if all(arm in cells for cells in mine) and arm != "sembridge-released"]
    means = {arm: sum(cells[arm]["ndcg@10"] for cells in mine) for arm in arms}
    return len(means) > 1 and max(means, key=lambda arm: means[arm]) == "sembridge"


def zero_shot_cost(results: Path) -> str:
    """FLOPS and active dimensions of the arms that retrieve at all."""
    pools = by_pool(read_json(results / "zero_shot" / "summary.json"))
    arms = [
        arm
        for arm in ("bm25", "base", "nearest", "sembridge-released", "sembridge")
        if any(arm in c for c in pools.values())
    ]
    rows = []
    for place, cells in pools.items():
        values = [cost(cells[arm]) if arm in cells else "" for arm in arms]
        rows.append([*label(place, cells), *values])
    text = "FLOPS, in brackets the mean active dimensions of queries and documents.\n"
    return markdown(["collection", "passages", "queries", *(TITLES.get(arm, arm) for arm in arms)], rows) + "\n" + text


def cost(cell: dict[str, Any]) -> str:
    """FLOPS and active dimensions of a cell."""
    return f"{cell['flops']:.2f} ({cell['query_active_dims']:.0f}, {cell['document_active_dims']:.0f})"


def base(results: Path) -> str:
    """The English encoder before any transfer, beside BM25 and the dense model it was distilled from."""
    found = read_json(results / "base.json")["rows"]
    rows = []
    for row in found:
        test = row.get("mini_splade_minus_this")
        against = f"{test['difference']:+.3f} [{test['low']:+.3f}, {test['high']:+.3f}]" if test else ""
        dims = [
            f"{row[f'{side}_active_dims']:.0f}" if row["flops"] is not None else "" for side in ("query", "document")
        ]
        scores = [f"{row[metric]:.3f}" for metric in ("ndcg@10", "mrr@10", "recall@100")]
        rows.append([row["model"], f"{row['documents']:,}", *scores, *dims, against])
    header = ["model", "passages", "nDCG@10", "MRR@10", "R@100", "query dims", "document dims"]
    text = (
        f"XQuAD-en, {found[0]['queries']:,} questions; the last column has the 95 % interval of a paired bootstrap.\n"
    )
    return markdown([*header, "mini-splade-en minus this"], rows) + "\n" + text


def settings(results: Path) -> str:
    """Settings on development pairs: the mean over languages of each pool, and by language over both pools."""
    found = read_json(results / "settings.json")["rows"]
    languages = list(dict.fromkeys(row["language"] for row in found))
    pools = list(dict.fromkeys(row["pool"] for row in found))
    scores = {(row["setting"], row["language"], row["pool"]): row["ndcg@10"] for row in found}
    rows = []
    for name in dict.fromkeys(row["setting"] for row in found):
        by_language = [sum(scores[name, language, pool] for pool in pools) / len(pools) for language in languages]
        by_pool = [sum(scores[name, language, pool] for language in languages) / len(languages) for pool in pools]
        mean = sum(by_language) / len(by_language)
        rows.append([name, *(f"{score:.3f}" for score in (*by_language, *by_pool, mean))])
    sizes = {pool: [row["documents"] for row in found if row["pool"] == pool] for pool in pools}
    sizes_text = "; ".join(f"{pool}: {min(counts)} to {max(counts)}" for pool, counts in sizes.items())
    text = f"nDCG@10 on development pairs (passages and queries of a language: {sizes_text}); no evaluation set.\n"
    return markdown(["setting", *languages, *pools, "mean"], rows) + "\n" + text


def own_tokens(results: Path) -> str:
    """Whether texts keep their own tokens, by method."""
    found = read_json(results / "own_tokens.json")["rows"]
    rows = [
        [
            f"{row['language']}, {row['method']}", f"{row['median_norm']:.2f}",
            *(f"{row[f'{role}_own_active']:.0%}" for role in ("query", "document")),
            *(f"{row[f'{role}_active_dims']:.0f}" for role in ("query", "document")),
        ]
        for row in found
    ]  # fmt: skip
    text = f"Over {found[0]['passages']} development passages of prose a language, and the sentence taken from each.\n"
    header = ["language, method", "norm of a bridged row", "own tokens active, query", "document", "dims, query"]
    return markdown([*header, "document"], rows) + "\n" + text


def speed(results: Path) -> str:
    """Time of the token map against loop and matrix product, and its growth with the target vocabulary."""
    found = read_json(results / "transfer_speed.json")
    rows = [
        [f"{row['target_tokens']:,}", f"{row['seconds']:.1f}", f"{row['seconds_per_1k_tokens']:.3f}"]
        for row in found["curve"]
    ]
    run = found["settings"]
    lines = [
        f"At {run['curve_dim']} dimensions. With {run['target_tokens']:,} new x {run['source_tokens']:,} source tokens "
        f"at {run['dim']:,} dimensions and alpha {run['alpha']:g}, {run['cpus']} cores:",
        f"{found['speedup_vs_loop']:.0f} times as fast as the plain float64 loop ({run['loop']}),",
        f"{found['ratio_to_matmul']:.2f} times the bare float32 matrix product, largest difference of a weight "
        f"from the loop {found['max_abs_diff']:.0e}, peak memory {found['peak_rss_mb']:.0f} MB.",
    ]
    return markdown(["target tokens", "seconds", "seconds per 1,000"], rows) + "\n" + "\n".join(lines) + "\n"


def head(results: Path) -> str:
    """Time and memory of the fused head against the stock one."""
    found = read_json(results / "head.json")
    libraries = found["libraries"]
    rows = [
        [
            f"{row['task']}, {row['body']}", f"{row['vocabulary']:,}", str(row["length"]), row["device"],
            f"{row['speedup']:.2f}x", f"{row['activation_memory_ratio']:.2f}", f"{row['head_vs_product']:.2f}",
            f"{row['max_abs_diff']:.0e}",
        ]
        for row in sorted(found["rows"], key=lambda row: (row["task"], row["body"], row["vocabulary"], row["length"]))
    ]  # fmt: skip
    lines = [
        f"Against sentence-transformers {libraries['sentence-transformers']} with the best of three chunk sizes,",
        f"torch {libraries['torch']}, {found['threads']} threads, float32. Memory: peak of what a step allocates,",
        "fused / stock. Head / product: time of the fused head alone over that of the bare float32 product; below 1",
        "because most of it runs in bfloat16. Largest difference: of the vectors (encode), of the gradients (train).",
    ]
    header = ["task, body", "vocabulary", "length", "device", "speed", "memory", "head / product", "largest difference"]
    return markdown(header, rows) + "\n" + "\n".join(lines) + "\n"


def search(results: Path) -> str:
    """Engines on the same collections."""
    found = read_json(results / "search.json")
    rows = [
        [
            f"{row['collection']}, {row['engine']}", f"{row['documents']:,}", f"{row['build_s']:.1f}",
            f"{row['build_memory'] / 1e6:,.0f}", f"{row['bytes'] / 1e6:,.0f}", f"{row['memory'] / 1e6:,.0f}",
            f"{row['cold_open_ms']:,.1f}", f"{row['cold_first_ms']:,.1f}", f"{row['open_ms']:,.1f}",
            f"{row['p50_ms']:.2f}", f"{row['p99_ms']:.2f}", f"{row['recall@10']:.3f}",
        ]
        for row in found["rows"]
    ]  # fmt: skip
    one = found["rows"][0]
    text = (
        f"One thread. Synthetic: Zipf columns, {one['entries']:.0f} entries a document, {one['query_entries']:.0f} a "
        f"query; {one['queries']} queries, one after the other. Build: from vectors on the disk, without encoding; "
        "build MB and memory MB: most that building and searching held. Cold: with the files taken out of the system's "
        "page cache; open ms: with them in it. A document as good as the tenth, to a thousandth, counts as found.\n"
    )
    header = ["collection, engine", "documents", "build s", "build MB", "disk MB", "memory MB"]
    header += ["cold open ms", "cold first ms", "open ms", "p50 ms", "p99 ms"]
    return markdown([*header, "recall@10"], rows) + "\n" + text


def search_pipeline(results: Path) -> str:
    """From an encoder's folder to a searchable index, stage by stage."""
    found = read_json(results / "search.json")["pipeline"]
    rows = [
        [
            row["stage"], f"{row['seconds']:,.3f}", row["floor"], f"{row['floor_seconds']:,.3f}",
            f"{row['seconds'] / row['floor_seconds']:.1f}",
        ]
        for row in found
    ]  # fmt: skip
    first = found[0]
    threads = first.get("threads", 1)
    text = (
        f"{first['documents']:,} passages of English, {first['postings']:,} postings, {first['bytes'] / 1e6:.0f} MB. "
        f"Seconds on {threads} {'thread' if threads == 1 else 'threads'}.\n"
    )
    return markdown(["stage", "seconds", "least it could take", "seconds", "times"], rows) + "\n" + text


TABLES: dict[str, Callable[[Path], str]] = {
    **{
        make.__name__.replace("_", "-"): partial(make, markdown=markdown)
        for make in (
            alignment,
            alignment_languages,
            alignment_published,
            alignment_published_arms,
            alignment_published_copies,
            alignment_published_directions,
            bilingual,
            bilingual_cost,
            bilingual_english,
            bilingual_korean,
            crowding,
            domain,
            domain_choices,
            identity_head,
            identity_kept,
            identity_large,
            identity_maps,
            identity_settings,
            identity_strata,
            identity_taught,
            identity_trimmed,
            identity_trims,
            new_language_ready,
            own_directions,
            serve,
            study_alpha,
            study_cost,
            study_published,
            study_published_rates,
            study_rates,
        )
    },
    **{f"study-{stage}": partial(study, markdown=markdown, stage=stage) for stage in ("zero-shot", "fine-tuned")},
    **{
        f"study-published-{stage}": partial(study_published_languages, markdown=markdown, pair=PAIRS[0], stage=stage)
        for stage in STAGES
    },
    **{
        f"identity-{vocabulary}-{stage}": partial(identity, markdown=markdown, vocabulary=vocabulary, stage=stage)
        for vocabulary in ("target", "keep-source")
        for stage in ("zero-shot", "fine-tuned")
    },
    **{
        f"bridges-{SHORT[encoder]}-{vocabulary}": partial(
            bridges, markdown=markdown, encoder=encoder, kept=vocabulary == "kept"
        )
        for encoder in ENCODERS
        for vocabulary in ("replaced", "kept")
    },
    "identity-distilled": partial(identity_distilled, markdown=markdown),
    **{
        f"new-language-{language}": partial(new_language, markdown=markdown, language=language)
        for language in ("de", "bn")
    },
    "base": base,
    "head": head,
    "own-tokens": own_tokens,
    "search": search,
    "search-pipeline": search_pipeline,
    "settings": settings,
    "speed": speed,
    "zero-shot": zero_shot,
    "zero-shot-cost": zero_shot_cost,
}


def fill(text: str, results: Path) -> str:
    """Replace every marked table in ``text``.

    Raises:
        KeyError: If a marker names a table that nobody makes.
    """
    return MARKED.sub(lambda match: f"{match[1]}{TABLES[match[2]](results)}{match[4]}", text)


def main(argv: Sequence[str] | None = None) -> int:
    """Rewrite or check; returns 1 when a table is stale."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("files", nargs="*", type=Path, help="default: README.md and docs/")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--results", type=Path, default=ROOT / "benchmarks" / "results")
    args = parser.parse_args(argv)
    stale = 0
    for path in args.files or [*ROOT.glob("README.md"), *sorted((ROOT / "docs").rglob("*.md"))]:
        old = path.read_text(encoding="utf-8")
        new = fill(old, args.results)
        if new == old:
            continue
        stale += 1
        if args.check:
            print(f"{path}: tables are stale; run: python benchmarks/tables.py", file=sys.stderr)
        else:
            atomic_write(path, new.encode())
            print(f"{path}: written", file=sys.stderr)
    return 1 if args.check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
