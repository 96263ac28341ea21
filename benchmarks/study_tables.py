"""Tables of the study."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from isthmus.reading.storage import read_json

Row = dict[str, Any]
Markdown = Callable[[Sequence[str], Sequence[Sequence[str]]], str]
LANGUAGES = ("ar", "hi", "ko", "ru", "zh")
NAMES = {
    "bm25": "BM25",
    "base": "base (English encoder)",
    "random": "random",
    "mean": "mean",
    "gaussian": "Gaussian",
    "multivariate-gaussian": "multivariate Gaussian",
    "focus": "FOCUS",
    "ofa": "OFA",
    "nearest": "nearest",
    "sembridge-released": "sembridge, as released",
    "sembridge": "sembridge",
    "sembridge-own": "sembridge, own directions",
    "sembridge-keep-source": "sembridge, source kept",
}
SWEEP = ("1", "1.5", "2", "2.5", "3", "4", "6")
LEVEL = 0.05
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


def read(results: Path) -> dict[str, Any]:
    """The summary of the study, its rows by (method, stage), then language."""
    summary = read_json(results / "study" / "summary.json")
    found: dict[tuple[str, str], dict[str, Row]] = {}
    for row in summary["rows"]:
        found.setdefault((row["method"], row["stage"]), {})[row["language"]] = row
    return summary | {"found": found}


def significance(row: Row, reference: str) -> str:
    """An arrow where a row is significantly above or below the reference."""
    test = row.get(f"against_{reference}")
    if test is None or test["p_value"] >= LEVEL:
        return ""
    return " ▲" if test["difference"] > 0 else " ▼"


def study(results: Path, *, markdown: Markdown, stage: str) -> str:
    """nDCG@10 with its interval, by method and language."""
    summary = read(results)
    found = summary["found"]
    table = []
    for method, name in NAMES.items():
        rows = found.get((method, "zero-shot" if method == "bm25" else stage), {})
        if rows:
            whole = set(rows) == set(LANGUAGES)
            mean = f"{fmean(row['ndcg@10'] for row in rows.values()):.3f}" if whole else ""
            texts = [_scored(rows[language]) if language in rows else "" for language in LANGUAGES]
            table.append([name, *texts, mean])
    ours = found["sembridge", stage].values()
    sizes = ", ".join(f"{row['language']} {row['documents']:,}" for row in ours)
    seeds = sorted({len(row["seeds"]) for row in summary["rows"] if row["stage"] == stage})
    lines = [
        f"nDCG@10 and its 95 % interval (bootstrap over {next(iter(ours))['queries']} questions); passages: {sizes}.",
        f"▲ ▼: above or below sembridge of the same stage, paired bootstrap, p < {LEVEL}. "
        f"Seeds per cell: {' or '.join(map(str, seeds))}.",
        BASELINES,
        IN_THE_PAPER[stage],
    ]
    return markdown(["method", *LANGUAGES, "mean"], table) + "\n" + "\n".join(lines) + "\n"


def _scored(row: Row) -> str:
    low, high = row["ndcg@10_ci"]
    return f"{row['ndcg@10']:.3f} [{low:.2f}, {high:.2f}]{significance(row, 'sembridge')}"


def study_cost(results: Path, *, markdown: Markdown) -> str:
    """FLOPS and active dimensions, means over the languages; nDCG@10 at equal active dimensions."""
    found = read(results)["found"]
    table = []
    for method, name in NAMES.items():
        if method != "bm25":
            cells = []
            for stage in ("zero-shot", "fine-tuned"):
                rows = list(found.get((method, stage), {}).values())
                if len(rows) < len(LANGUAGES):
                    cells += [""] * 4
                    continue
                cuts = [_cut(row) for row in rows]
                dims = [fmean(row[f"{role}_active_dims"] for row in rows) for role in ("query", "document")]
                cells += [
                    f"{fmean(row['flops'] for row in rows):.2f}",
                    f"{dims[0]:.0f}, {dims[1]:.0f}",
                    f"{fmean(row['ndcg@10'] for row in rows):.3f}",
                    f"{fmean(cut['ndcg@10'] for cut in cuts):.3f}",
                ]
            table.append([name, *cells])
    header = ["FLOPS", "dims", "nDCG@10", "at equal dims"]
    titles = [f"{stage}: {header[0]}" if i == 0 else title for stage in ("zero-shot", "fine-tuned")
              for i, title in enumerate(header)]  # fmt: skip
    lines = [
        "Means over five languages. Dims: mean active dimensions of queries and of documents. At equal dims: nDCG@10",
        f"where queries keep their {CUT[0]} largest entries at most and documents their {CUT[1]}.",
    ]
    return markdown(["method", *titles], table) + "\n" + "\n".join(lines) + "\n"


def _cut(row: Row) -> Row:
    return next(cut for cut in row["pruned"] if (cut["query_dims"], cut["document_dims"]) == CUT)


def study_alpha(results: Path, *, markdown: Markdown) -> str:
    """nDCG@10 by alpha, before training."""
    found = read(results)["found"]
    table = []
    for key in (*(f"alpha-{alpha}" for alpha in SWEEP), "adaptive"):
        rows = found.get((f"sembridge-{key}", "zero-shot"), {})
        if rows:
            scores = [f"{rows[language]['ndcg@10']:.3f}" if language in rows else "" for language in LANGUAGES]
            mean = f"{fmean(row['ndcg@10'] for row in rows.values()):.3f}" if len(rows) == len(LANGUAGES) else ""
            flops = fmean(row["flops"] for row in rows.values())
            table.append([key.replace("alpha-", ""), *scores, mean, f"{flops:.2f}"])
    return markdown(["alpha", *LANGUAGES, "mean", "FLOPS"], table)


def study_rates(results: Path, *, markdown: Markdown) -> str:
    """Development nDCG@10 by learning rate."""
    rows = read_json(results / "study" / "learning_rates.json")["rows"]
    rates = sorted({row["learning_rate"] for row in rows})
    table = []
    for method, name in NAMES.items():
        by_rate = {row["learning_rate"]: row["development"] for row in rows if row["method"] == method}
        if by_rate:
            best = max(by_rate, key=lambda rate: by_rate[rate]["best"])
            cells = [f"{by_rate[rate]['best']:.3f}" if rate in by_rate else "" for rate in rates]
            marked = [f"**{cell}**" if rate == best else cell for rate, cell in zip(rates, cells, strict=True)]
            table.append([name, f"{next(iter(by_rate.values()))['before']:.3f}", *marked])
    return markdown(["method", "before", *(f"{rate:g}" for rate in rates)], table)
