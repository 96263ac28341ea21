"""``isthmus train``: fine-tune an encoder on pairs, negatives or a teacher's scores, or on unlabelled text."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.markup import escape

from isthmus.cli import _training
from isthmus.cli._hub import check_names
from isthmus.cli._output import console, print_json, print_report, quiet_libraries, working
from isthmus.errors import InputError
from isthmus.training.settings import TrainingSettings
from isthmus.training.unlabelled import OWN_TEACHERS, TAUGHT, PairSettings, check_teacher

DEFAULT, PAIRS = TrainingSettings(), PairSettings()


def command(
    context: typer.Context,
    model: Annotated[
        str, typer.Argument(help="Sparse or dense encoder: built-in name, folder or hub id.", metavar="MODEL")
    ],
    folder: Annotated[Path, typer.Option("--folder", "-o", help="Folder of the result; holds checkpoints until then.")],
    train: Annotated[
        str | None, typer.Option(help="JSONL (.gz, .xz), CSV or Parquet file of pairs, or a hub dataset id.")
    ] = None,
    self_supervised: Annotated[
        str | None,
        typer.Option(
            help="Instead of --train: unlabelled documents (.jsonl, .csv, .parquet as for `isthmus index`; .txt, one "
            "a line; .md, .rst, or a folder of them).",
            metavar="CORPUS",
        ),
    ] = None,
    kinds: Annotated[
        str | None,
        typer.Option(
            help="Unlabelled text: queries to make.", show_default="title,heading,snippet; snippet with --teacher"
        ),
    ] = None,
    keep_snippet: Annotated[
        float | None,
        typer.Option(
            help="Unlabelled text: probability that a snippet stays in its passage.",
            show_default=f"{PAIRS.keep_snippet:g}; {TAUGHT.keep_snippet:g} with --teacher",
        ),
    ] = None,
    max_pairs: Annotated[
        int | None,
        typer.Option(help="Unlabelled text: most pairs, drawn evenly.", show_default=f"{PAIRS.max_pairs:,}"),
    ] = None,
    mine_negatives: Annotated[
        int | None,
        typer.Option(
            help="Unlabelled text: hard negatives per pair, by BM25; each costs as much time as a positive.",
            show_default=f"{PAIRS.negatives}; {TAUGHT.negatives} with --teacher",
        ),
    ] = None,
    teacher: Annotated[
        str | None,
        typer.Option(
            help="Unlabelled text: learn the scores of a teacher: echo or hybrid (the encoder as it is, with its words "
            "given back), or another encoder.",
            metavar="echo|hybrid|MODEL",
        ),
    ] = None,
    recipe: _training.RecipeOption = None,
    loss: Annotated[
        Literal["auto", "contrastive", "margin-mse", "kl"],
        typer.Option(help="auto: margin-mse where the data has scores or there is a teacher, else contrastive."),
    ] = "auto",
    steps: _training.StepsOption = None,
    epochs: _training.EpochsOption = None,
    batch_size: _training.BatchSizeOption = DEFAULT.batch_size,
    learning_rate: _training.LearningRateOption = DEFAULT.learning_rate,
    scheduler: _training.SchedulerOption = DEFAULT.scheduler,
    warmup: _training.RateWarmupOption = DEFAULT.warmup,
    limit_rows: _training.LimitRowsOption = None,
    max_length: _training.MaxLengthOption = None,
    query_regularizer_weight: _training.QueryWeightOption = DEFAULT.query_regularizer_weight,
    document_regularizer_weight: _training.DocumentWeightOption = DEFAULT.document_regularizer_weight,
    regularizer_warmup: _training.WarmupOption = DEFAULT.regularizer_warmup,
    target_active_dims: _training.TargetActiveDimsOption = None,
    max_active_share: _training.MaxActiveShareOption = DEFAULT.max_active_share,
    freeze: _training.FreezeOption = "none",
    stock_head: _training.StockHeadOption = False,
    bf16: _training.Bf16Option = None,
    seed: _training.SeedOption = 0,
    save_steps: _training.SaveStepsOption = DEFAULT.save_steps,
    logging_steps: _training.LoggingStepsOption = DEFAULT.logging_steps,
    eval: _training.EvalOption = None,
    language: _training.LanguageOption = None,
    patience: _training.PatienceOption = DEFAULT.patience,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the encoder, or another run's checkpoints, in the folder.")
    ] = False,
    trust_remote_code: Annotated[
        bool, typer.Option("--trust-remote-code", help="Run code that comes with hub models.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the report as one JSON object.")] = False,
) -> None:
    """Train with sentence-transformers' trainer; the same command goes on where it was interrupted."""
    if steps is not None and epochs is not None:
        raise InputError(f"--steps and --epochs must not come together, got {steps} and {epochs}; leave one out")
    if (train is None) == (self_supervised is None):
        raise InputError(
            "exactly one of --train and --self-supervised must be given, got "
            f"{'neither' if train is None else 'both'}; name a file of pairs, or unlabelled documents"
        )
    if teacher is not None and train is not None:
        raise InputError(
            f"--teacher must come with --self-supervised, got {teacher!r} with --train; put its scores into the column "
            "'scores'"
        )
    pairs = _pair_settings(kinds, keep_snippet, max_pairs, mine_negatives, train=train, teacher=teacher)
    if language is not None and eval is None:
        raise InputError(f"--language must come with --eval, got {language!r} alone; name the collection")
    if recipe is not None and train is None:
        raise InputError(f"--recipe must come with --train, got {recipe!r} with --self-supervised; leave one out")
    values: dict[str, Any] = {
        "loss": loss, "steps": steps, "epochs": DEFAULT.epochs if epochs is None else epochs,
        "batch_size": batch_size, "learning_rate": learning_rate, "scheduler": scheduler, "warmup": warmup,
        "limit_rows": limit_rows, "max_length": max_length, "query_regularizer_weight": query_regularizer_weight,
        "document_regularizer_weight": document_regularizer_weight, "regularizer_warmup": regularizer_warmup,
        "target_active_dims": target_active_dims, "stock_head": stock_head, "freeze": freeze, "bf16": bf16,
        "seed": seed, "save_steps": save_steps, "logging_steps": logging_steps,
        "max_active_share": max_active_share, "patience": patience,
    }  # fmt: skip
    settings = (
        TrainingSettings(**values) if recipe is None else _training.recipe_settings(context, recipe, "train", values)
    )
    check_teacher(teacher)
    check_names([model] if teacher is None or teacher in OWN_TEACHERS else [model, teacher])
    with working("loading libraries", quiet=json):
        from isthmus.training.recipe import is_first_process
        from isthmus.training.recipe import train as run
        from isthmus.training.self_supervised import train_self_supervised

        quiet_libraries()
    options: dict[str, Any] = {
        "development": eval,
        "language": language,
        "overwrite": overwrite,
        "trust_remote_code": trust_remote_code,
        "show_progress_bar": False if json else None,
    }
    if train is not None:
        report = run(model, train, folder, settings, **options)
    else:
        report = train_self_supervised(model, self_supervised, folder, settings, pairs, teacher=teacher, **options)
    if not is_first_process():
        return
    if json:
        print_json([report.to_dict() | {"folder": str(folder)}])
    else:
        print_report(report)
        console.print(f"\nwritten to {escape(str(folder))}", soft_wrap=True)


def _pair_settings(
    kinds: str | None,
    keep_snippet: float | None,
    max_pairs: int | None,
    negatives: int | None,
    *,
    train: str | None,
    teacher: str | None,
) -> PairSettings:
    options: dict[str, Any] = {
        "kinds": kinds,
        "keep_snippet": keep_snippet,
        "max_pairs": max_pairs,
        "mine_negatives": negatives,
    }
    given = {name: value for name, value in options.items() if value is not None}
    if given and train is not None:
        name, value = next(iter(given.items()))
        remedy = "; `isthmus mine` adds negatives to pairs" if name == "mine_negatives" else "; leave it out"
        raise InputError(f"--{name.replace('_', '-')} must come with --self-supervised, got {value!r} without{remedy}")
    if kinds is not None:
        given["kinds"] = tuple(kind.strip() for kind in kinds.split(","))
    if negatives is not None:
        given["negatives"] = given.pop("mine_negatives")
    return replace(PAIRS if teacher is None else TAUGHT, **given)
