"""How fast the rows of new tokens are computed, against a plain loop and against the bare matrix product.

    python -m benchmarks speed [--quick]

Given bridge vectors of 30,522 source and 32,000 new tokens at 1,024 dimensions, the same process times

- our path: ``bridge_weights`` from vectors to a sparse matrix;
- the loop: one token after the other in torch, its cosines with all source tokens and ``entmax_bisect`` on the whole
  row, in float64, which is what it takes to get the weights that our path gives; on a sample of tokens, extrapolated;
- the floor: the float32 matrix product alone, by numpy, in blocks of the same size.

The vectors are made up, but like those of a real bridge in what matters for the work: a background cosine of about .2
and a best match of about .85. Peak memory is that of a fresh process that only makes the vectors and runs our path.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.harness import RESULTS, ROOT, Row, machine, markdown, say, timed, write_json
from isthmus.bridge import bridge_weights
from isthmus.reading.storage import read_json

BLOCK = 512
MEANINGS = 4000
ALPHA = 4.0
# Tokens that the loop is timed on, and that weights are compared on; times that each is run.
SAMPLE, COMPARED, REPEATS = 64, 64, 3
# Sizes of the source and target vocabulary, dimensions; target vocabularies and dimensions of the curve.
FULL = (30_522, 32_000, 1024, (8_000, 32_000, 128_000, 250_000), 128)
QUICK = (8_000, 4_000, 256, (1_000, 4_000, 16_000), 64)
Vectors = NDArray[np.float32]


def main(argv: Sequence[str] | None = None) -> None:
    """Run the benchmark, or one measurement of memory in a process of its own."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks speed", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("-o", "--output", type=Path, default=RESULTS / "speed.json")
    parser.add_argument("--quick", action="store_true", help="smaller sizes, for a look; not the numbers to publish")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--peak-of", type=int, nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.peak_of:
        print(json.dumps(peak_of(*args.peak_of, args.seed)))
        return
    write_json(args.output, benchmark(QUICK if args.quick else FULL, args.seed))


def benchmark(sizes: tuple[int, int, int, tuple[int, ...], int], seed: int) -> Row:
    """All measurements; keys of the result are stable."""
    source_size, target_size, dim, curve_sizes, curve_dim = sizes
    # First, and before torch is imported: a new process starts with the peak of the one that made it.
    command = [sys.executable, "-m", "benchmarks", "speed", "--seed", str(seed), "--peak-of"]
    command += map(str, (target_size, source_size, dim))
    memory = json.loads(subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT).stdout)
    source, target = vectors(source_size, dim, seed), vectors(target_size, dim, seed + 1)
    ours, product, loops = [], [], []
    # In turn, not one after the other: another program on the machine then slows all of them, and their ratio stays.
    for _ in range(REPEATS):
        ours.append(timed(partial(our_path, target, source))[1])
        product.append(timed(partial(bare_product, target, source))[1])
        loops.append(timed(partial(plain_loop, target[:SAMPLE], source))[1])
        say(f"ours {ours[-1]:.2f} s, product {product[-1]:.2f} s, loop sample {loops[-1]:.2f} s")
    seconds, floor = statistics.median(ours), statistics.median(product)
    loop = statistics.median(loops) / SAMPLE * target_size
    chosen = target[np.random.default_rng(0).choice(target_size, COMPARED, replace=False)]
    weights = our_path(chosen, source).toarray()
    return {
        "speedup_vs_loop": loop / seconds,
        "ratio_to_matmul": seconds / floor,
        "max_abs_diff": float(np.abs(weights - plain_loop(chosen, source)).max()),
        **memory,
        "seconds": seconds,
        "matmul_seconds": floor,
        "loop_seconds_extrapolated": loop,
        "all_seconds": {"ours": ours, "matmul": product, "loop_samples": loops},
        "mean_support": float((weights > 0).sum(axis=1).mean()),
        "curve": curve(curve_sizes, source_size, curve_dim, seed),
        "settings": {
            "alpha": ALPHA, "seed": seed, "source_tokens": source_size, "target_tokens": target_size, "dim": dim,
            "curve_dim": curve_dim, "block": BLOCK, "repeats": REPEATS,
            "vectors": f"synthetic, {MEANINGS} shared meanings, background cosine about .2, best match about .85",
            "loop": f"{SAMPLE} tokens timed, extrapolated linearly to {target_size}", "cpus": os.cpu_count(),
            "omp_num_threads": os.environ.get("OMP_NUM_THREADS"), "load_average": os.getloadavg()[0],
            **machine("numpy", "scipy", "torch", "entmax"),
        },
    }  # fmt: skip


