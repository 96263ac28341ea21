"""What the suites share: cells with everything they depend on, resumable result files, comparisons, tables."""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import platform
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib.metadata import distributions, version
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

import isthmus
from isthmus import assets
from isthmus.collections import Collection
from isthmus.reading.storage import atomic_write, read_json

ROOT = Path(__file__).parent.parent
RESULTS = Path(__file__).parent / "results"
ENCODER, BRIDGE, TOKENIZER = "isthmus/mini-splade-en", "isthmus/mini-bridge", "isthmus/tokenizer-{language}"
MODELS = {"encoder": ENCODER, "bridge": BRIDGE}
LANGUAGES = ("ar", "hi", "ko", "ru", "zh")
COLLECTIONS = {"xquad": "XQuAD", "korquad": "KorQuAD", "drcd": "DRCD", "cmrc2018": "CMRC 2018", "arcd": "ARCD"}
# Below this p value a difference is marked in tables.
LEVEL = 0.05
Row = dict[str, Any]
# Scores by query of a cell, by arm.
Scores = Mapping[str, NDArray[np.float64]]


@dataclass(frozen=True)
class Cell:
    """One measurement and everything that it depends on."""

    name: str
    settings: dict[str, Any]

    @property
    def key(self) -> str:
        """Hash of the settings."""
        return hashed(self.settings)


@dataclass(frozen=True)
class PoolCell(Cell):
    """An arm on a pool."""

    arm: str
    pool: str
    collection: Collection


def pool_cell(language: str, pool: str, collection: Collection, arm: str, **settings: Any) -> PoolCell:
    """The cell of an arm on a pool, with what else it depends on."""
    place = {"language": language, "collection": collection.name, "pool": pool, "arm": arm}
    return PoolCell(".".join(place.values()), {**place, **settings}, arm, pool, collection)


def run_settings(args: argparse.Namespace, *names: str, **more: Any) -> Row:
    """What all cells of a run have in common: its models, the named options and more."""
    models = {name: fingerprint(getattr(args, name, default)) for name, default in MODELS.items()}
    return {**models, **{name: getattr(args, name) for name in names}, **more, "isthmus": isthmus.__version__}


