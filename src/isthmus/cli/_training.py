"""What ``train`` and ``align`` do alike: options of a paper, and the report of a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from isthmus.cli._completion import MODELS
from isthmus.cli._printing import console, errors, escape, print_json, print_report, publish_result
from isthmus.collections import load as load_collection
from isthmus.errors import InputError
from isthmus.reading.corpus import STDIN
from isthmus.reading.training_rows import rows_file
from isthmus.training.options import TrainerOptions
from isthmus.training.output import check_start
from isthmus.training.task import is_first_process
from isthmus.training.unlabelled import read_documents

if TYPE_CHECKING:
    from isthmus.encoders.publishing import PublishOptions
    from isthmus.training.paper_recipes import Command
    from isthmus.training.run_report import TrainingReport

Options = TypeVar("Options", bound=TrainerOptions)
Model = Annotated[
    str,
    typer.Argument(
        help="Sparse or dense encoder: built-in name, folder or hub id.", metavar="MODEL", autocompletion=MODELS
    ),
]
Folder = Annotated[
    Path,
    typer.Option(
        "--folder", "-o", help="Folder of the result; holds checkpoints until then.", rich_help_panel="Output"
    ),
]


def check_together(given: Mapping[str, Any]) -> None:
    """Refuse options of a run that do not go together.

    Raises:
        InputError: As said.
    """
    if "steps" in given and "epochs" in given:
        raise InputError(
            f"--steps and --epochs must not come together, got {given['steps']} and {given['epochs']}; leave one out"
        )
    if "language" in given and "development" not in given:
        raise InputError(f"--language must come with --eval, got {given['language']!r} alone; name the collection")


def check_alone(text: Mapping[str, Any]) -> None:
    """Refuse options of unlabelled text beside ``--train``.

    Raises:
        InputError: As said.
    """
    for name, value in text.items():
        flag = "mine-negatives" if name == "negatives" else name.replace("_", "-")
        remedy = "; `isthmus mine` adds negatives to pairs" if name == "negatives" else "; leave it out"
        raise InputError(f"--{flag} must come with --self-supervised, got {value!r} without{remedy}")


def check_places(folder: Path, options: Options, *, train: str | None, corpus: str | None = None) -> Options:
    """Look for what a run reads and where it writes, before libraries load.

    Args:
        folder: Where the result goes.
        options: Those of the run.
        train: File of rows, or the id of a hub dataset.
        corpus: File of documents, instead.

    Returns:
        The options with the collection of ``--eval`` read.

    Raises:
        IsthmusError: If something is not there, is of another kind, or cannot be written.
    """
    check_start(folder, overwrite=options.overwrite)
    if train is not None:
        rows_file(train)
    if corpus is not None and corpus != STDIN:
        read_documents(corpus)
    if options.development is None:
        return options
    return replace(options, development=load_collection(options.development, language=options.language))


def recipe_options(command: Command, given: Mapping[str, Any]) -> Any:
    """The options of the paper's recipe that ``given`` names, replaced by the others given; tells each on stderr.

    Args:
        command: ``align`` or ``train``.
        given: What the command line said, by field.

    Raises:
        UnknownNameError: If there is no such recipe.
        InputError: If it is for another command, or a value does not fit.
    """
    from isthmus.training.paper_recipes import find_recipe, show

    given = dict(given)
    recipe = find_recipe(given.pop("recipe"), command)
    options = recipe.settings(**given)
    if not is_first_process():
        # Under torchrun the first process tells.
        return options
    errors.print(f"{recipe.name}: {recipe.title}, arXiv {recipe.arxiv}", soft_wrap=True, markup=False)
    replaced = {"steps"} if "epochs" in given else set()
    for field, value in recipe.values.items():
        if field in given or field in replaced:
            told = f"{show(given.get(field))}  given; the recipe has {show(value.value)} {value.source}"
        else:
            told = f"{show(value.value)}  {value.source}"
        errors.print(f"  {field:<32}{told}", soft_wrap=True, markup=False)
    for note in recipe.notes:
        errors.print(f"  {note}", soft_wrap=True, markup=False)
    return options


def print_run(report: TrainingReport, folder: Path, publishing: PublishOptions, *, json: bool) -> None:
    """Print the report of a run that wrote to ``folder``, and publish it if that is asked for.

    Under ``torchrun`` only the first process does.
    """
    if not is_first_process():
        return
    address = publish_result(folder, publishing)
    if json:
        print_json([report.to_dict() | {"folder": str(folder)} | address])
        return
    print_report(report)
    for name, counts in report.data.get("counts", {}).items():
        told = ", ".join(f"{value} {number}" for value, number in counts.items())
        console.print(f"  {name:<13} {escape(told)}", soft_wrap=True)
    for name, mean in report.data.get("mined", {}).items():
        console.print(f"  mined         {mean:.1f} negatives of {name} per row", soft_wrap=True)
    console.print(f"\nwritten to {escape(str(folder))}", soft_wrap=True)
