"""The options that ``train`` and ``align`` share."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

StepsOption = Annotated[int | None, typer.Option(help="Optimiser steps; instead of --epochs.")]
EpochsOption = Annotated[float | None, typer.Option(help="Passes over the data.", show_default="1")]
BatchSizeOption = Annotated[int, typer.Option(help="Rows per step and process.")]
LearningRateOption = Annotated[float, typer.Option(help="Peak learning rate.")]
MaxLengthOption = Annotated[
    int | None, typer.Option(help="Tokens per text while training.", show_default="the encoder's")
]
QueryWeightOption = Annotated[float, typer.Option(help="Sparsity of queries.")]
DocumentWeightOption = Annotated[float, typer.Option(help="Sparsity of documents.")]
WarmupOption = Annotated[float, typer.Option(help="Share of the steps in which the two weights rise.")]
TargetActiveDimsOption = Annotated[
    int | None, typer.Option(help="Steer the document weight to this many active dimensions.")
]
MaxActiveShareOption = Annotated[float, typer.Option(help="Stop when vectors have a larger share of columns active.")]
FreezeOption = Annotated[
    Literal["none", "all-but-new", "all-but-embeddings"],
    typer.Option(help="Train everything, a transfer's new rows, or the embeddings."),
]
StockHeadOption = Annotated[bool, typer.Option("--stock-head", help="Use sentence-transformers' own vocabulary head.")]
Bf16Option = Annotated[
    bool | None, typer.Option("--bf16/--no-bf16", help="bfloat16 autocast.", show_default="where native")
]
SeedOption = Annotated[int, typer.Option(help="Seed of data order and dropout.")]
SaveStepsOption = Annotated[int, typer.Option(help="Steps between checkpoints and evaluations.")]
LoggingStepsOption = Annotated[int, typer.Option(help="Steps between log entries.")]
EvalOption = Annotated[str | None, typer.Option(help="Development collection: keep the best nDCG@10, stop early.")]
LanguageOption = Annotated[str | None, typer.Option(help="ISO 639-1 code of the collection's language.")]
PatienceOption = Annotated[int, typer.Option(help="Evaluations without progress before stopping.")]
