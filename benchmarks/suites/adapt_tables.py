"""The tables of ``adapt.py``, and how well questions made of text rank arms as labels do."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from scipy.stats import kendalltau, spearmanr

from benchmarks import harness
from benchmarks.harness import Row, Scores, markdown
from benchmarks.suites.adapt_questions import KINDS

RESAMPLES = 200
TOGETHER = {"sentence + first": ("sentence", "first"), "sentence + first + snippet": ("sentence", "first", "snippet")}
NAMES = KINDS | {
    "sentence + first": "a sentence or the first one, cut out",
    "sentence + first + snippet": "a sentence, the first one or a snippet, cut out",
}
CHANCE = 0.05


def agreement(scores: Mapping[str, Scores]) -> list[Row]:
    """For every kind of question, how its scores of (language, arm) cells go with those by labels.

    Scores are taken as differences from BM25's of the same language and questions, since languages differ in how hard
    their pools are. Intervals are of resampled questions, on both sides.
    """
    languages = list(dict.fromkeys(name.partition(": ")[0] for name in scores))
    arms = list(scores[f"{languages[0]}: labels"])
    kinds = {kind: (kind,) for kind in KINDS} | TOGETHER
    draw = np.random.default_rng(0)
    tables = {
        kind: {language: _table(scores, language, parts, arms) for language in languages}
        for kind, parts in (kinds | {"labels": ("labels",)}).items()
    }
    found = []
    for kind in kinds:
        values = np.array([_compare(tables[kind], tables["labels"], arms, None)])
        drawn = np.array([_compare(tables[kind], tables["labels"], arms, draw) for _ in range(RESAMPLES)])
        low, high = np.percentile(drawn, [2.5, 97.5], axis=0)
        names = ("spearman", "kendall", "kendall_within", "right", "error")
        found.append({
            "kind": kind, "cells": len(languages) * (len(arms) - 1), "languages": languages,
            "questions": sum(table.shape[1] for table in tables[kind].values()),
            **{name: {"value": float(values[0][i]), "interval": [float(low[i]), float(high[i])]}
               for i, name in enumerate(names)},
        })  # fmt: skip
    return found


def _table(scores: Mapping[str, Scores], language: str, parts: tuple[str, ...], arms: list[str]) -> Any:
    """Scores, shape (arms, questions)."""
    return np.array([np.concatenate([scores[f"{language}: {part}"][arm] for part in parts]) for arm in arms])


def _compare(made: Mapping[str, Any], labels: Mapping[str, Any], arms: list[str], draw: Any) -> list[float]:
    base = arms.index("BM25")
    first, second, within, right = [], [], [], []
    for language in labels:
        means = []
        for table in (made[language], labels[language]):
            rows = slice(None) if draw is None else draw.integers(0, table.shape[1], table.shape[1])
            mean = table[:, rows].mean(axis=1)
            means.append(mean - mean[base])
        # None where all arms find all questions.
        within.append(float(np.nan_to_num(kendalltau(*means).statistic)))
        # Pairs of arms that labels clearly tell apart.
        a, b = (mean[:, None] - mean[None, :] for mean in means)
        told = np.triu(np.abs(b) >= CHANCE, 1)
        right.append(float((np.sign(a) == np.sign(b))[told].mean()))
        first.append(np.delete(means[0], base))
        second.append(np.delete(means[1], base))
    x, y = np.concatenate(first), np.concatenate(second)
    error = float(np.sqrt(np.square(x - y).mean()))
    return [float(spearmanr(x, y).statistic), float(kendalltau(x, y).statistic), fmean(within), fmean(right), error]


def measure_table(results: Path) -> str:
    """How each kind of question ranks."""
    content = harness.read_json(results / "adapt.json")
    rows = []
    for row in sorted(content["agreement"], key=lambda row: -row["spearman"]["value"]):
        told = [harness.with_interval(row[name]["value"], row[name]["interval"]) for name in ("spearman", "kendall")]
        others = [f"{row[name]['value']:.3f}" for name in ("kendall_within", "right", "error")]
        rows.append([NAMES[row["kind"]], str(row["questions"]), *told, *others])
    cells, languages = content["agreement"][0]["cells"], content["agreement"][0]["languages"]
    text = (
        f"{cells} (language, arm) cells of {', '.join(languages)}, as differences from BM25; intervals of resampled "
        f"questions. Right: of pairs of arms that labels tell apart by {CHANCE} or more. Error: root mean square of "
        "the differences' difference."
    )
    header = ["questions", "number", "Spearman", "Kendall", "Kendall within a language", "right", "error"]
    return markdown(header, rows, text)


def choices_table(results: Path) -> str:
    """Weights, shares of pairs and powers, by labels."""
    rows = harness.read_json(results / "adapt.json")["choices"]
    shares = sorted({row["share"] for row in rows})
    lines = []
    for power in sorted({row["power"] for row in rows}):
        for weight in sorted({row["weight"] for row in rows}):
            means = [
                fmean(r["ndcg@10"] for r in rows if (r["power"], r["weight"], r["share"]) == (power, weight, share))
                for share in shares
            ]  # fmt: skip
            lines.append([f"{weight:g}, power {power:g}", *(f"{mean:.3f}" for mean in means)])
    return markdown(["weight of the words", *(f"pairs {share:g}" for share in shares)], lines)


def recipe_table(results: Path) -> str:
    """The recipe against BM25 on every collection."""
    from benchmarks.suites.adapt import RECIPE

    every = [row for row in harness.read_json(results / "adapt.json")["rows"]]
    by_pool: dict[tuple[str, str], dict[str, Row]] = {}
    for row in every:
        by_pool.setdefault((row["collection"], row["encoder"]), {})[row["arm"]] = row
    chosen = {pool: next(row for arm, row in arms.items() if arm in (f"kept: {RECIPE}", f"reads: {RECIPE}"))
              for pool, arms in by_pool.items()}  # fmt: skip
    corrected = holm({pool: row["p"] for pool, row in chosen.items()})
    lines = []
    for pool, row in chosen.items():
        arms = {arm.partition(": ")[2] or arm: found for arm, found in by_pool[pool].items() if "shuffled" not in arm}
        beyond = by_pool[pool].get(row["arm"].replace(":", ", shuffled:"))
        sign = "" if corrected[pool] >= harness.LEVEL else " ▲" if row["difference"] > 0 else " ▼"
        cells = [f"{arms[name]['ndcg@10']:.3f}" for name in ("BM25", "BM25, pairs", "plain", "hybrid")]
        shuffled = (
            ""
            if beyond is None
            else f"{beyond['ndcg@10']:.3f}{harness.arrow(row.get('vs_shuffled')).replace('▲', '†')}"
        )
        encoder = pool[1].rpartition("/")[2]
        lines.append(
            [f"{pool[0]}, {encoder}", *cells, f"{row['ndcg@10']:.3f}{sign}", f"{corrected[pool]:.3f}", shuffled]
        )
    text = (
        "nDCG@10. ▲ ▼: above or below BM25, paired bootstrap over 300 questions, p < 0.05 after Holm's correction over "
        "all lines. †: the recipe is above the same with shuffled rows (p < 0.05, not corrected)."
    )
    header = ["collection, encoder", "BM25", "BM25, pairs", "plain", "hybrid", "recipe", "p (Holm)", "shuffled"]
    return markdown(header, lines, text)


def holm(values: Mapping[Any, float]) -> dict[Any, float]:
    """The p values after Holm's step-down correction."""
    found, least = {}, 0.0
    for place, key in enumerate(sorted(values, key=lambda key: values[key])):
        least = max(least, min(1.0, values[key] * (len(values) - place)))
        found[key] = least
    return found


TABLES = {"adapt-measure": measure_table, "adapt-choices": choices_table, "adapt-recipe": recipe_table}
