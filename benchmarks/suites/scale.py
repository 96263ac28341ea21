"""A plan for a million, a hundred million and a billion passages, computed from what was measured.

    python -m benchmarks scale

Postings of a passage are measured here, whole and trimmed, on passages of ISTHMUS_DATA; bytes of a posting and times
come from the results of ``python -m benchmarks engines`` and ``search``. A plan is a product of these and of prices
that are assumed (``--core-hour``, ``--machine-hour``); nothing was run above a million passages.
"""

from __future__ import annotations

import json
import lzma
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix

from benchmarks.harness import RESULTS, Row, machine, markdown, parse, parser_of, read_rows, write_json
from benchmarks.suites.cluster import MODEL
from isthmus.reading.storage import read_json

PASSAGES, QUERIES, TOP_K = 2_000, 200, 10
TRIMS = (None, 128, 64)
SIZES = (10**6, 10**8, 10**9)
# A machine, and how much of its memory an index may take beside everything else.
CORES, MEMORY, USED = 16, 64e9, 0.7
CORE_HOUR, MACHINE_HOUR, MONTH = 0.04, 0.80, 730
# Engines whose search touches what a query's terms have, or every row; measured by one client on one thread.
ENGINES = {
    "folder, u8": "a query reads its terms' whole lists: time grows with the passages; one folder is one machine's",
    "opensearch": "size of a shard (tens of GB are advised) and heap; then the number of shards",
    "qdrant edge": "memory: the sparse index is held in it unless it is told to stay on the disk",
    "anserini": "one index is one machine's; shards are yours to split and merge",
    "postgresql": "time: every query scans every row",
}


# What grows in proportion and was measured so: an engine that was asked once, with 20,000 sentences, tells no more.
QUERIES_TOLD, BUILDS_TOLD = ("folder, u8", "postgresql"), ("folder, u8",)


def main(argv: Sequence[str] | None = None) -> None:
    """Measure postings, and compute."""
    parser = parser_of(__doc__, "scale")
    parser.add_argument("--model", default=MODEL)
    parser.add_argument("--core-hour", type=float, default=CORE_HOUR, help="dollars; for encoding")
    parser.add_argument("--machine-hour", type=float, default=MACHINE_HOUR, help=f"dollars; {CORES} cores, 64 GB")
    args = parse(parser, argv)
    known = read_json(args.output) if args.output.exists() else {}
    trims = known["trims"] if known.get("model") == args.model else postings(args.model, Path(args.data))
    content = {"model": args.model, "prices": {"core_hour": args.core_hour, "machine_hour": args.machine_hour}}
    plan = planned(trims, read_rows(RESULTS / "engines.json"), read_json(RESULTS / "search.json"), content["prices"])
    write_json(args.output, {**content, "trims": trims, **plan, **machine("numpy")})


def postings(model: str, data: Path) -> list[Row]:
    """Postings of a passage, whole and trimmed, and what trimming costs."""
    from isthmus.encoders.encoding import encode_texts
    from isthmus.encoders.load import load_encoder
    from isthmus.index.exact import search

    with lzma.open(data / "distractors" / "en.jsonl.xz", "rt", encoding="utf-8") as stream:
        texts = [json.loads(line)["text"] for line in stream][: PASSAGES + QUERIES]
    encoder = load_encoder(model)
    whole = csr_matrix(encode_texts(encoder, texts[:PASSAGES], role="document", show_progress_bar=False))
    # The first words of other passages, as nobody wrote queries for these.
    asked = [" ".join(text.split()[:8]) for text in texts[PASSAGES:]]
    queries = csr_matrix(encode_texts(encoder, asked, role="query", show_progress_bar=False))
    best = search(queries, whole, TOP_K)[0]
    rows = []
    for trim in TRIMS:
        made = whole if trim is None else trimmed(whole, trim)
        found = search(queries, made, TOP_K)[0]
        kept = [len(set(a.tolist()) & set(b.tolist())) / TOP_K for a, b in zip(found, best, strict=True)]
        text = float(np.mean([len(text.encode()) for text in texts[:PASSAGES]]))
        rows.append(
            {"trim": trim, "postings": made.nnz / PASSAGES, "overlap@10": float(np.mean(kept)), "text_bytes": text}
        )
    return rows


def trimmed(vectors: csr_matrix, count: int) -> csr_matrix:
    """The heaviest entries of every row."""
    rows = []
    for row in vectors:
        kept = np.sort(np.argsort(-row.data, kind="stable")[:count])
        rows.append((row.data[kept], row.indices[kept]))
    starts = np.cumsum([0, *(len(data) for data, _ in rows)])
    parts = [np.concatenate(part) for part in zip(*rows, strict=True)]
    return csr_matrix((parts[0], parts[1], starts), shape=vectors.shape)


