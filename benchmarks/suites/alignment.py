"""Does aligning help: audits of three encoders on XQuAD before and after CLEAR, semantic proximity and InfoNCE.

    ISTHMUS_DATA=... python -m benchmarks alignment                              everything that is missing
    ISTHMUS_DATA=... python -m benchmarks alignment --models mini-bridge --seeds 0 1 2

Training rows are headings and sections of documentation in English and seven languages (``sections/``), at most 2,800 a
run, the same for all losses. XQuAD is only measured. A file a model, a cell for each loss and seed, its rows those of
``isthmus audit --json`` and ``loss``, ``seed`` and ``stage``.
"""

from __future__ import annotations

import argparse
import gc
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

import isthmus
from benchmarks import harness
from benchmarks.harness import Results, Row, fingerprint, say
from isthmus.auditing.audits import audit_model
from isthmus.collections import ParallelCollection, load_parallel
from isthmus.collections.training_pairs import build_pairs
from isthmus.evaluation.models import load_model
from isthmus.reading.storage import atomic_folder, atomic_write, read_json
from isthmus.training import AlignOptions, align

LANGUAGES = ("ar", "zh", "hi", "ru", "de", "es", "vi")
POOLS = ("mono-same", "mono-cross", "pairs")
ROWS = 2800
# Of measuring on XQuAD; development is measured in float32.
DTYPE: Literal["bfloat16"] = "bfloat16"
# Words in a row that no training passage may have in common with a passage of XQuAD.
SHARED_WORDS = 8
# InfoNCE pairs a query with the English passage, as CLEAR's forward term does with the English query.
LOSSES: dict[str, dict[str, Any]] = {
    "infonce": {"loss": "infonce"},
    "clear": {"loss": "clear"},
    "clear-no-kl": {"loss": "clear", "kl": False},
    "clear-alpha-0.6": {"loss": "clear", "alpha": 0.6},
    "clear-beta-0.4": {"loss": "clear", "beta": 0.4},
    "proximity": {"loss": "proximity"},
    "proximity-no-nce": {"loss": "proximity", "nce_weight": 0.0},
    "proximity-no-jsd": {"loss": "proximity", "jsd_weight": 0.0},
}
TRANSFORMER = {"steps": 40, "batch_size": 32, "max_length": 64, "save_steps": 1000, "max_active_share": 1.0}
# Learning rates had the best mixed pools of development sections and general prose (LOG.md); ablations of encoders with
# layers train at the rate of the loss they are one of.
MODELS: dict[str, dict[str, Any]] = {
    "mini-bridge": {
        "training": TRANSFORMER | {"steps": 100, "batch_size": 64, "max_length": None},
        "rates": {loss: 3e-2 for loss in LOSSES}
        | dict.fromkeys(("infonce", "clear-no-kl", "proximity-no-nce", "proximity-no-jsd"), 1e-2),
        "negatives": None,
    },
    "minilm": {
        "training": TRANSFORMER,
        "rates": {"infonce": 2e-4, "clear": 2e-4, "proximity": 5e-5},
        "negatives": 1,
    },
    "splade": {"training": TRANSFORMER, "rates": {"infonce": 5e-5, "clear": 2e-4, "proximity": 2e-4}, "negatives": 1},
}
# Keys of a row that are kept from the audit.
COLUMNS = (
    "pool", "query_language", "pool_languages", "documents", "golds", "queries", "max@r", "max@r_ci", "max@r_norm",
    "max@r_norm_ci", "complete@10", "complete@10_ci", "ndcg@10", "ndcg@10_ci", "english_first", "language_share",
)  # fmt: skip


@dataclass(frozen=True)
class Cell(harness.Cell):
    """One encoder after one training, or before any."""

    model: str
    loss: str
    seed: int

    @property
    def rate(self) -> float | None:
        """Learning rate of the training."""
        return None if self.loss == "none" else rate_of(self.model, self.loss)


def rate_of(model: str, loss: str) -> float:
    """Learning rate of a loss."""
    rates: dict[str, float] = MODELS[model]["rates"]
    return rates[loss if loss in rates else LOSSES[loss]["loss"]]


def make_cell(model: str, loss: str, seed: int, args: argparse.Namespace) -> Cell:
    """A cell and everything it depends on."""
    trained = None if loss == "none" else stated(align_settings(model, loss, seed))
    settings = {
        "model": fingerprint(str(folder_of(model, args))), "loss": LOSSES.get(loss), "seed": seed, "training": trained,
        "pairs": file_hash(pairs_of(args)), "max_queries": args.max_queries, "resamples": args.resamples,
        "dtype": DTYPE, "isthmus": isthmus.__version__,
    }  # fmt: skip
    return Cell(f"{model}.{loss}.{seed}", settings, model, loss, seed)


def stated(settings: AlignOptions) -> Row:
    """Everything that decides how a run trains."""
    return settings.identity()


