"""The study on published weights: encoders and bridges that people have, all methods at their defaults.

    make models && ISTHMUS_DATA=... python benchmarks/study_published.py

Methods, pairs, collections and training are those of the study (``study.py``), the bridges are refined and their
similarities standardised. One row a cell and, beside them, nDCG@10 by query; a run that is stopped goes on where it
was, with what decides most first. The learning rate of the published encoder is chosen on development sections of
Korean, for all methods together; mini-splade-en keeps the one of the study.
"""

from __future__ import annotations

import argparse
import functools
import gc
import io
import itertools
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import study_arms
from bridges import transferred
from cells import fingerprint, use_data
from study import LANGUAGES, TUNED_ON, Cell, collection_of, measured, training_of
from study_arms import TOKENIZER, TRAINING, fine_tuned
from training_pairs import target_text
from zero_shot import say

import isthmus
from isthmus.evaluation import BM25
from isthmus.evaluation.models import load_model
from isthmus.reading.storage import atomic_write_all, read_json

TINY, MINI = "published/splade-tiny", "isthmus/mini-splade-en"
E5, MINI_BRIDGE = "published/multilingual-e5-small", "isthmus/mini-bridge"
STAGES = ("zero-shot", "fine-tuned")
PAIRS = ((TINY, E5), (TINY, MINI_BRIDGE), (MINI, E5))
# What the study had to hold fast to stay what it was; here the defaults decide.
HELD = ("refine", "standardize", "alpha", "csls")
METHODS = {
    name: {key: value for key, value in options.items() if key not in HELD}
    for name, options in study_arms.METHODS.items()
}
WITHOUT_BRIDGE = ("bm25", "base", *study_arms.WITHOUT_BRIDGE)
FIRST = ("sembridge", "nearest", "sembridge-keep-source", "multivariate-gaussian", "ofa", "sembridge-own", "gaussian")
REST = ("sembridge-released", "base", "mean", "focus", "random")
# The best after training with the first encoder and bridge; they have three seeds.
BEST = ("sembridge-keep-source", "sembridge-own", "sembridge", "nearest", "multivariate-gaussian")
RATES = (3e-4, 1e-3, 3e-3)
TUNED = ("sembridge", "multivariate-gaussian")
print_of = functools.cache(fingerprint)


@dataclass(frozen=True)
class Place:
    """A cell: what is measured."""

    encoder: str | None
    bridge: str | None
    language: str
    method: str
    stage: str
    seed: int

    def __str__(self) -> str:
        """Name of the cell, also of a folder."""
        sides = [str(side).rpartition("/")[2] for side in (self.encoder, self.bridge)]
        return ".".join([*sides, self.language, self.method, self.stage, str(self.seed)])


def plan() -> Iterator[Place]:
    """All cells, those first that decide most."""
    yield from block(None, None, ["bm25"], ["zero-shot"])
    yield from block(TINY, E5, FIRST, STAGES)
    yield from block(TINY, MINI_BRIDGE, FIRST, ["zero-shot"])
    yield from block(MINI, E5, FIRST, ["zero-shot"])
    yield from block(TINY, E5, REST, ["zero-shot"])
    for encoder, bridge in PAIRS[1:]:
        yield from block(encoder, bridge, FIRST, ["fine-tuned"])
    for (encoder, bridge), seed in itertools.product(PAIRS, (1, 2)):
        yield from block(encoder, bridge, BEST, ["fine-tuned"], seed)
    for encoder, bridge in PAIRS:
        yield from block(encoder, bridge, REST, STAGES)


def block(
    encoder: str | None, bridge: str | None, methods: Sequence[str], stages: Sequence[str], seed: int = 0
) -> Iterator[Place]:
    """The cells of some methods in all languages."""
    for method, language, stage in itertools.product(methods, LANGUAGES, stages):
        yield Place(encoder, None if method in WITHOUT_BRIDGE else bridge, language, method, stage, seed)


@functools.lru_cache(maxsize=1)
def start(place: Place, data: Path) -> Any:
    """The encoder of a cell before training; the stage of ``place`` does not matter."""
    if place.method == "bm25":
        return BM25(TOKENIZER.format(language=place.language))
    if place.method == "base" or place.encoder is None:
        return load_model(str(place.encoder))
    options = dict(METHODS[place.method])
    if place.method == "focus":
        options["texts"] = target_text(data, place.language)
    return transferred(place.encoder, place.bridge, place.language, seed=place.seed, **options)[0]


