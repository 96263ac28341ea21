"""Tables of what was chosen on development pairs, from measurements that are over; LOG.md tells what came of them."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import product
from pathlib import Path
from statistics import fmean
from typing import Any

from benchmarks.harness import Row, markdown
from isthmus.modules.lexical import KNOWN_SHARE
from isthmus.reading.storage import read_json

PAIRS = ("sections", "cloze")
LEXICAL = ("echo", "hybrid")
# Weight of the words beside the encoder's own in what is compared by kept tokens.
WEIGHT = 2.0
FROM_ENGLISH = (
    "From English: sections asked by their English headings. In English: English sections, by the Korean encoder."
)


def read(results: Path, name: str) -> list[Row]:
    """The rows of one measurement."""
    found: list[Row] = read_json(results / "choices.json")[name]
    return found


def mean(rows: Iterable[Row], wanted: dict[str, Any], key: str = "ndcg@10") -> float:
    """Mean over the rows that have the wanted values."""
    return fmean(row[key] for row in rows if wanted.items() <= row.items())


def values(rows: Iterable[Row], key: str) -> list[Any]:
    """Different values of a key, in their order."""
    return list(dict.fromkeys(row[key] for row in rows if key in row))


def settings_table(results: Path) -> str:
    """Settings: the mean over languages of each pool, and by language over both pools."""
    found = read(results, "settings")
    languages, pools = values(found, "language"), values(found, "pool")
    rows = []
    for name in values(found, "setting"):
        own = [row for row in found if row["setting"] == name]
        means = [mean(own, {"language": language}) for language in languages]
        cells = [*means, *(mean(own, {"pool": pool}) for pool in pools), fmean(means)]
        rows.append([name, *(f"{score:.3f}" for score in cells)])
    sizes = {pool: [row["documents"] for row in found if row["pool"] == pool] for pool in pools}
    told = "; ".join(f"{pool}: {min(counts)} to {max(counts)}" for pool, counts in sizes.items())
    text = f"nDCG@10 on development pairs (passages and queries of a language: {told}); no evaluation set."
    return markdown(["setting", *languages, *pools, "mean"], rows, text)


def own_tokens_table(results: Path) -> str:
    """Whether texts keep their own tokens, by method."""
    found = read(results, "own_tokens")
    rows = [
        [
            f"{row['language']}, {row['method']}", f"{row['median_norm']:.2f}",
            *(f"{row[f'{role}_own_active']:.0%}" for role in ("query", "document")),
            *(f"{row[f'{role}_active_dims']:.0f}" for role in ("query", "document")),
        ]
        for row in found
    ]  # fmt: skip
    text = f"Over {found[0]['passages']} development passages of prose a language, and the sentence taken from each."
    header = ["language, method", "norm of a bridged row", "own tokens active, query", "document", "dims, query"]
    return markdown([*header, "document"], rows, text)


def own_directions_table(results: Path) -> str:
    """Length of the directions, before and after training."""
    found = read(results, "own_directions")
    languages = values(found, "language")
    table = []
    for strength in values(found, "own_direction"):
        rows = {row["language"]: row for row in found if row["own_direction"] == strength}
        scores = [rows.get(language, {}).get(key) for language in languages for key in ("before", "best")]
        table.append([f"{strength:g}", *("" if value is None else f"{value:.3f}" for value in scores)])
    header = ["`--own-direction`", *(f"{language}: {when}" for language in languages for when in ("before", "after"))]
    return markdown(header, table, "nDCG@10 on development sections, before training and at its best checkpoint.")


def crowding_table(results: Path) -> str:
    """Remedies against crowding, means over languages and development pools."""
    rows = read(results, "crowding")
    ways = ("en-en", "en-l", "l-en", "l-l")
    table = []
    for output in ("source", "both", "target"):
        own = [row for row in rows if row["output"] == output]
        for remedy in values(own, "remedy"):
            means = [mean(own, {"remedy": remedy}, way) for way in ways]
            dims = mean(own, {"remedy": remedy}, "passage_active_dims")
            table.append([f"{output}: {remedy}", *(f"{one:.3f}" for one in (*means, fmean(means))), f"{dims:.0f}"])
    lines = [
        f"Means over {', '.join(values(rows, 'language'))} and two pools each of at most {rows[0]['run']['limit']} "
        "development pairs (sections, cloze), nDCG@10;",
        "alpha 4 where nothing else is said. Dims: active entries of a passage in the language.",
    ]
    return markdown(["written: remedy", "en to en", "en to L", "L to en", "L to L", "mean", "dims"], table, lines)


def domain_table(results: Path) -> str:
    """What unlabelled training was tried with on development sections."""
    rows = []
    for row in sorted(read(results, "domain"), key=lambda row: row["arm"] != "none"):
        choices = row["choices"]
        rows.append([
            row["named"],
            *(f"{choices[name]:g}" if name in choices else "" for name in ("learning_rate", "keep_snippet")),
            f"{row['seconds']:.0f}" if "seconds" in row else "",
            f"{row['ndcg@10']:.3f}",
        ])  # fmt: skip
    queries = read(results, "domain")[0]["queries"]
    lines = [
        f"Korean, {queries} development sections asked by their headings, none of them in the table above;",
        "one run each. Seconds are of one thread of a machine that was busy otherwise.",
    ]
    return markdown(["queries", "learning rate", "keep snippet", "seconds", "nDCG@10"], rows, lines)


def weights_table(results: Path) -> str:
    """Every weight and power of exact matching, means over languages and kinds of pairs."""
    found = [row for row in read(results, "exact_weights") if "trim" not in row]
    weights, powers = sorted(values(found, "weight")), sorted(values(found, "power"))
    source = [row for row in found if "self_activation" in row]
    rows = []
    for mode, calibrate, power in product(LEXICAL, (True, False), powers):
        wanted = {"mode": mode, "calibrate": calibrate, "power": power}
        means = [mean(found, wanted | {"weight": weight}) for weight in weights]
        name = f"{mode}, {'' if calibrate else 'not '}calibrated, power {power:g}"
        rows.append([name, *(f"**{one:.3f}**" if one == max(means) else f"{one:.3f}" for one in means)])
    alone: dict[str, Row] = {
        "BM25": {"mode": "bm25"},
        "the encoder": {"mode": "plain", "calibrate": False},
        "calibrated": {"mode": "plain", "calibrate": True},
    }
    compared = ", ".join(f"{name} {mean(found, wanted):.3f}" for name, wanted in alone.items())
    borrowed = [
        f"{mode}{'' if calibrate else ', not calibrated'} {mean(source, {'mode': mode, 'calibrate': calibrate}):.3f}"
        for mode, calibrate in product(LEXICAL, (True, False))
    ]
    lines = [
        f"nDCG@10 on development pairs among further passages, means over {len(values(found, 'language'))}",
        f"languages and both kinds of pairs; bold is the best of a line. For comparison: {compared}.",
        "With the strength, power, k1 and b that the English encoder gives the words of English sections instead: "
        f"{', '.join(borrowed)}.",
    ]
    return markdown(["weight", *(f"{weight:g}" for weight in weights)], rows, lines)


def trims_table(results: Path) -> str:
    """Few of the encoder's own entries beside its words, means over languages and kinds of pairs."""
    kinds: dict[tuple[str, tuple[int, ...]], list[Row]] = {}
    for row in read(results, "exact_weights"):
        if "dims" in row:
            kinds.setdefault((row["mode"], tuple(row.get("trim", ()))), []).append(row)
    table = []
    for (mode, trim), rows in sorted(kinds.items(), key=lambda kind: (kind[0][0], -sum(kind[0][1]) or -(10**6))):
        name = {"bm25": "BM25"}.get(mode, mode) + (f", {trim[0]} and {trim[1]} of its own" if trim else "")
        numbers = [mean(rows, {}), *(mean(rows, {"pairs": pairs}) for pairs in PAIRS)]
        sizes = [fmean(row["dims"][side] for row in rows) for side in (0, 1)]
        table.append([name, *(f"{number:.3f}" for number in numbers), *(f"{size:.0f}" for size in sizes)])
    header = ["", "nDCG@10", *PAIRS, "entries of a query", "of a passage"]
    return markdown(header, table, "Means over the languages, on the development pairs of the table above.")


