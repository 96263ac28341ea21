"""Tables of bridges that people have."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from bridges import ARMS, BRIDGES, ENCODERS, KEPT, LANGUAGES, WITHOUT_BRIDGE

from isthmus.reading.storage import read_json

SHORT = {name: name.rpartition("/")[2] for name in (*ENCODERS, *BRIDGES)}


def bridges(results: Path, *, markdown: Callable[..., str], encoder: str, kept: bool) -> str:
    """nDCG@10 by bridge and what was done with it: evaluation collection by language, then development means."""
    rows = [
        row for row in read_json(results / "bridges.json")["rows"] if row["encoder"] == encoder and row["kept"] == kept
    ]
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
    return markdown(["bridge: method", *languages, "mean", "development"], lines) + (
        f"\nnDCG@10, zero-shot, {SHORT[encoder]}, vocabulary {vocabulary}: XQuAD (KorQuAD in Korean), pools of {pools} "
        "passages; development is the mean of *sections* and *cloze* over the languages. Seed 0; encoders and bridges "
        "in bfloat16. What was not measured is empty.\n"
    )


def _scores(found: dict[str, dict[str, Any]], languages: Sequence[str]) -> list[str]:
    scores = {language: _evaluated(found[language]) for language in found}
    cells = [f"{scores[language]:.3f}" if language in scores else "" for language in languages]
    # A mean over some of the languages would not stand beside one over all.
    if len(scores) < len(languages):
        return [*cells, "", ""]
    development = [row["pools"][pool]["ndcg@10"] for row in found.values() for pool in ("sections", "cloze")]
    return [*cells, f"{fmean(scores.values()):.3f}", f"{fmean(development):.3f}"]


def _evaluated(row: dict[str, Any]) -> float:
    return float(next(pool["ndcg@10"] for name, pool in row["pools"].items() if name.endswith("quad")))
