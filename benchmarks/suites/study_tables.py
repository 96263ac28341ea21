"""Tables of the study."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from statistics import fmean

from benchmarks.harness import LANGUAGES, LEVEL, Results, Row, arrow, markdown, with_interval

NAMES = {
    "bm25": "BM25", "base": "base (English encoder)", "random": "random", "mean": "mean", "gaussian": "Gaussian",
    "multivariate-gaussian": "multivariate Gaussian", "focus": "FOCUS", "ofa": "OFA", "nearest": "nearest",
    "sembridge-released": "sembridge, as released", "sembridge": "sembridge",
    "sembridge-own": "sembridge, own directions", "sembridge-keep-source": "sembridge, source kept",
}  # fmt: skip
STAGES = ("zero-shot", "fine-tuned")
SWEEP = ("1", "1.5", "2", "2.5", "3", "4", "6")
# Active dimensions of queries and documents in the table at equal cost.
CUT = (32, 128)
BASELINES = (
    "OFA and FOCUS are not the paper's: OFA takes the vectors of the same bridge, at a temperature of .02 (its code:\n"
    "word vectors, .1), FOCUS a PPMI space (its code: fastText)."
)
# arXiv 2605.26002; its tables were not read.
IN_THE_PAPER = {
    "zero-shot": "sembridge is not above all in the paper either: by a summary of it, opensearch-neural-sparse\n"
    "has .127 with it on MIRACL, and .141 with the multivariate Gaussian.",
    "fine-tuned": "In the paper OFA and the multivariate Gaussian are nearly level after training: by a summary\n"
    "of it, .640 and .644 on WebFAQ, .292 and .307 on MIRACL (splade-v3).",
}
MEANS = ("flops", "query_active_dims", "document_active_dims")
Found = dict[tuple[str, str], dict[str, Row]]


def read(path: Path) -> Found:
    """Rows by (method, stage), then language: what was compared, and means of the cells over seeds."""
    results = Results(path)
    found: Found = {}
    for row in results.content["rows"]:
        place = tuple(row[key] for key in ("language", "method", "stage"))
        cells = [results.by_name[f"{'.'.join(place)}.{seed}"] for seed in row["seeds"]]
        pruned = [
            one | {key: _mean([cell["pruned"][i] for cell in cells], key) for key in ("ndcg@10", "flops")}
            for i, one in enumerate(cells[0]["pruned"])
        ]
        means = {key: _mean(cells, key) for key in MEANS}
        found.setdefault(place[1:], {})[place[0]] = {**cells[0], **row, **means, "pruned": pruned}
    return found


def _mean(cells: Sequence[Row], key: str) -> float | None:
    """Mean over seeds; None for what has no such number."""
    values = [cell[key] for cell in cells if cell[key] is not None]
    return fmean(values) if values else None


def scores_table(results: Path, *, stage: str) -> str:
    """nDCG@10 with its interval, by method and language."""
    found = read(results / "study.json")
    table = []
    for method, name in NAMES.items():
        rows = found.get((method, "zero-shot" if method == "bm25" else stage), {})
        if rows:
            mean = f"{fmean(row['ndcg@10'] for row in rows.values()):.3f}" if set(rows) == set(LANGUAGES) else ""
            table.append([name, *(_scored(rows.get(language)) for language in LANGUAGES), mean])
    ours = found["sembridge", stage].values()
    sizes = ", ".join(f"{row['language']} {row['documents']:,}" for row in ours)
    seeds = {len(row["seeds"]) for (_, one), rows in found.items() if one == stage for row in rows.values()}
    lines = [
        f"nDCG@10 and its 95 % interval (bootstrap over {next(iter(ours))['queries']} questions); passages: {sizes}.",
        f"▲ ▼: above or below sembridge of the same stage, paired bootstrap, p < {LEVEL}. "
        f"Seeds per cell: {' or '.join(map(str, sorted(seeds)))}.",
        BASELINES,
        IN_THE_PAPER[stage],
    ]
    return markdown(["method", *LANGUAGES, "mean"], table, lines)


def _scored(row: Row | None) -> str:
    if row is None:
        return ""
    return with_interval(row["ndcg@10"], row["ndcg@10_ci"]) + arrow(row.get("against_sembridge"))


def cost_table(results: Path) -> str:
    """FLOPS and active dimensions, means over the languages; nDCG@10 at equal active dimensions."""
    found = read(results / "study.json")
    table = []
    for method, name in [one for one in NAMES.items() if one[0] != "bm25"]:
        cells = []
        for stage in STAGES:
            rows = list(found.get((method, stage), {}).values())
            if len(rows) < len(LANGUAGES):
                cells += [""] * 4
                continue
            cuts = [one for row in rows for one in row["pruned"] if (one["query_dims"], one["document_dims"]) == CUT]
            dims = [fmean(row[f"{role}_active_dims"] for row in rows) for role in ("query", "document")]
            cells += [f"{fmean(row['flops'] for row in rows):.2f}", f"{dims[0]:.0f}, {dims[1]:.0f}"]
            cells += [f"{fmean(row['ndcg@10'] for row in both):.3f}" for both in (rows, cuts)]
        table.append([name, *cells])
    titles = [title for stage in STAGES for title in (f"{stage}: FLOPS", "dims", "nDCG@10", "at equal dims")]
    lines = [
        "Means over five languages. Dims: mean active dimensions of queries and of documents. At equal dims: nDCG@10",
        f"where queries keep their {CUT[0]} largest entries at most and documents their {CUT[1]}.",
    ]
    return markdown(["method", *titles], table, lines)


def alpha_table(results: Path) -> str:
    """nDCG@10 by alpha, before training."""
    found = read(results / "study.json")
    table = []
    for key in (*(f"alpha-{alpha}" for alpha in SWEEP), "adaptive"):
        rows = found.get((f"sembridge-{key}", "zero-shot"), {})
        if rows:
            scores = [f"{rows[language]['ndcg@10']:.3f}" if language in rows else "" for language in LANGUAGES]
            mean = f"{fmean(row['ndcg@10'] for row in rows.values()):.3f}" if len(rows) == len(LANGUAGES) else ""
            flops = f"{fmean(row['flops'] for row in rows.values()):.2f}"
            table.append([key.replace("alpha-", ""), *scores, mean, flops])
    return markdown(["alpha", *LANGUAGES, "mean", "FLOPS"], table)


TABLES = {
    **{f"study-{stage}": partial(scores_table, stage=stage) for stage in STAGES},
    "study-cost": cost_table,
    "study-alpha": alpha_table,
}
