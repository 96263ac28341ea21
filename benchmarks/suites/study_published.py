"""The study on published weights: encoders and bridges that people have, all methods at their defaults.

    make models && ISTHMUS_DATA=... python -m benchmarks study-published

Methods, pairs of training and collections are those of the study, but bridges are refined and their similarities
standardised. A cell is an encoder, bridge, language, method, stage and seed; a run that is stopped goes on where it
was, with what decides most first. Bridges run in bfloat16.
"""

from __future__ import annotations

import argparse
import functools
import gc
import itertools
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import isthmus
from benchmarks import harness
from benchmarks.harness import BRIDGE, ENCODER, LANGUAGES, TOKENIZER, Results, Row, fingerprint
from benchmarks.pairs import target_text
from benchmarks.suites import study
from benchmarks.suites.bridges import transferred
from benchmarks.suites.study import RATE, TRAINING, Cell, Pair, collection_of, fine_tuned, measure, training_of
from isthmus.evaluation import BM25
from isthmus.evaluation.models import load_model

TINY, E5 = "published/splade-tiny", "published/multilingual-e5-small"
PAIRS = ((TINY, E5), (TINY, BRIDGE), (ENCODER, E5))
STAGES = ("zero-shot", "fine-tuned")
# What the study holds fast to stay what it was; here the defaults decide.
HELD = ("refine", "standardize", "alpha", "csls")
METHODS = {
    name: {key: value for key, value in options.items() if key not in HELD} for name, options in study.METHODS.items()
}
WITHOUT_BRIDGE = ("bm25", "base", *study.WITHOUT_BRIDGE)
FIRST = ("sembridge", "nearest", "sembridge-keep-source", "multivariate-gaussian", "ofa", "sembridge-own", "gaussian")
REST = ("sembridge-released", "base", "mean", "focus", "random")
# The best after training with the first encoder and bridge; they have three seeds.
BEST = ("sembridge-keep-source", "sembridge", "multivariate-gaussian", "nearest", "ofa")


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
        """Name of the cell."""
        sides = [str(side).rpartition("/")[2] for side in (self.encoder, self.bridge)]
        return ".".join([*sides, self.language, self.method, self.stage, str(self.seed)])


@dataclass(frozen=True)
class Carried(Pair):
    """A pair whose transfers are those of this suite."""

    def transferred(self, name: str, language: str, seed: int, data: Path, options: Row | None = None) -> Any:
        """The encoder of a method before training; ``options`` are always the suite's own."""
        return start(self.encoder, None if name in WITHOUT_BRIDGE else self.bridge, language, name, seed, data)


# Of the two stages of a cell, the second begins with the encoder of the first.
@functools.lru_cache(maxsize=1)
def start(encoder: str, bridge: str | None, language: str, method: str, seed: int, data: Path) -> Any:
    """The encoder of a cell before training."""
    if method == "bm25":
        return BM25(TOKENIZER.format(language=language))
    if method == "base":
        return load_model(encoder)
    options = dict(METHODS[method])
    if method == "focus":
        options["texts"] = target_text(data, language)
    return transferred(encoder, bridge, language, seed=seed, **options)[0]


def plan() -> Iterator[Place]:
    """All cells, those first that decide most."""
    yield from block(None, None, ["bm25"], ["zero-shot"])
    yield from block(TINY, E5, FIRST, STAGES)
    yield from block(TINY, BRIDGE, FIRST, ["zero-shot"])
    yield from block(ENCODER, E5, FIRST, ["zero-shot"])
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


def make_cell(place: Place, args: argparse.Namespace) -> Cell:
    """A cell and everything it depends on."""
    settings = {
        **asdict(place),
        "prints": [name and fingerprint(name) for name in (place.encoder, place.bridge)],
        "tokenizer": fingerprint(TOKENIZER.format(language=place.language)),
        "transfer": METHODS.get(place.method),
        "training": None if place.stage == "zero-shot" else replace(TRAINING, learning_rate=RATE).to_dict(),
        "distractors": args.distractors,
        "max_queries": args.max_queries,
        "isthmus": isthmus.__version__,
    }
    return Cell(str(place), settings, place.language, place.method, place.stage, place.seed)


def measure_place(results: Results, place: Place, cell: Cell, args: argparse.Namespace) -> None:
    """Transfer, train where the stage says so, and measure."""
    pair = Carried(str(place.encoder), str(place.bridge))
    at = (place.method, place.language, place.seed, args.data)
    collection = collection_of(place.language, args)
    if place.stage == "zero-shot":
        measure(results, cell, pair.transferred(*at), collection, None)
        return
    work = args.work / str(place)
    folder, report = fine_tuned(*at, work, pair)
    measure(results, cell, load_model(str(folder)), collection, training_of(report))
    shutil.rmtree(work)


def main(argv: Sequence[str] | None = None) -> None:
    """Measure what is missing."""
    parser = harness.parser_of(__doc__, "study-published", work="runs/study_published")
    parser.add_argument("--distractors", type=int, default=0)
    parser.add_argument("--max-queries", type=int, default=300)
    args = harness.parse(parser, argv)
    results = Results(args.output)
    for place in plan():
        cell = make_cell(place, args)
        if not results.done(cell):
            measure_place(results, place, cell, args)
            gc.collect()
