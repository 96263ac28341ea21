"""Tables of what was chosen on development pairs: strength of the words, norms and biases, directions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import product
from pathlib import Path
from statistics import fmean
from typing import Any

from isthmus.modules.lexical import KNOWN_SHARE, LexicalMode
from isthmus.reading.storage import read_json

Markdown = Callable[[Sequence[str], Sequence[Sequence[str]]], str]
PAIRS = ("sections", "cloze")
ARMS = ("plain", "calibrated", "echo")
LEXICAL: tuple[LexicalMode, ...] = ("echo", "hybrid")
WEIGHT = 2.0


def identity_settings(results: Path, *, markdown: Markdown) -> str:
    """Every weight and power, means over languages and kinds of pairs."""
    found = [row for row in read_json(results / "identity_settings.json")["rows"] if "trim" not in row]
    weights = sorted({row["weight"] for row in found if "weight" in row})
    powers = sorted({row["power"] for row in found if "power" in row})
    source = [row for row in found if "self_activation" in row]
    rows = []
    for mode, calibrate, power in product(("echo", "hybrid"), (True, False), powers):
        wanted = {"mode": mode, "calibrate": calibrate, "power": power}
        means = [_mean(found, wanted | {"weight": weight}) for weight in weights]
        name = f"{mode}, {'' if calibrate else 'not '}calibrated, power {power:g}"
        rows.append([name, *(f"**{mean:.3f}**" if mean == max(means) else f"{mean:.3f}" for mean in means)])
    alone = {
        "BM25": {"mode": "bm25"},
        "the encoder": {"mode": "plain", "calibrate": False},
        "calibrated": {"mode": "plain", "calibrate": True},
    }
    lines = [
        f"nDCG@10 on development pairs among further passages, means over {len({row['language'] for row in found})}",
        "languages and both kinds of pairs; bold is the best of a line. For comparison: "
        + ", ".join(f"{name} {_mean(found, wanted):.3f}" for name, wanted in alone.items())
        + ".",
        "With the strength, power, k1 and b that the English encoder gives the words of English sections instead: "
        + ", ".join(
            f"{mode}{'' if calibrate else ', not calibrated'} {_mean(source, wanted):.3f}"
            for mode, calibrate in product(("echo", "hybrid"), (True, False))
            for wanted in [{"mode": mode, "calibrate": calibrate}]
        )
        + ".",
    ]
    header = ["weight", *(f"{weight:g}" for weight in weights)]
    return markdown(header, rows) + "\n" + "\n".join(lines) + "\n"


def identity_trims(results: Path, *, markdown: Markdown) -> str:
    """Few of the encoder's own entries beside its words, means over languages and kinds of pairs."""
    found = [row for row in read_json(results / "identity_settings.json")["rows"] if "dims" in row]
    kinds = {(row["mode"], tuple(row.get("trim", ()))): [] for row in found}
    for row in found:
        kinds[row["mode"], tuple(row.get("trim", ()))].append(row)
    table = []
    for (mode, trim), rows in sorted(kinds.items(), key=lambda kind: (kind[0][0], -sum(kind[0][1]) or -(10**6))):
        name = {"bm25": "BM25"}.get(mode, mode) + (f", {trim[0]} and {trim[1]} of its own" if trim else "")
        by_pairs = [[row["ndcg@10"] for row in rows if row["pairs"] == pairs] for pairs in PAIRS]
        numbers = [fmean(row["ndcg@10"] for row in rows), *map(fmean, by_pairs)]
        sizes = [fmean(row["dims"][side] for row in rows) for side in (0, 1)]
        table.append([name, *(f"{number:.3f}" for number in numbers), *(f"{size:.0f}" for size in sizes)])
    header = ["", "nDCG@10", *PAIRS, "entries of a query", "of a passage"]
    return markdown(header, table) + "\nMeans over the languages, on the development pairs of the table above.\n"


