"""How fast the rows of new tokens are computed, against a plain loop and against the bare matrix product.

    python benchmarks/transfer_speed.py --json [--quick] [-o FILE]

Given bridge vectors of 30,522 source and 32,000 new tokens at 1,024 dimensions, the same process times

- our path: ``bridge_weights`` from vectors to a sparse matrix;
- the loop: one token after the other in torch, its cosines with all source tokens and ``entmax_bisect`` on the whole
  row, in float64, which is what it takes to get the weights that our path gives; on a sample of tokens, extrapolated.
  Two cheaper loops, whose weights are off by what ``max_abs_diff`` beside them says, are timed too: all in float32, and
  float32 with the cosines of the sample from one matrix product, charged to the loop;
- the floor: the float32 matrix product alone, in blocks of the same size, by numpy, which our path uses (and once by
  torch).

The vectors are made up, but like those of a real bridge in what matters for the work: a background cosine of about .2
and a best match of about .85. Peak memory is that of a fresh process that only makes the vectors and runs our path.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.bridge import bridge_weights
from isthmus.reading.storage import atomic_write

BLOCK = 512
MEANINGS = 4000
FULL = {"source": 30_522, "target": 32_000, "dim": 1024, "sample": 64, "repeats": 3, "curve_dim": 128}
FULL_CURVE = [8_000, 32_000, 128_000, 250_000]
QUICK = {"source": 8_000, "target": 4_000, "dim": 256, "sample": 16, "repeats": 3, "curve_dim": 64}
QUICK_CURVE = [1_000, 4_000, 16_000]
COMPARED = 64
LOOPS: dict[str, dict[str, Any]] = {
    "float64": {"dtype": "float64"},
    "float32": {"dtype": "float32"},
    "float32_batched_cosines": {"dtype": "float32", "batched": True},
}


def main() -> None:
    """Run the benchmark, or one measurement of memory in a process of its own."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object on standard output")
    parser.add_argument("-o", "--output", type=Path, help="also write the JSON object to this file")
    parser.add_argument("--quick", action="store_true", help="smaller sizes, for a look; not the numbers to publish")
    parser.add_argument("--alpha", type=float, default=4.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--peak-of", type=int, nargs=3, metavar=("TARGET", "SOURCE", "DIM"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peak_of:
        target_size, source_size, dim = options.peak_of
        print(json.dumps(measure_peak(target_size, source_size, dim, options.alpha, options.seed)))
        return
    result = benchmark(options.quick, options.alpha, options.seed)
    text = json.dumps(result, indent=2)
    if options.output:
        atomic_write(options.output, (text + "\n").encode())
    print(text if options.json else summary(result))


def benchmark(quick: bool, alpha: float, seed: int) -> dict[str, Any]:
    """All measurements; keys of the result are stable."""
    sizes, curve_sizes = (QUICK, QUICK_CURVE) if quick else (FULL, FULL_CURVE)
    source_size, target_size, dim = sizes["source"], sizes["target"], sizes["dim"]
    # First, and before torch is imported: a new process starts with the peak of the one that made it.
    memory = peak_in_a_fresh_process(target_size, source_size, dim, alpha, seed)
    say(f"peak memory {memory['peak_rss_mb']:.0f} MB")
    import torch

    source, target = vectors(source_size, dim, seed), vectors(target_size, dim, seed + 1)

    # In turn, not one after the other: another program on the machine then slows all of them, and their ratio stays.
    ours, product = [], []
    loops: dict[str, list[float]] = {name: [] for name in LOOPS}
    sample = target[: sizes["sample"]]
    weights = bridge_weights(sample, source, alpha, show_progress_bar=False).toarray()
    loop_diff = dict.fromkeys(LOOPS, 0.0)
    for _ in range(sizes["repeats"]):
        ours.append(timed(lambda: bridge_weights(target, source, alpha, block=BLOCK, show_progress_bar=False)))
        product.append(timed(lambda: numpy_product(target, source)))
        for name, settings in LOOPS.items():
            seconds, rows = plain_loop(sample, source, alpha, **settings)
            loops[name].append(seconds)
            loop_diff[name] = float(np.abs(rows - weights).max())
        say(f"ours {ours[-1]:.2f} s, product {product[-1]:.2f} s, loop sample {loops['float64'][-1]:.2f} s")
    torch_product = timed(lambda: blocked_torch_product(target, source))
    seconds, floor = statistics.median(ours), statistics.median(product)
    loop_seconds = {name: statistics.median(times) / len(sample) * target_size for name, times in loops.items()}
    return {
        "speedup_vs_loop": loop_seconds["float64"] / seconds,
        "ratio_to_matmul": seconds / floor,
        "max_abs_diff": max_abs_diff(target, source, alpha),
        **memory,
        "seconds": seconds,
        "matmul_seconds": floor,
        "torch_matmul_seconds": torch_product,
        "loops": {
            name: {
                "speedup": loop_seconds[name] / seconds,
                "seconds_extrapolated": loop_seconds[name],
                "max_abs_diff": loop_diff[name],
            }
            for name in LOOPS
        },
        "loop_sample_tokens": len(sample),
        "all_seconds": {"ours": ours, "matmul": product, "loop_samples": loops},
        "mean_support": float((weights > 0).sum(axis=1).mean()),
        "curve": curve(curve_sizes, source_size, sizes["curve_dim"], alpha, seed),
        "settings": {
            "quick": quick,
            "alpha": alpha,
            "seed": seed,
            "source_tokens": source_size,
            "target_tokens": target_size,
            "dim": dim,
            "curve_dim": sizes["curve_dim"],
            "block": BLOCK,
            "repeats": sizes["repeats"],
            "vectors": f"synthetic, {MEANINGS} shared meanings, background cosine about .2, best match about .85",
            "loop": f"{sizes['sample']} tokens timed, extrapolated linearly to {target_size}",
            "cpus": os.cpu_count(),
            "torch_threads": torch.get_num_threads(),
            "omp_num_threads": os.environ.get("OMP_NUM_THREADS"),
            "load_average": os.getloadavg()[0],
            "python": platform.python_version(),
            "versions": {name: version(name) for name in ("numpy", "scipy", "torch", "entmax")},
        },
    }


def vectors(count: int, dim: int, seed: int) -> NDArray[np.float32]:
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


def numpy_product(target: NDArray[np.float32], source: NDArray[np.float32]) -> None:
    """The bare product by numpy, in our blocks and into one buffer."""
    buffer = np.empty((BLOCK, len(source)), dtype=np.float32)
    for start in range(0, len(target), BLOCK):
        rows = target[start : start + BLOCK]
        np.matmul(rows, source.T, out=buffer[: len(rows)])


def blocked_torch_product(target: NDArray[np.float32], source: NDArray[np.float32]) -> None:
    """The bare product by torch, likewise."""
    import torch

    buffer, columns = torch.empty(BLOCK, len(source)), torch.from_numpy(source).T
    for start in range(0, len(target), BLOCK):
        rows = torch.from_numpy(target[start : start + BLOCK])
        torch.mm(rows, columns, out=buffer[: len(rows)])


def plain_loop(
    target: NDArray[np.float32],
    source: NDArray[np.float32],
    alpha: float,
    dtype: str = "float64",
    batched: bool = False,
) -> tuple[float, NDArray[np.float64]]:
    """Seconds and weights, shape (rows, source), of ``entmax_bisect`` on one whole row after the other.

    Args:
        target: Vectors of the sample.
        source: Vectors of all source tokens.
        alpha: Sparsity.
        dtype: What everything is computed in.
        batched: Cosines of all rows from one matrix product, instead of a matrix-vector product per token.
    """
    import torch
    from entmax import entmax_bisect

    rows, columns = (torch.from_numpy(side.astype(dtype)) for side in (target, source))
    start = time.perf_counter()
    if batched:
        weights = [entmax_bisect(cosines, alpha) for cosines in rows @ columns.T]
    else:
        weights = [entmax_bisect(columns @ row, alpha) for row in rows]
    seconds = time.perf_counter() - start
    return seconds, torch.stack(weights).double().numpy()


def max_abs_diff(target: NDArray[np.float32], source: NDArray[np.float32], alpha: float) -> float:
    """Largest difference of our weights from float64 entmax_bisect on the float64 cosines of the same vectors."""
    import torch
    from entmax import entmax_bisect

    chosen = np.random.default_rng(0).choice(len(target), COMPARED, replace=False)
    weights = bridge_weights(target[chosen], source, alpha, show_progress_bar=False)
    cosines = np.concatenate(
        [
            target[chosen].astype(np.float64) @ source[start : start + 4096].astype(np.float64).T
            for start in range(0, len(source), 4096)
        ],
        axis=1,
    )
    expected = entmax_bisect(torch.from_numpy(cosines), alpha, n_iter=100).numpy()
    return float(np.abs(weights.toarray() - expected).max())


def curve(sizes: list[int], source_size: int, dim: int, alpha: float, seed: int) -> list[dict[str, float]]:
    """Seconds for growing target vocabularies, each in fewer dimensions so that the vectors fit beside the rest."""
    source = vectors(source_size, dim, seed)
    points = []
    for size in sizes:
        target = vectors(size, dim, seed + 1)
        seconds = timed(partial(bridge_weights, target, source, alpha, block=BLOCK, show_progress_bar=False))
        points.append({"target_tokens": size, "seconds": seconds, "seconds_per_1k_tokens": seconds / size * 1000})
        say(f"{size} target tokens at {dim} dimensions: {seconds:.2f} s")
    return points


def measure_peak(target_size: int, source_size: int, dim: int, alpha: float, seed: int) -> dict[str, float]:
    """Peak resident memory in MB before and after our path; ``ru_maxrss`` never falls."""
    source, target = vectors(source_size, dim, seed), vectors(target_size, dim, seed + 1)
    baseline = peak_rss_mb()
    bridge_weights(target, source, alpha, block=BLOCK, show_progress_bar=False)
    return {"peak_rss_mb": peak_rss_mb(), "baseline_rss_mb": baseline}


def peak_in_a_fresh_process(target_size: int, source_size: int, dim: int, alpha: float, seed: int) -> dict[str, float]:
    """Run :func:`measure_peak` where nothing else was loaded."""
    command = [sys.executable, __file__, "--alpha", str(alpha), "--seed", str(seed), "--peak-of"]
    command += [str(target_size), str(source_size), str(dim)]
    result: dict[str, float] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return result


def peak_rss_mb() -> float:
    """Largest resident size of this process so far, in units of 10^6 bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6


def timed(function: Callable[[], object]) -> float:
    """Wall seconds of one call."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def say(message: str) -> None:
    """Report progress on standard error."""
    print(message, file=sys.stderr, flush=True)


def summary(result: dict[str, Any]) -> str:
    """The result in a few lines."""
    settings = result["settings"]
    lines = [
        f"{settings['target_tokens']:,} new x {settings['source_tokens']:,} source tokens, {settings['dim']} dims, "
        f"alpha {settings['alpha']}: {result['seconds']:.1f} s",
        f"{result['speedup_vs_loop']:.0f} times as fast as the plain loop in float64 ({settings['loop']})",
    ]
    lines += [
        f"{loop['speedup']:.0f} times as fast as the loop {name}, whose weights differ by {loop['max_abs_diff']:.0e}"
        for name, loop in result["loops"].items()
        if name != "float64"
    ]
    lines += [
        f"{result['ratio_to_matmul']:.2f} times the bare matrix product ({result['matmul_seconds']:.1f} s)",
        f"peak memory {result['peak_rss_mb']:.0f} MB, of which imports and vectors {result['baseline_rss_mb']:.0f} MB",
        f"largest difference from float64 entmax_bisect {result['max_abs_diff']:.1e}",
    ]
    lines += [
        f"{point['target_tokens']:>9,} target tokens at {settings['curve_dim']} dimensions: {point['seconds']:.1f} s, "
        f"{point['seconds_per_1k_tokens']:.3f} s per 1,000"
        for point in result["curve"]
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