class Results:
    """The cells of a suite in one JSON file, a line each, and their scores by query in one compressed file.

    A cell is finished when it is there under the same settings. A change reads the file again under a lock, so that
    several processes can measure one suite.
    """

    def __init__(self, path: Path, scores: Path | None = None) -> None:
        self.path, self.scored = path, scores or path.with_suffix(".npz")
        self._read()

    def _read(self) -> None:
        self.content: Row = read_json(self.path) if self.path.exists() else {}
        self.by_name: dict[str, Row] = {cell["cell"]: cell for cell in self.content.get("cells", [])}

    @property
    def cells(self) -> list[Row]:
        """All cells, by name."""
        return list(self.by_name.values())

    def done(self, cell: Cell) -> bool:
        """Whether a cell has been measured under its settings."""
        return cell.name in self.by_name and self.by_name[cell.name]["settings_hash"] == cell.key

    def add(self, cell: Cell, content: Row, scores: Scores | None = None) -> None:
        """Write a cell: scores by query first, so that a cell that is there is whole."""
        with self._changing():
            if scores:
                write_scores(self.scored, {**read_scores(self.scored), cell.name: scores})
            stated = {"settings": cell.settings, **content, "settings_hash": cell.key}
            self.by_name[cell.name] = {"cell": cell.name, **stated}

    def update(self, **parts: Any) -> None:
        """Write what is not a cell, such as comparisons."""
        with self._changing():
            self.content |= parts

    def replace(self, cells: Sequence[Row]) -> None:
        """Write cells anew, with what was compared since."""
        with self._changing():
            self.by_name |= {cell["cell"]: cell for cell in cells}

    def scores(self) -> dict[str, Scores]:
        """Scores by query of every cell."""
        return read_scores(self.scored)

    @contextmanager
    def _changing(self) -> Iterator[None]:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(self.scored.with_suffix(".lock")):
            self._read()
            yield
            self.content["cells"] = [self.by_name[name] for name in sorted(self.by_name)]
            write_json(self.path, self.content)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write an object, its lists with an element on each line."""

    def text(value: Any) -> str:
        return json.dumps(value, ensure_ascii=False)

    def lines(value: Any) -> str:
        rows = isinstance(value, list) and value and isinstance(value[0], dict)
        return "[\n  " + ",\n  ".join(map(text, value)) + "\n ]" if rows else text(value)

    parts = ",\n".join(f" {text(name)}: {lines(value)}" for name, value in content.items())
    atomic_write(path, f"{{\n{parts}\n}}\n".encode())


def read_rows(path: Path) -> list[Row]:
    """The rows of a file that has some; none where it is missing."""
    return read_json(path)["rows"] if path.exists() else []


def write_scores(path: Path, scores: Mapping[str, Scores]) -> None:
    """Write scores by query: every distinct value once, and its place for every query."""
    arms = [
        (cell, arm, np.asarray(found, np.float64)) for cell, by_arm in scores.items() for arm, found in by_arm.items()
    ]
    values, places = np.unique(np.concatenate([found for *_, found in arms]), return_inverse=True)
    lengths = json.dumps([[cell, arm, len(found)] for cell, arm, found in arms]).encode()
    buffer = io.BytesIO()
    places = places.astype(np.min_scalar_type(len(values)))
    np.savez_compressed(buffer, lengths=np.frombuffer(lengths, np.uint8), values=values, places=places)
    atomic_write(path, buffer.getvalue())


def read_scores(path: Path) -> dict[str, Scores]:
    """Scores by query, by cell and arm, in the order of the queries."""
    if not path.exists():
        return {}
    with np.load(path, allow_pickle=False) as file:
        lengths, values = json.loads(file["lengths"].tobytes()), file["values"][file["places"]]
    found: dict[str, dict[str, Any]] = {}
    start = 0
    for cell, arm, length in lengths:
        found.setdefault(cell, {})[arm] = values[start : start + length]
        start += length
    return dict(found)


def hashed(value: Any) -> str:
    """Hash of a JSON value."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


