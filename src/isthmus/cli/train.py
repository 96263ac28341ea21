"""``isthmus train``: fine-tune an encoder on pairs, negatives or a teacher's scores, or on unlabelled text."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from isthmus.cli._hub import check_names
from isthmus.cli._options import Json, flags
from isthmus.cli._printing import quiet_libraries, working
from isthmus.cli._training import Folder, Model, check_alone, check_places, check_together, print_run, recipe_options
from isthmus.encoders.publishing import PublishOptions
from isthmus.errors import InputError
from isthmus.training.options import TrainOptions
from isthmus.training.text_options import OWN_TEACHERS, TAUGHT, PairOptions, check_teacher


@flags
def command(
    model: Model,
    folder: Folder,
    *,
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
    teacher: Annotated[
        str | None,
        typer.Option(
            help="Unlabelled text: learn the scores of a teacher: echo or hybrid (the encoder as it is, with its words "
            "given back), or another encoder.",
            metavar="echo|hybrid|MODEL",
            rich_help_panel="Method",
        ),
    ] = None,
    given: Annotated[dict[str, Any], TrainOptions],
    text: Annotated[dict[str, Any], PairOptions],
    publishing: PublishOptions,
    json: Json = False,
) -> None:
    """Train an encoder on pairs, a teacher's scores or unlabelled text.

    The same command goes on where it was interrupted.

    Example: isthmus train splade-ko --train pairs.jsonl -o splade-ko-ft
    """
    check_together(given)
    _check_data(train, self_supervised, teacher, given.get("recipe"))
    if train is not None:
        check_alone(text)
    pairs = PairOptions.of(None if teacher is None else TAUGHT, **text)
    options = TrainOptions(**given) if "recipe" not in given else recipe_options("train", given)
    check_teacher(teacher)
    check_names([model] if teacher is None or teacher in OWN_TEACHERS else [model, teacher])
    options = check_places(folder, options, train=train, corpus=self_supervised)
    with working("loading libraries", quiet=json):
        from isthmus import training

        # What is imported lazily comes now.
        run, run_on_text = training.train, training.train_self_supervised
        quiet_libraries()
    if train is not None:
        report = run(model, train, folder, options)
    else:
        report = run_on_text(model, self_supervised, folder, options, pairs, teacher=teacher)
    print_run(report, folder, publishing, json=json)


def _check_data(train: str | None, corpus: str | None, teacher: str | None, recipe: str | None) -> None:
    if (train is None) == (corpus is None):
        raise InputError(
            "exactly one of --train and --self-supervised must be given, got "
            f"{'neither' if train is None else 'both'}; name a file of pairs, or unlabelled documents"
        )
    if teacher is not None and train is not None:
        raise InputError(
            f"--teacher must come with --self-supervised, got {teacher!r} with --train; put its scores into the column "
            "'scores'"
        )
    if recipe is not None and train is None:
        raise InputError(f"--recipe must come with --train, got {recipe!r} with --self-supervised; leave one out")
