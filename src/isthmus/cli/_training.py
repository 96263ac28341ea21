"""The options that ``train`` and ``align`` share."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from isthmus.cli._output import errors

if TYPE_CHECKING:
    from isthmus.training.paper_recipes import Command

StepsOption = Annotated[int | None, typer.Option(help="Optimiser steps; instead of --epochs.")]
EpochsOption = Annotated[float | None, typer.Option(help="Passes over the data.", show_default="1")]
BatchSizeOption = Annotated[int, typer.Option(help="Rows per step and process.")]
LearningRateOption = Annotated[float, typer.Option(help="Peak learning rate.")]
SchedulerOption = Annotated[
    Literal["linear", "cosine"], typer.Option(help="How the learning rate falls from its peak to zero.")
]
RateWarmupOption = Annotated[float, typer.Option(help="Share of the steps in which the learning rate rises.")]
LimitRowsOption = Annotated[
    int | None, typer.Option(help="Train on the first so many rows of --train.", show_default="all")
]
RecipeOption = Annotated[
    str | None,
    typer.Option(help="Settings of a paper, see `isthmus recipes`; what is given beside it comes first."),
]
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


def recipe_settings(context: typer.Context, name: str, command: Command, values: Mapping[str, Any]) -> Any:
    """The settings of a paper's recipe, replaced by those ``values`` whose options were given; tells each on stderr.

    Raises:
        UnknownNameError: If there is no such recipe.
        InputError: If it is for another command, or a value does not fit.
    """
    from isthmus.training.paper_recipes import find_recipe, show

    recipe = find_recipe(name, command)
    options = {"gather_across_devices": "gather"}
    given = {}
    for field, value in values.items():
        source = context.get_parameter_source(options.get(field, field))
        if source is not None and source.name == "COMMANDLINE":
            given[field] = value
    settings = recipe.settings(**given)
    if os.environ.get("RANK", "0") != "0":
        # Under torchrun the first process tells.
        return settings
    errors.print(f"{name}: {recipe.title}, arXiv {recipe.arxiv}", soft_wrap=True, markup=False)
    replaced = {"steps"} if "epochs" in given else set()
    for field, value in recipe.values.items():
        if field in given or field in replaced:
            told = f"{show(given.get(field))}  given; the recipe has {show(value.value)} {value.source}"
        else:
            told = f"{show(value.value)}  {value.source}"
        errors.print(f"  {field:<32}{told}", soft_wrap=True, markup=False)
    for note in recipe.notes:
        errors.print(f"  {note}", soft_wrap=True, markup=False)
    return settings
