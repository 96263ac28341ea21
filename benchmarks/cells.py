"""Results of the retrieval benchmarks: one file per measurement, resumable, and their comparison."""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from isthmus import IsthmusError, assets
from isthmus.collections import Collection
from isthmus.evaluation import EvaluationResult, bootstrap_interval, paired_bootstrap
from isthmus.reading.storage import atomic_write, read_json


class ResultFile:
    """Whether a measurement has been made: of dataclasses that say where it is kept and what it depends on."""

    path: Path
    settings: dict[str, Any]

    @property
    def key(self) -> str:
        """Hash of the settings."""
        return hashlib.sha256(json.dumps(self.settings, sort_keys=True).encode()).hexdigest()

    def done(self) -> bool:
        """Whether it has been measured under these settings."""
        try:
            return read_json(self.path)["settings_hash"] == self.key and self.path.with_suffix(".npz").exists()
        except (IsthmusError, KeyError):
            return False


class RowsFile(ResultFile):
    """A measurement that is whole in its JSON file."""

    def done(self) -> bool:
        """Whether it has been measured under these settings."""
        return self.path.exists() and read_json(self.path).get("settings_hash") == self.key


@dataclass(frozen=True)
class Cell(ResultFile):
    """One measurement: an arm on a pool."""

    arm: str
    pool: str
    collection: Collection
    path: Path
    settings: dict[str, Any]


def use_data(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """Insist on ``--data``, make it a path, and let collections be found in it by name."""
    if args.data is None:
        parser.error("--data must name the folder of the collections (or set ISTHMUS_DATA)")
    args.data = Path(args.data)
    os.environ["ISTHMUS_DATA"] = str(args.data)


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


def write_cell(cell: Cell, result: EvaluationResult, report: dict[str, Any] | None, made: float) -> None:
    """Write nDCG@10 by query, then the cell, so that a cell that exists is whole."""
    ndcg = result.per_query["ndcg@10"]
    buffer = io.BytesIO()
    np.savez_compressed(buffer, ndcg=ndcg)
    atomic_write(cell.path.with_suffix(".npz"), buffer.getvalue())
    low, high = bootstrap_interval(ndcg)
    stated = result.to_dict()
    content = {
        **stated,
        "arm": cell.arm,
        "pool": cell.pool,
        "ndcg@10_interval": [low, high],
        "queries_hash": hashlib.sha256("\n".join(result.query_ids).encode()).hexdigest()[:16],
        "settings": {**stated["settings"], **cell.settings},
        "settings_hash": cell.key,
        "model_seconds": made,
        "transfer": {key: value for key, value in (report or {}).items() if isinstance(value, (int, float, str))},
    }
    atomic_write(cell.path, (json.dumps(content, ensure_ascii=False, indent=1) + "\n").encode())


def summarize(
    folder: Path, run: dict[str, Any], *, languages: Sequence[str], arms: Sequence[str], references: Sequence[str]
) -> dict[str, Any]:
    """Compare the arms of every pool, over the cells in ``folder`` that have the same ``run`` settings.

    Args:
        folder: Where the cells are.
        run: Settings that all compared cells share.
        languages: Order of the languages.
        arms: Order of the arms.
        references: Arms that every other one is compared with.
    """
    found = [read_json(path) for path in sorted(folder.glob("*.*.*.*.json"))]
    by_pool: dict[tuple[str, str, str], dict[str, Any]] = {}
    for cell in sorted(
        found, key=lambda cell: (list(languages).index(cell["settings"]["language"]), list(arms).index(cell["arm"]))
    ):
        if cell["settings"]["run"] == run:
            place = (cell["settings"]["language"], cell["collection"], cell["pool"])
            by_pool.setdefault(place, {})[cell["arm"]] = cell
    comparisons = []
    for (language, collection, pool), measured in by_pool.items():
        for reference in references:
            for arm in [arm for arm in measured if reference in measured and arm != reference]:
                if measured[arm]["queries_hash"] == measured[reference]["queries_hash"]:
                    scores = (per_query(folder, (language, collection, pool), name) for name in (arm, reference))
                    place = {"language": language, "collection": collection, "pool": pool}
                    test = paired_bootstrap(*scores).to_dict()
                    comparisons.append({**place, "arm": arm, "reference": reference, **test})
    cells = [cell for measured in by_pool.values() for cell in measured.values()]
    return {"run": run, "cells": cells, "comparisons": comparisons, "left_out": len(found) - len(cells)}


def per_query(folder: Path, place: Sequence[str], arm: str) -> Any:
    """nDCG@10 of every query of a cell, in the order of its collection."""
    with np.load(folder / f"{'.'.join(place)}.{arm}.npz", allow_pickle=False) as arrays:
        return arrays["ndcg"]