def file_hash(path: Path) -> str:
    """Tells whether two files hold the same."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def folder_of(model: str, args: argparse.Namespace) -> Path | str:
    """Where an encoder is before alignment; made where it is missing and can be made in seconds."""
    if model != "splade":
        return harness.BRIDGE if model == "mini-bridge" else str(args.minilm)
    folder: Path = args.work / "splade"
    if not folder.exists():
        tokenizers = [harness.TOKENIZER.format(language=language) for language in ("ar", "hi", "ru", "zh")]
        encoder, _ = isthmus.transfer(
            harness.ENCODER, target_tokenizer=tokenizers, bridge=harness.BRIDGE, keep_source=True
        )
        with atomic_folder(folder) as part:
            encoder.save_pretrained(str(part))
    return folder


def align_settings(model: str, loss: str, seed: int) -> AlignOptions:
    """How a run trains."""
    training = MODELS[model]["training"] | {"learning_rate": rate_of(model, loss), "seed": seed}
    return AlignOptions.of(None, negatives=MODELS[model]["negatives"], **training, **LOSSES[loss])


def pairs_of(args: argparse.Namespace) -> Path:
    """The training rows of all languages."""
    return write_pairs(args.work / "pairs.jsonl", args.data, LANGUAGES, ROWS)


def write_pairs(path: Path, data: Path, languages: Sequence[str], limit: int) -> Path:
    """Training rows, as ``isthmus pairs`` draws them."""
    if not path.exists():
        found = build_pairs([data / f"sections/en-{language}.jsonl.xz" for language in languages], limit=limit)
        say(f"training rows by language and translator: {found.counts()}")
        lines = (json.dumps(row, ensure_ascii=False) for row in found.rows)
        atomic_write(path, ("\n".join(lines) + "\n").encode())
    return path


def check_apart(pairs: Path, collection: ParallelCollection) -> None:
    """Stop where a training row is in the evaluation set: a question of it, or a passage with words of one of its own.

    Raises:
        SystemExit: If one is.
    """
    questions = {text.casefold() for texts in collection.queries.values() for text in texts.values()}
    passages = {grams for texts in collection.passages.values() for text in texts.values() for grams in runs_of(text)}
    for number, line in enumerate(pairs.read_text(encoding="utf-8").splitlines(), start=1):
        row = json.loads(line)
        asked = {row["query"].casefold(), row["pivot_query"].casefold()} & questions
        if asked or passages & (runs_of(row["passage"]) | runs_of(row["pivot_passage"])):
            raise SystemExit(f"{pairs}, line {number}: must not be in {collection.name}, on which is measured")


def runs_of(text: str) -> set[tuple[str, ...]]:
    """Every run of as many words as tell where a text is from."""
    words = text.casefold().split()
    return {tuple(words[start : start + SHARED_WORDS]) for start in range(len(words) - SHARED_WORDS + 1)}


def trained(folder: Path, model: Path | str, pairs: Path, settings: AlignOptions) -> Path:
    """The folder of an aligned encoder; trained unless it is there."""
    report = folder / "training_report.json"
    found = read_json(report)["settings"] if report.exists() else {}
    # The report has bf16 decided.
    wanted = {name: value for name, value in stated(settings).items() if name != "bf16"}
    if any(found.get(name, "none") != value for name, value in wanted.items()):
        align(model, pairs, folder, settings, overwrite=True)
    return folder


def measure(results: Results, cell: Cell, collection: ParallelCollection, args: argparse.Namespace) -> None:
    """Audit one encoder in English and every other language."""
    folder = folder_of(cell.model, args)
    if cell.rate is not None:
        made = args.work / f"{cell.name}.{cell.rate:g}"
        folder = trained(made, folder, pairs_of(args), align_settings(cell.model, cell.loss, cell.seed))
    result = audit_model(load_model(str(folder)), collection, pools=POOLS, dtype=DTYPE, resamples=args.resamples)
    stage = "before" if cell.rate is None else "after"
    place = {"model": cell.model, "loss": cell.loss, "seed": cell.seed, "stage": stage}
    rows = [
        # A pool of English and one language is the paper's Multi.
        {**place, **{key: row[key] for key in COLUMNS}, "pool": "multi" if row["pool"] == "pairs" else row["pool"]}
        for row in result.to_rows()
        if "en" in row["pool_languages"] or row["pool"] == "mono-same" or row["query_language"] == "en"
    ]
    content = {"rows": rows, "learning_rate": cell.rate, "versions": result.settings["versions"]}
    results.add(cell, content)
    multi = [row["max@r_norm"] for row in rows if row["pool"] == "multi"]
    say(f"{cell.name}: Max@R_norm of the mixed pools {fmean(multi):.1f}")


def main(argv: Sequence[str] | None = None) -> None:
    """Measure what is missing."""
    parser = harness.parser_of(__doc__, "alignment", work="runs/alignment")
    parser.add_argument("--minilm", default="runs/bilingual-minilm/trained", help="folder of recipes/bilingual.py")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--losses", nargs="+", choices=LOSSES, default=list(LOSSES))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--max-queries", type=int, default=300)
    parser.add_argument("--resamples", type=int, default=1000)
    args = harness.parse(parser, argv)
    collection = load_parallel("xquad", languages=["en", *LANGUAGES], max_queries=args.max_queries, seed=0)
    check_apart(pairs_of(args), collection)
    for model in args.models:
        results = Results(args.output.with_suffix(f".{model}.json"))
        wanted = [("none", 0), *((loss, seed) for seed in args.seeds for loss in args.losses)]
        for cell in [make_cell(model, loss, seed, args) for loss, seed in wanted]:
            if not results.done(cell):
                measure(results, cell, collection, args)
                gc.collect()