def planned(trims: list[Row], engines: list[Row], search: Row, prices: Row) -> dict[str, list[Row]]:
    """Bytes, machines, hours and money by engine and size; and how well the same sums tell a measured million."""
    measured = {row["engine"]: row for row in sorted(engines, key=lambda row: row["documents"])}
    synthetic = {(row["engine"], row["documents"]): row for row in search["rows"] if row["collection"] == "synthetic"}
    real = next(row for row in search["rows"] if row["collection"] == "real" and row["engine"] == "embedded, u8")
    encoding = next(row for row in search["pipeline"] if row["stage"] == "encode to parts")
    # Passages that a core encodes in an hour.
    encoded = encoding["documents"] / encoding["seconds"] / encoding["threads"] * 3600
    plain = trims[0]
    plan = []
    for name in ENGINES:
        if name.startswith("folder"):
            million = synthetic["embedded, u8", 10**6]
            per_posting = (real["bytes"] - 208 * real["documents"]) / (real["entries"] * real["documents"])
            milliseconds, build = million["p50_ms"] / 10**6, million["build_s"] / 10**6
        elif name in measured:
            row = measured[name]
            per_posting = (row["bytes"] - row["text_bytes"]) / row["postings"]
            # Passages have more postings than the sentences that were measured.
            longer = plain["postings"] / (row["postings"] / row["documents"])
            milliseconds = longer * (row["p50_ms"] or 0) / row["documents"]
            build = longer * row["build_s"] / row["documents"]
        else:
            continue
        for size in SIZES:
            bytes = size * (per_posting * plain["postings"] + plain["text_bytes"])
            machines = max(1, math.ceil(bytes / (MEMORY * USED)))
            hours = size / encoded
            plan.append(
                {
                    "engine": name, "passages": size, "bytes": bytes, "machines": machines, "encode_core_h": hours,
                    "build_h": build * size / 3600 / machines if name in BUILDS_TOLD else None,
                    "query_ms": milliseconds * size / machines if name in QUERIES_TOLD else None,
                    "encode_dollars": hours * prices["core_hour"],
                    "month_dollars": machines * MONTH * prices["machine_hour"], "per_posting": per_posting,
                }
            )  # fmt: skip
    return {"plan": plan, "checks": checked(synthetic, real)}


def checked(synthetic: dict[tuple[str, int], Row], real: Row) -> list[Row]:
    """A million passages as they would be told from smaller runs, and as they were."""
    small, large = synthetic["embedded, u8", 200_000], synthetic["embedded, u8", 10**6]
    by_posting = real["bytes"] / (real["entries"] * real["documents"])
    told = {
        "MB, from 23,052 real passages": (by_posting * large["entries"], large["bytes"] / 10**6),
        "build s, from 200,000": (small["build_s"] * 5, large["build_s"]),
        "p50 ms, from 200,000": (small["p50_ms"] * 5, large["p50_ms"]),
    }
    return [{"what": what, "told": a, "measured": b} for what, (a, b) in told.items()]


def table(results: Path) -> str:
    """The plan."""
    found = read_json(results / "scale.json")
    rows = [
        [
            row["engine"], f"{row['passages'] / 1e6:,.0f} M", size_of(row["bytes"]), f"{row['machines']:,}",
            f"{row['encode_core_h']:,.0f}", "" if row["build_h"] is None else f"{row['build_h']:,.2f}",
            "" if row["query_ms"] is None else time_of(row["query_ms"]),
            f"{row['encode_dollars']:,.0f} + {row['month_dollars']:,.0f}", ENGINES[row["engine"]],
        ]
        for row in found["plan"]
    ]  # fmt: skip
    header = ["engine", "passages", "bytes", "machines", "encoding, core hours", "filling, hours", "a query"]
    prices = found["prices"]
    text = (
        f"Machines: {CORES} cores, {MEMORY / 1e9:.0f} GB, {USED:.0%} of it for the index, each with its share of the "
        "passages; replicas come on top. A query: on one thread of each machine, all machines at a time. Filling and "
        "queries are told where they grow in proportion and were measured; that of PostgreSQL on a busy machine. "
        "Money: encoding once, and a month of the machines, at "
        f"{prices['core_hour']:.2f} dollars a core hour and {prices['machine_hour']:.2f} a machine hour, assumed."
    )
    return markdown([*header, "dollars, once + a month", "breaks first"], rows, text)


def trims_table(results: Path) -> str:
    """Postings, whole and trimmed."""
    found = read_json(results / "scale.json")
    plans = {row["engine"]: row["per_posting"] for row in found["plan"]}
    rows: list[list[Any]] = []
    for row in found["trims"]:
        name = "whole" if row["trim"] is None else f"heaviest {row['trim']}"
        u8, f32 = plans["folder, u8"] * row["postings"], (plans["folder, u8"] + 3) * row["postings"]
        rows.append([name, f"{row['postings']:.0f}", f"{f32:,.0f}", f"{u8:,.0f}", f"{row['overlap@10']:.3f}"])
    text = f"{PASSAGES:,} passages of {found['trims'][0]['text_bytes']:.0f} bytes of text, by {found['model']}."
    header = ["entries of a passage", "postings", "folder f32, bytes", "folder u8, bytes"]
    return markdown([*header, "of the ten best, kept"], rows, text)


def checks_table(results: Path) -> str:
    """The sums against a measured million."""
    rows = [
        [row["what"], f"{row['told']:,.1f}", f"{row['measured']:,.1f}"]
        for row in read_json(results / "scale.json")["checks"]
    ]
    return markdown(["folder, u8, a million passages", "computed", "measured"], rows)


def size_of(bytes: float) -> str:
    """In units that people read."""
    return f"{bytes / 1e12:,.1f} TB" if bytes >= 1e12 else f"{bytes / 1e9:,.1f} GB"


def time_of(milliseconds: float) -> str:
    """Likewise."""
    return f"{milliseconds / 1000:,.1f} s" if milliseconds >= 1000 else f"{milliseconds:,.0f} ms"


TABLES = {"scale": table, "scale-trims": trims_table, "scale-checks": checks_table}