@cache
def fingerprint(name: str) -> str:
    """Hash of the files of a model or tokenizer folder; a hub id stands for itself."""
    folder = Path(assets.resolve_model(name))
    if not folder.is_dir():
        return name
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.suffix != ".md":
            digest.update(path.relative_to(folder).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def parser_of(
    doc: str | None, suite: str, *, languages: Sequence[str] = (), work: str | None = None
) -> argparse.ArgumentParser:
    """A command line with what most suites take."""
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks {suite}", description=(doc or "").splitlines()[0])
    parser.add_argument("--data", type=Path, default=os.environ.get("ISTHMUS_DATA"), help="default: ISTHMUS_DATA")
    parser.add_argument("-o", "--output", type=Path, default=RESULTS / f"{suite.replace('-', '_')}.json")
    if languages:
        parser.add_argument("--languages", nargs="+", choices=languages, default=list(languages))
    if work is not None:
        parser.add_argument("--work", type=Path, default=Path(work), help="what is trained is kept here")
    return parser


def parse(parser: argparse.ArgumentParser, argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line, insist on ``--data``, and let collections be found in it by name."""
    args = parser.parse_args(argv)
    if args.data is None:
        parser.error("--data must name the folder of the collections (or set ISTHMUS_DATA)")
    os.environ["ISTHMUS_DATA"] = str(args.data)
    return args


def say(text: str) -> None:
    """Report progress on standard error."""
    print(text, file=sys.stderr, flush=True)


def timed(call: Any) -> tuple[Any, float]:
    """A result with its seconds."""
    started = time.perf_counter()
    result = call()
    return result, time.perf_counter() - started


def machine(*libraries: str, **more: Any) -> Row:
    """Where something ran, and with which versions."""
    known = {distribution.name for distribution in distributions()}
    found = {name: version(name) for name in libraries if name in known}
    return {**more, "python": platform.python_version(), "processor": platform.machine(), "libraries": found}


def queries_hash(result: Any) -> str:
    """Tells whether two results are of the same queries."""
    return hashlib.sha256("\n".join(result.query_ids).encode()).hexdigest()[:16]


def add_pool(results: Results, cell: PoolCell, result: Any, report: Mapping[str, Any] | None, made: float) -> None:
    """Write the cell of an arm on a pool; ``made`` are the seconds that its model took."""
    from isthmus.evaluation import bootstrap_interval

    ndcg, stated = result.per_query["ndcg@10"], result.to_dict()
    content = {
        **stated, "arm": cell.arm, "pool": cell.pool, "ndcg@10_interval": list(bootstrap_interval(ndcg)),
        "queries_hash": queries_hash(result), "settings": {**stated["settings"], **cell.settings},
        "model_seconds": made,
        "transfer": {key: value for key, value in (report or {}).items() if isinstance(value, (int, float, str))},
    }  # fmt: skip
    results.add(cell, content, {"ndcg": ndcg})


def compare_pools(
    results: Results, run: Row, *, languages: Sequence[str], arms: Sequence[str], references: Sequence[str]
) -> None:
    """Compare the arms of every pool with the references, over the cells that have the same ``run`` settings."""
    from isthmus.evaluation import paired_bootstrap

    order = (list(languages), list(arms))
    alike = [cell for cell in results.cells if cell["settings"]["run"] == run]
    alike.sort(key=lambda cell: (order[0].index(cell["settings"]["language"]), order[1].index(cell["arm"])))
    scores, comparisons = results.scores(), []
    for place, measured in by_pool(alike).items():
        for reference in references:
            for arm in [arm for arm in measured if reference in measured and arm != reference]:
                if measured[arm]["queries_hash"] == measured[reference]["queries_hash"]:
                    own, other = (scores[measured[name]["cell"]]["ndcg"] for name in (arm, reference))
                    named = dict(zip(("language", "collection", "pool"), place, strict=True))
                    test = paired_bootstrap(own, other).to_dict()
                    comparisons.append({**named, "arm": arm, "reference": reference, **test})
    results.update(run=run, order=[cell["cell"] for cell in alike], comparisons=comparisons)
    say(f"{len(alike)} cells compared in {results.path}, {len(results.cells) - len(alike)} of other runs left out")


def by_pool(cells: Sequence[Row]) -> dict[tuple[str, str, str], dict[str, Row]]:
    """Cells by (language, collection, pool), then by arm."""
    found: dict[tuple[str, str, str], dict[str, Row]] = {}
    for cell in cells:
        place = (cell["settings"]["language"], cell["collection"], cell["pool"])
        found.setdefault(place, {})[cell["arm"]] = cell
    return found


def compared_pools(path: Path) -> tuple[Row, list[Row], dict[tuple[str, ...], Row]]:
    """The file, its compared cells in their order, and tests by (language, collection, pool, arm, reference)."""
    results = Results(path)
    names = ("language", "collection", "pool", "arm", "reference")
    tests = {tuple(test[name] for name in names): test for test in results.content["comparisons"]}
    return results.content, [results.by_name[name] for name in results.content["order"]], tests


def arrow(test: Mapping[str, Any] | None) -> str:
    """Marks what is significantly above or below its reference."""
    if test is None or test["p_value"] >= LEVEL:
        return ""
    return " ▲" if test["difference"] > 0 else " ▼"


def with_interval(value: float, interval: Sequence[float]) -> str:
    """A score with its bootstrap interval."""
    return f"{value:.3f} [{interval[0]:.2f}, {interval[1]:.2f}]"


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]], text: str | Sequence[str] = "") -> str:
    """A Markdown table, its first column text and the others numbers, and lines of text below it."""
    rules = ["---", *("---:" for _ in header[1:])]
    table = "\n".join("| " + " | ".join(row) + " |" for row in (header, rules, *rows)) + "\n"
    below = text if isinstance(text, str) else "\n".join(text)
    return f"{table}\n{below}\n" if below else table