def vectors(count: int, dim: int, seed: int) -> Vectors:
    """Unit vectors around shared meanings, shape (count, dim); another seed gives other tokens of the same meanings."""
    shared = np.random.default_rng(0)
    meanings = shared.standard_normal((MEANINGS, dim), dtype=np.float32)
    meanings += 0.6 * shared.standard_normal(dim, dtype=np.float32)
    generator = np.random.default_rng(seed)
    rows = np.empty((count, dim), dtype=np.float32)
    for start in range(0, count, 4096):
        part = rows[start : start + 4096]
        part[:] = 0.5 * generator.standard_normal(part.shape, dtype=np.float32)
        part += meanings[generator.integers(0, MEANINGS, len(part))]
        part /= np.linalg.norm(part, axis=1, keepdims=True)
    return rows


# Weights of new tokens, shape (target, source).
our_path = partial(bridge_weights, alpha=ALPHA, block=BLOCK, show_progress_bar=False)


def bare_product(target: Vectors, source: Vectors) -> None:
    """The bare product by numpy, in our blocks and into one buffer."""
    buffer = np.empty((BLOCK, len(source)), dtype=np.float32)
    for start in range(0, len(target), BLOCK):
        rows = target[start : start + BLOCK]
        np.matmul(rows, source.T, out=buffer[: len(rows)])


def plain_loop(target: Vectors, source: Vectors) -> NDArray[np.float64]:
    """Weights in float64, one whole row after the other."""
    import torch
    from entmax import entmax_bisect

    rows, columns = (torch.from_numpy(side.astype(np.float64)) for side in (target, source))
    found: NDArray[np.float64] = torch.stack([entmax_bisect(columns @ row, ALPHA) for row in rows]).numpy()
    return found


def curve(sizes: Sequence[int], source_size: int, dim: int, seed: int) -> list[Row]:
    """Seconds for growing target vocabularies, each in fewer dimensions so that the vectors fit beside the rest."""
    source = vectors(source_size, dim, seed)
    points = []
    for size in sizes:
        seconds = timed(partial(our_path, vectors(size, dim, seed + 1), source))[1]
        points.append({"target_tokens": size, "seconds": seconds, "seconds_per_1k_tokens": seconds / size * 1000})
        say(f"{size} target tokens at {dim} dimensions: {seconds:.2f} s")
    return points


def peak_of(target_size: int, source_size: int, dim: int, seed: int) -> Row:
    """Peak resident memory in MB before and after our path; ``ru_maxrss`` never falls."""
    source, target = vectors(source_size, dim, seed), vectors(target_size, dim, seed + 1)
    baseline = peak_rss_mb()
    our_path(target, source)
    return {"peak_rss_mb": peak_rss_mb(), "baseline_rss_mb": baseline}


def peak_rss_mb() -> float:
    """Largest resident size of this process so far, in units of 10^6 bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6


def speed_table(results: Path) -> str:
    """Time of the token map against loop and matrix product, and its growth with the target vocabulary."""
    found = read_json(results / "speed.json")
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
    return markdown(["target tokens", "seconds", "seconds per 1,000"], rows, lines)


TABLES = {"speed": speed_table}