def head_table(results: Path) -> str:
    """Norms and biases."""
    found = read(results, "exact_head")
    arms = ("plain", "calibrated", "echo")
    table = []
    for norm, bias in dict.fromkeys((row["norm"], row["bias"]) for row in found):
        own = [row for row in found if (row["norm"], row["bias"]) == (norm, bias)]
        scores = [mean(own, {"arm": arm, "pairs": pairs}) for arm in arms for pairs in PAIRS]
        dims = mean(own, {"arm": "plain"}, "active_dims")
        table.append([f"norm {norm}, bias {bias}", f"{dims:.0f}", *(f"{score:.3f}" for score in scores)])
    header = ["head", "active dims", *(f"{arm}: {PAIRS[0]}" if i == 0 else PAIRS[1] for arm in arms for i in (0, 1))]
    languages = ", ".join(values(found, "language"))
    return markdown(header, table, f"nDCG@10 on development pairs, means over {languages}; no evaluation set.")


def kept_table(results: Path) -> str:
    """Lexical weights of English tokens that were kept: within a language, from English, and in English."""
    every = read(results, "exact_kept")
    found = [row for row in every if row["language"] != "en"]
    english = [row for row in every if row["language"] == "en"]
    shown: dict[str, Row] = {"BM25": {"arm": "bm25"}, "the encoder": {"arm": "plain"}}
    for mode, share in product(LEXICAL, values(found, "kept_tokens")):
        shown[f"{mode}, kept tokens: {share}"] = {"arm": mode, "kept_tokens": share, "weight": WEIGHT}
    table = []
    for told, wanted in shown.items():
        cells = [f"{mean(found, wanted | {'pairs': name}):.3f}" for name in (*PAIRS, "from English")]
        cells.append("—" if wanted.get("kept_tokens") == "none" else f"{mean(english, wanted):.3f}")
        table.append([told, *cells])
    languages = ", ".join(sorted(values(found, "language")))
    text = f"nDCG@10 on the development pairs of the tables above, means over {languages}; the source kept."
    return markdown(["", *PAIRS, "from English", "in English"], table, [text, FROM_ENGLISH])


