"""The encoders of the study: how each is transferred, and how all of them are trained alike."""

from __future__ import annotations

import gc
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from dev_pairs import sections
from study_dense import dense_transfer
from training_pairs import target_text, training_rows

import isthmus
from isthmus.evaluation import BM25
from isthmus.evaluation.models import load_model
from isthmus.reading.storage import atomic_folder, atomic_write, read_json
from isthmus.training import TrainOptions, train

# Each as it measured best on development pairs (``settings.py``).
METHODS: dict[str, dict[str, Any]] = {
    "random": {"method": "random"},
    "mean": {"method": "mean"},
    "gaussian": {"method": "gaussian"},
    "multivariate-gaussian": {"method": "multivariate-gaussian"},
    "focus": {"method": "focus", "space": "ppmi"},
    "ofa": {"method": "ofa", "refine": False, "temperature": 0.02},
    "nearest": {"method": "nearest", "refine": False},
    "sembridge-released": {"method": "sembridge", "as_released": True},
    "sembridge": {"method": "sembridge", "refine": False, "standardize": False, "alpha": 4.0, "csls": True},
    "sembridge-own": {
        "method": "sembridge",
        "refine": False,
        "standardize": False,
        "alpha": 4.0,
        "csls": True,
        "own_direction": 1.5,
    },
    "sembridge-keep-source": {
        "method": "sembridge",
        "refine": False,
        "standardize": False,
        "alpha": 4.0,
        "csls": True,
        "keep_source": True,
    },
}
# Over bare cosines, as in the paper.
SWEEP: dict[str, dict[str, Any]] = {
    **{
        f"sembridge-alpha-{alpha:g}": {
            "method": "sembridge",
            "refine": False,
            "standardize": False,
            "alpha": alpha,
            "csls": False,
        }
        for alpha in (1, 1.5, 2, 2.5, 3, 4, 6)
    },
    "sembridge-adaptive": {
        "method": "sembridge",
        "refine": False,
        "standardize": False,
        "adaptive": True,
        "margin": 0.1,
        "csls": False,
    },
}
WITHOUT_BRIDGE = ("random", "mean", "gaussian", "multivariate-gaussian", "focus")
ARMS = ("base", *METHODS)
ENCODER, BRIDGE, TOKENIZER = "isthmus/mini-splade-en", "isthmus/mini-bridge", "isthmus/tokenizer-{language}"
# The same for all: the best on average over the six methods that 1e-4 was tried for as well, and for each of the three
# that 1e-3 was tried for (learning_rates.json).
RATES = (3e-4,)
TRAINING = TrainOptions(
    steps=50,
    batch_size=32,
    max_length=96,
    target_active_dims=160,
    max_active_share=1.0,
    save_steps=10,
    # Every run takes all its steps; the best of its evaluations is kept.
    patience=50,
)


def transferred(name: str, language: str, seed: int, data: Path) -> Any:
    """The encoder of a method before training; ``base`` is the English one untouched."""
    if name == "bm25":
        return BM25(TOKENIZER.format(language=language))
    if name == "base":
        return load_model(ENCODER)
    options = dict((METHODS | SWEEP)[name])
    if name in SWEEP and options.get("alpha", 4.0) < 2:
        return dense_transfer(ENCODER, TOKENIZER.format(language=language), BRIDGE, options["alpha"])
    if options["method"] == "focus":
        options["texts"] = target_text(data, language)
    bridge = None if options["method"] in WITHOUT_BRIDGE else BRIDGE
    tokenizer = TOKENIZER.format(language=language)
    encoder, _ = isthmus.transfer(ENCODER, target_tokenizer=tokenizer, bridge=bridge, seed=seed, **options)
    return encoder


def write_pairs(path: Path, language: str, seed: int, data: Path) -> None:
    """The pairs that every method trains on: one passage over the steps of one run, drawn by the seed."""
    rows = training_rows(data, language)
    wanted = min(len(rows), TRAINING.batch_size * (TRAINING.steps or 0))
    drawn = np.random.default_rng(seed).choice(len(rows), wanted, replace=False).tolist()
    lines = [json.dumps({"query": rows[i]["query"], "positive": rows[i]["passage"]}, ensure_ascii=False) for i in drawn]
    atomic_write(path, ("\n".join(lines) + "\n").encode())


def fine_tuned(name: str, language: str, seed: int, rate: float, data: Path, work: Path) -> tuple[Path, dict[str, Any]]:
    """Train a method's encoder, unless it has been; its folder and the report of the run.

    The development sections choose among the evaluations of a run and, over the rates, the learning rate.
    """
    run = work / f"{language}.{name}.{seed}.{rate:g}"
    result = run / "trained"
    report = result / "training_report.json"
    if report.is_file():
        return result, read_json(report)
    start, pairs = run / "start", run / "pairs.jsonl"
    if not start.exists():
        with atomic_folder(start) as folder:
            transferred(name, language, seed, data).save_pretrained(str(folder))
        gc.collect()
    write_pairs(pairs, language, seed, data)
    settings = replace(TRAINING, learning_rate=rate, seed=seed)
    made = train(
        start, pairs, result, settings, development=sections(data, language, 80, 0), language=language, overwrite=True
    )
    shutil.rmtree(start)
    gc.collect()
    return result, made.to_dict()
