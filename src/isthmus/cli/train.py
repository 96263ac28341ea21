"""``isthmus train``: fine-tune an encoder on pairs, negatives or a teacher's scores, or on unlabelled text."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.markup import escape

from isthmus.cli._hub import check_names
from isthmus.cli._output import console, print_json, print_report, quiet_libraries, working
from isthmus.errors import InputError
from isthmus.training.settings import TrainingSettings
from isthmus.training.unlabelled import PairSettings

DEFAULT, PAIRS = TrainingSettings(), PairSettings()


def command(
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
        str | None, typer.Option(help="Unlabelled text: queries to make.", show_default="title,heading,snippet")
    ] = None,
    keep_snippet: Annotated[
        float | None,
        typer.Option(
            help="Unlabelled text: probability that a snippet stays in its passage.",
            show_default=f"{PAIRS.keep_snippet:g}",
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
            show_default=str(PAIRS.negatives),
        ),
    ] = None,
    loss: Annotated[
        Literal["auto", "contrastive", "margin-mse", "kl"],
        typer.Option(help="auto: margin-mse where the data has scores, else contrastive."),
    ] = "auto",
    steps: Annotated[int | None, typer.Option(help="Optimiser steps; instead of --epochs.")] = None,
    epochs: Annotated[float | None, typer.Option(help="Passes over the data.", show_default="1")] = None,
    batch_size: Annotated[int, typer.Option(help="Rows per step and process.")] = DEFAULT.batch_size,
    learning_rate: Annotated[float, typer.Option(help="Peak learning rate.")] = DEFAULT.learning_rate,
    max_length: Annotated[
        int | None, typer.Option(help="Tokens per text while training.", show_default="the encoder's")
    ] = None,
    query_regularizer_weight: Annotated[
        float, typer.Option(help="Sparsity of queries.")
    ] = DEFAULT.query_regularizer_weight,
    document_regularizer_weight: Annotated[
        float, typer.Option(help="Sparsity of documents.")
    ] = DEFAULT.document_regularizer_weight,
    regularizer_warmup: Annotated[
        float, typer.Option(help="Share of the steps in which the two weights rise.")
    ] = DEFAULT.regularizer_warmup,
    target_active_dims: Annotated[
        int | None, typer.Option(help="Steer the document weight to this many active dimensions.")
    ] = None,
    max_active_share: Annotated[
        float, typer.Option(help="Stop when vectors have a larger share of columns active.")
    ] = DEFAULT.max_active_share,
    freeze: Annotated[
        Literal["none", "all-but-new", "all-but-embeddings"],
        typer.Option(help="Train everything, a transfer's new rows, or the embeddings."),
    ] = "none",
    stock_head: Annotated[
        bool, typer.Option("--stock-head", help="Use sentence-transformers' own vocabulary head.")
    ] = False,
    bf16: Annotated[
        bool | None, typer.Option("--bf16/--no-bf16", help="bfloat16 autocast.", show_default="where native")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of data order and dropout.")] = 0,
    save_steps: Annotated[int, typer.Option(help="Steps between checkpoints and evaluations.")] = DEFAULT.save_steps,
    logging_steps: Annotated[int, typer.Option(help="Steps between log entries.")] = DEFAULT.logging_steps,
    eval: Annotated[str | None, typer.Option(help="Development collection: keep the best nDCG@10, stop early.")] = None,
    language: Annotated[str | None, typer.Option(help="ISO 639-1 code of the collection's language.")] = None,
    patience: Annotated[int, typer.Option(help="Evaluations without progress before stopping.")] = DEFAULT.patience,
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
    pairs = _pair_settings(kinds, keep_snippet, max_pairs, mine_negatives, unlabelled=self_supervised is not None)
    if language is not None and eval is None:
        raise InputError(f"--language must come with --eval, got {language!r} alone; name the collection")
    settings = TrainingSettings(
        loss=loss,
        steps=steps,
        epochs=DEFAULT.epochs if epochs is None else epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        max_length=max_length,
        query_regularizer_weight=query_regularizer_weight,
        document_regularizer_weight=document_regularizer_weight,
        regularizer_warmup=regularizer_warmup,
        target_active_dims=target_active_dims,
        stock_head=stock_head,
        freeze=freeze,
        bf16=bf16,
        seed=seed,
        save_steps=save_steps,
        logging_steps=logging_steps,
        max_active_share=max_active_share,
        patience=patience,
    )
    check_names([model])
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
        report = train_self_supervised(model, self_supervised, folder, settings, pairs, **options)
    if not is_first_process():
        return
    if json:
        print_json([report.to_dict() | {"folder": str(folder)}])
    else:
        print_report(report)
        console.print(f"\nwritten to {escape(str(folder))}", soft_wrap=True)


def _pair_settings(
    kinds: str | None, keep_snippet: float | None, max_pairs: int | None, negatives: int | None, *, unlabelled: bool
) -> PairSettings:
    options: dict[str, Any] = {
        "kinds": kinds,
        "keep_snippet": keep_snippet,
        "max_pairs": max_pairs,
        "mine_negatives": negatives,
    }
    given = {name: value for name, value in options.items() if value is not None}
    if given and not unlabelled:
        name, value = next(iter(given.items()))
        remedy = "; `isthmus mine` adds negatives to pairs" if name == "mine_negatives" else "; leave it out"
        raise InputError(f"--{name.replace('_', '-')} must come with --self-supervised, got {value!r} without{remedy}")
    if kinds is not None:
        given["kinds"] = tuple(kind.strip() for kind in kinds.split(","))
    if negatives is not None:
        given["negatives"] = given.pop("mine_negatives")
    return PairSettings(**given)