def taught_table(results: Path) -> str:
    """What teaching an echo does within the language, from English, and in English."""
    before, after = (read(results, f"exact_{name}") for name in ("kept", "taught"))
    languages = set(values(after, "language")) - {"en"}
    table = []
    for when, every in (("before", before), ("taught", after)):
        found = [row for row in every if row["language"] in languages]
        for arm in ("plain", "echo", "hybrid"):
            wanted: Row = {"arm": arm}
            if arm != "plain":
                wanted |= {"kept_tokens": f"{KNOWN_SHARE[arm]:g} where active", "weight": WEIGHT}  # type: ignore[index]
            cells = [mean(found, wanted | {"pairs": name}) for name in (*PAIRS, "from English")]
            cells.append(mean(every, wanted | {"language": "en"}))
            table.append([f"{when}: {arm}", *(f"{value:.3f}" for value in cells)])
    text = f"nDCG@10 on development pairs, means over {', '.join(sorted(languages))}; the source kept."
    return markdown(["", *PAIRS, "from English", "in English"], table, [text, FROM_ENGLISH])


TABLES = {
    "settings": settings_table,
    "own-tokens": own_tokens_table,
    "own-directions": own_directions_table,
    "crowding": crowding_table,
    "domain-choices": domain_table,
    "exact-matching-settings": weights_table,
    "exact-matching-trims": trims_table,
    "exact-matching-head": head_table,
    "exact-matching-kept": kept_table,
    "exact-matching-taught": taught_table,
}