def train(place: Place, rate: float, args: argparse.Namespace) -> tuple[Path, dict[str, Any]]:
    """Folder and report of the trained encoder of a cell."""
    untrained = replace(place, stage="")
    run = (str(place), place.language, place.seed, rate)
    return fine_tuned(*run, args.data, args.work, lambda *_: start(untrained, args.data))


def rate_of(encoder: str, content: dict[str, Any], args: argparse.Namespace) -> float:
    """The learning rate of an encoder: the best mean over the tuned methods, in development."""
    if encoder == MINI:
        return study_arms.RATES[0]
    for method, rate in itertools.product(TUNED, RATES):
        if not any((row["method"], row["learning_rate"]) == (method, rate) for row in content["rates"]):
            (place,) = (cell for cell in block(TINY, E5, [method], ["fine-tuned"]) if cell.language == TUNED_ON)
            folder, report = train(place, rate, args)
            shutil.rmtree(folder.parent)
            content["rates"].append({"method": method, "language": TUNED_ON} | training_of(report, rate))
            write(content, {}, args.output)
            say(f"{method}, learning rate {rate:g}: development {report['development']['best']:.3f}")
    found = content["rates"]
    return max(
        RATES, key=lambda rate: fmean(row["development"]["best"] for row in found if row["learning_rate"] == rate)
    )


def cell_of(place: Place, rate: float | None, args: argparse.Namespace) -> Cell:
    """A cell and everything it depends on."""
    settings = {
        **asdict(place),
        "prints": [name and print_of(name) for name in (place.encoder, place.bridge)],
        "tokenizer": print_of(TOKENIZER.format(language=place.language)),
        "transfer": METHODS.get(place.method),
        "training": None if rate is None else replace(TRAINING, learning_rate=rate).to_dict(),
        "distractors": args.distractors,
        "max_queries": args.max_queries,
        "isthmus": isthmus.__version__,
    }
    return Cell(place.language, place.method, place.stage, place.seed, args.output, settings)


def write(content: dict[str, Any], scores: dict[str, Any], output: Path) -> None:
    """Write the rows, and scores by query beside them."""
    path, buffer = output.with_suffix(".npz"), io.BytesIO()
    if path.exists():
        with np.load(path) as kept:
            scores = dict(kept) | scores
    np.savez_compressed(buffer, **scores)
    text = json.dumps(content, ensure_ascii=False, indent=1) + "\n"
    atomic_write_all({path: buffer.getvalue(), output: text.encode()})


def main(argv: Sequence[str] | None = None) -> None:
    """Measure what is missing."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, default=os.environ.get("ISTHMUS_DATA"), help="default: ISTHMUS_DATA")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results" / "study_published.json")
    parser.add_argument("--work", type=Path, default=Path("runs/study_published"), help="where encoders are trained")
    parser.add_argument("--distractors", type=int, default=0)
    parser.add_argument("--max-queries", type=int, default=300)
    args = parser.parse_args(argv)
    use_data(parser, args)
    content = {"training": TRAINING.to_dict(), "rates": [], "rows": []}
    if args.output.exists():
        content = read_json(args.output)
    for place in plan():
        rate = rate_of(str(place.encoder), content, args) if place.stage == "fine-tuned" else None
        cell = cell_of(place, rate, args)
        if any(row["settings_hash"] == cell.key for row in content["rows"]):
            continue
        training, folder = None, None
        if rate is None:
            model = start(replace(place, stage=""), args.data)
        else:
            folder, report = train(place, rate, args)
            model, training = load_model(str(folder)), training_of(report, rate)
        found, scores = measured(cell, model, collection_of(place.language, args), training)
        row = asdict(place) | {key: value for key, value in found.items() if key not in ("settings", "versions")}
        kept = [other for other in content["rows"] if {key: other[key] for key in asdict(place)} != asdict(place)]
        content["rows"] = [*kept, row]
        write(content, {str(place): scores.astype(np.float32)}, args.output)
        if folder is not None:
            shutil.rmtree(folder.parent)
        del model
        gc.collect()


if __name__ == "__main__":
    main()