def identity_head(results: Path, *, markdown: Markdown) -> str:
    """Norms and biases."""
    found = read_json(results / "identity_head.json")["rows"]
    table = []
    for norm, bias in dict.fromkeys((row["norm"], row["bias"]) for row in found):
        cells = []
        for arm in ARMS:
            rows = [row for row in found if (row["norm"], row["bias"], row["arm"]) == (norm, bias, arm)]
            cells += [f"{fmean(row['ndcg@10'] for row in rows if row['pairs'] == pairs):.3f}" for pairs in PAIRS]
            if arm == "plain":
                dims = f"{fmean(row['active_dims'] for row in rows):.0f}"
        table.append([f"norm {norm}, bias {bias}", dims, *cells])
    header = ["head", "active dims", *(f"{arm}: {PAIRS[0]}" if i == 0 else PAIRS[1] for arm in ARMS for i in (0, 1))]
    languages = ", ".join(dict.fromkeys(row["language"] for row in found))
    text = f"nDCG@10 on development pairs, means over {languages}; no evaluation set.\n"
    return markdown(header, table) + "\n" + text


def identity_kept(results: Path, *, markdown: Markdown) -> str:
    """Lexical weights of English tokens that were kept: within a language, from English, and in English."""
    every = read_json(results / "identity_kept.json")["rows"]
    found = [row for row in every if row["language"] != "en"]
    english = [row for row in every if row["language"] == "en"]
    shares = dict.fromkeys(row["kept_tokens"] for row in found if "kept_tokens" in row)
    table = []
    for told, wanted in {
        "BM25": {"arm": "bm25"},
        "the encoder": {"arm": "plain"},
        **{
            f"{mode}, kept tokens: {share}": {"arm": mode, "kept_tokens": share, "weight": WEIGHT}
            for mode, share in product(LEXICAL, shares)
        },
    }.items():
        cells = [f"{_mean(found, wanted | {'pairs': name}):.3f}" for name in (*PAIRS, "from English")]
        cells.append("—" if wanted.get("kept_tokens") == "none" else f"{_mean(english, wanted):.3f}")
        table.append([told, *cells])
    languages = ", ".join(sorted({row["language"] for row in found}))
    text = (
        f"nDCG@10 on the development pairs of the tables above, means over {languages}; the source kept.\n"
        "From English: sections asked by their English headings. In English: English sections, by the Korean encoder.\n"
    )
    return markdown(["", *PAIRS, "from English", "in English"], table) + "\n" + text


def identity_taught(results: Path, *, markdown: Markdown) -> str:
    """What teaching an echo does within the language, from English, and in English."""
    before, after = (read_json(results / f"identity_{name}.json")["rows"] for name in ("kept", "taught"))
    languages = {row["language"] for row in after} - {"en"}
    table = []
    for when, every in (("before", before), ("taught", after)):
        found = [row for row in every if row["language"] in languages]
        english = [row for row in every if row["language"] == "en"]
        for arm in ("plain", *LEXICAL):
            wanted: dict[str, Any] = {"arm": arm}
            if arm != "plain":
                wanted |= {"kept_tokens": f"{KNOWN_SHARE[arm]:g} where active", "weight": WEIGHT}
            cells = [_mean(found, wanted | {"pairs": name}) for name in (*PAIRS, "from English")]
            table.append([f"{when}: {arm}", *(f"{value:.3f}" for value in (*cells, _mean(english, wanted)))])
    text = (
        f"nDCG@10 on development pairs, means over {', '.join(sorted(languages))}; the source kept.\n"
        "From English: sections asked by their English headings. In English: English sections, by the Korean encoder.\n"
    )
    return markdown(["", *PAIRS, "from English", "in English"], table) + "\n" + text


def own_directions(results: Path, *, markdown: Markdown) -> str:
    """Length of the directions, before and after training."""
    found = read_json(results / "own_directions.json")["rows"]
    languages = list(dict.fromkeys(row["language"] for row in found))
    table = []
    for strength in dict.fromkeys(row["own_direction"] for row in found):
        rows = {row["language"]: row for row in found if row["own_direction"] == strength}
        values = [rows.get(language, {}).get(key) for language in languages for key in ("before", "best")]
        cells = ["" if value is None else f"{value:.3f}" for value in values]
        table.append([f"{strength:g}", *cells])
    header = ["`--own-direction`", *(f"{language}: {when}" for language in languages for when in ("before", "after"))]
    return markdown(header, table) + "\nnDCG@10 on development sections, before training and at its best checkpoint.\n"


def _mean(found: Iterable[dict[str, Any]], wanted: dict[str, Any]) -> float:
    return fmean(row["ndcg@10"] for row in found if wanted.items() <= row.items())
