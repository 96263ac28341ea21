"""Training without labels: a transferred encoder on the text of one domain, by its headings or by snippets.

    ISTHMUS_DATA=... python benchmarks/domain.py                      everything that is missing
    ISTHMUS_DATA=... python benchmarks/domain.py --languages ko --only train summary

The text is that of documentation; nothing but the text is used, headings as lines of it. Every encoder is measured on
held-out sections of the same kind of documentation, asked by their headings, and on encyclopedic passages, asked by
people. What is to be chosen (learning rate, whether snippets stay in their passages) is chosen on Korean development
sections that are not among those reported. One JSON per cell, with nDCG@10 by query beside it; a finished cell is not
measured again.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from cells import Cell, fingerprint, summarize, use_data, write_cell
from dev_pairs import paired, section_rows
from study import collection_of, say
from study_arms import BRIDGE, ENCODER, METHODS, TOKENIZER, TRAINING, transferred
from training_pairs import training_rows
from zero_shot import sample_queries

import isthmus
from isthmus.collections import Collection
from isthmus.evaluation import BM25, evaluate_vectors
from isthmus.evaluation.models import encode, load_model
from isthmus.reading.storage import atomic_folder, atomic_write, read_json
from isthmus.training import PairOptions, train_self_supervised

LANGUAGES = ("ko", "ru")
PARTS = ("tune", "train", "summary")
TUNED_ON = "ko"
METHOD, OWN = "sembridge", "sembridge-own"
REFERENCES = ("zero-shot", "bm25")
# With ``-own``, mixed rows get directions of their own before training.
TRAINED = ("heading", "snippet", "snippet-negative", "heading-own", "snippet-own")
ARMS = (*REFERENCES, *TRAINED)
STEPS = 60
SETTINGS = replace(TRAINING, steps=STEPS, save_steps=STEPS, seed=0)
FIRST_RATE = 3e-4
# Chosen in this order, each with the best of those before.
CHOICES: dict[str, dict[str, tuple[float, ...]]] = {
    "heading": {"learning_rate": (FIRST_RATE, 1e-3)},
    "snippet": {"learning_rate": (FIRST_RATE, 1e-3), "keep_snippet": (0.5, 0.0, 1.0)},
    "heading-own": {"learning_rate": (FIRST_RATE,)},
    "snippet-own": {"learning_rate": (FIRST_RATE,), "keep_snippet": (0.5, 0.0, 1.0)},
}
DEVELOPMENT = 300
MANY = 10**6


def write_corpus(path: Path, arm: str, language: str, data: Path) -> None:
    """Sections as one document each: with their headings as Markdown, or without."""
    lines = []
    for number, row in enumerate(training_rows(data, language)):
        text = f"# {row['query']}\n\n{row['passage']}" if arm == "heading" else row["passage"]
        lines.append(json.dumps({"id": str(number), "text": text}, ensure_ascii=False))
    atomic_write(path, ("\n".join(lines) + "\n").encode())


def untrained(language: str, args: argparse.Namespace, method: str = METHOD) -> Path:
    """The folder of the transferred encoder."""
    start: Path = args.work / (f"{language}.start" if method == METHOD else f"{language}.{method}.start")
    if not start.exists():
        with atomic_folder(start) as folder:
            transferred(method, language, 0, args.data).save_pretrained(str(folder))
    return start


def trained(
    arm: str, language: str, choices: dict[str, float], args: argparse.Namespace
) -> tuple[Path, dict[str, Any]]:
    """Train on the text of a language unless it has been; the folder and the report."""
    told = "-".join(f"{name}={value:g}" for name, value in choices.items())
    own = arm.endswith("-own")
    arm = arm.partition("-")[0]
    folder = args.work / (f"{language}.{arm}-own.{told}" if own else f"{language}.{arm}.{told}")
    report = folder / "training_report.json"
    if report.is_file():
        return folder, read_json(report)
    start = untrained(language, args, OWN if own else METHOD)
    corpus = args.work / f"{language}.{arm}.jsonl"
    write_corpus(corpus, arm, language, args.data)
    pairs = PairOptions(
        kinds=("heading",) if arm == "heading" else ("snippet",),
        keep_snippet=choices.get("keep_snippet", 0.0),
        negatives=int(choices.get("negatives", 0)),
        max_pairs=STEPS * SETTINGS.batch_size,
    )
    settings = replace(SETTINGS, learning_rate=choices["learning_rate"])
    made = train_self_supervised(start, corpus, folder, settings, pairs, overwrite=True)
    gc.collect()
    return folder, made.to_dict()


def pool(name: str, rows: Sequence[dict[str, Any]]) -> Collection:
    """Sections, asked by their headings."""
    return paired(name, [row["query"] for row in rows], [row["passage"] for row in rows])


def choosing(data: Path) -> Collection:
    """The development sections that choose."""
    return pool(f"sections-choosing-{TUNED_ON}", section_rows(data, TUNED_ON, DEVELOPMENT, 0))


def held_out(language: str, args: argparse.Namespace) -> Collection:
    """Development sections that chose nothing here: all but those of :func:`choosing`."""
    rows = section_rows(args.data, language, MANY, 0)
    if language == TUNED_ON:
        chose = {row["passage"] for row in section_rows(args.data, language, DEVELOPMENT, 0)}
        rows = [row for row in rows if row["passage"] not in chose]
    return sample_queries(pool(f"sections-{language}", rows), args.max_queries, 0)


def measured(model: Any, collection: Collection, name: str) -> Any:
    """Encode and search."""
    started = time.perf_counter()
    texts = {"query": list(collection.queries.values()), "document": list(collection.corpus.values())}
    options: dict[str, Any] = {} if isinstance(model, BM25) else {"dtype": "bfloat16"}
    queries, documents = (encode(model, texts[role], role=role, **options) for role in ("query", "document"))
    return evaluate_vectors(queries, documents, collection, name=name, started=started)


def score(arm: str, choices: dict[str, float], args: argparse.Namespace) -> float:
    """nDCG@10 on the development sections; ``none`` is the encoder before training."""
    path = args.output / "tuning.json"
    settings = {"training": SETTINGS.to_dict(), "encoder": fingerprint(ENCODER), "bridge": fingerprint(BRIDGE)}
    known = read_json(path) if path.exists() else {}
    rows = known["rows"] if {key: known.get(key) for key in settings} == settings else []
    for row in rows:
        if (row["arm"], row["choices"]) == (arm, choices):
            return float(row["ndcg@10"])
    said: dict[str, Any] = {}
    folder = untrained(TUNED_ON, args)
    if arm in TRAINED:
        folder, report = trained(arm, TUNED_ON, choices, args)
        said = {"seconds": report["seconds"], "unlabelled": report["data"]["unlabelled"]}
    collection = choosing(args.data)
    found = float(measured(load_model(str(folder)), collection, arm)["ndcg@10"])
    rows.append({"arm": arm, "language": TUNED_ON, "choices": choices, "ndcg@10": found, **said})
    content = {**settings, "queries": len(collection.queries), "rows": rows}
    atomic_write(path, (json.dumps(content, ensure_ascii=False, indent=1) + "\n").encode())
    say(f"{TUNED_ON} {arm} {choices}: development {found:.3f}")
    return found


def tune(args: argparse.Namespace) -> dict[str, dict[str, float]]:
    """The choices of every arm, by nDCG@10 on Korean development sections."""
    score("none", {}, args)
    best: dict[str, dict[str, float]] = {}
    for arm, options in CHOICES.items():
        best[arm] = {name: values[0] for name, values in options.items()}
        for name, values in options.items():
            scores = {value: score(arm, best[arm] | {name: value}, args) for value in values}
            best[arm][name] = max(scores, key=lambda value: scores[value])
    return best | {"snippet-negative": best["snippet"] | {"negatives": 1}}


def run_settings(args: argparse.Namespace) -> dict[str, Any]:
    """What all compared cells share."""
    return {
        "encoder": fingerprint(ENCODER),
        "bridge": fingerprint(BRIDGE),
        "transfer": METHODS[METHOD],
        "training": SETTINGS.to_dict() | {"learning_rate": None},
        "distractors": args.distractors,
        "max_queries": args.max_queries,
        "isthmus": isthmus.__version__,
    }


def measure(language: str, choices: dict[str, dict[str, float]], args: argparse.Namespace) -> None:
    """Cells of a language that are missing."""
    pools = {"in-domain": held_out(language, args), "other": collection_of(language, args)}
    for arm in ARMS:
        cells = []
        for name, collection in pools.items():
            settings = {
                "language": language,
                "collection": collection.name,
                "pool": name,
                "arm": arm,
                "tokenizer": fingerprint(TOKENIZER.format(language=language)),
                "choices": choices.get(arm),
                "run": run_settings(args),
            }
            settings |= {"own": METHODS[OWN]} if arm.endswith("-own") else {}
            path = args.output / f"{language}.{collection.name}.{name}.{arm}.json"
            cells.append(Cell(arm, name, collection, path, settings))
        missing = [cell for cell in cells if not cell.done()]
        if not missing:
            continue
        report, started = None, time.perf_counter()
        if arm in TRAINED:
            folder, found = trained(arm, language, choices[arm], args)
            report = {"pairs": found["data"]["rows"], "steps": found["steps"], "train_seconds": found["seconds"]}
            report |= {"made_from": json.dumps(found["data"]["unlabelled"], ensure_ascii=False)}
            model = load_model(str(folder))
        else:
            model = transferred(METHOD if arm == "zero-shot" else arm, language, 0, args.data)
        made = time.perf_counter() - started
        for cell in missing:
            result = measured(model, cell.collection, arm)
            write_cell(cell, result, report, made)
            say(f"{language} {arm}, {cell.collection.name}: {result['ndcg@10']:.3f}")
        gc.collect()


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, default=os.environ.get("ISTHMUS_DATA"), help="default: ISTHMUS_DATA")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results" / "domain")
    parser.add_argument("--work", type=Path, default=Path("runs/domain"), help="trained encoders are kept here")
    parser.add_argument("--languages", nargs="+", choices=LANGUAGES, default=list(LANGUAGES))
    parser.add_argument("--only", nargs="+", choices=PARTS, help="all unless given")
    parser.add_argument("--distractors", type=int, default=200)
    parser.add_argument("--max-queries", type=int, default=300)
    args = parser.parse_args(argv)
    use_data(parser, args)
    return args


def main(argv: Sequence[str] | None = None) -> None:
    """Choose, measure what is missing, then compare."""
    args = parse(argv)
    only = args.only or PARTS
    if "tune" in only or "train" in only:
        choices = tune(args)
        for language in args.languages:
            if "train" in only:
                measure(language, choices, args)
        # Shown beside what was chosen; an arm of its own, for it takes more time.
        score("snippet-negative", choices["snippet-negative"], args)
    if "summary" in only:
        references = (*REFERENCES, "snippet")
        summary = summarize(args.output, run_settings(args), languages=LANGUAGES, arms=ARMS, references=references)
        atomic_write(args.output / "summary.json", (json.dumps(summary, ensure_ascii=False, indent=1) + "\n").encode())


if __name__ == "__main__":
    main()
