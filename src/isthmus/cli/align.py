"""``isthmus align``: train an encoder to rank the same content alike in every language."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from isthmus.cli._hub import check_names
from isthmus.cli._options import Json, flags
from isthmus.cli._printing import quiet_libraries, working
from isthmus.cli._training import Folder, Model, check_places, check_together, print_run, recipe_options
from isthmus.encoders.publishing import PublishOptions
from isthmus.losses.options import AnyLossOptions
from isthmus.training.options import AlignOptions


@flags
def command(
    model: Model,
    train: Annotated[str, typer.Option(help="Rows by role, as `isthmus pairs` writes them; or a hub dataset id.")],
    folder: Folder,
    given: Annotated[dict[str, Any], AlignOptions],
    of_loss: Annotated[dict[str, Any], AnyLossOptions],
    publishing: PublishOptions,
    json: Json = False,
) -> None:
    """Train an encoder to rank the same content alike in every language.

    The same command goes on where it was interrupted.

    Example: isthmus align BAAI/bge-m3 --train rows.jsonl -o bge-m3-ko
    """
    check_together(given)
    given |= of_loss
    options = AlignOptions.of(None, **given) if "recipe" not in given else recipe_options("align", given)
    check_names([model])
    options = check_places(folder, options, train=train)
    with working("loading libraries", quiet=json):
        from isthmus.training.aligning import align

        quiet_libraries()
    print_run(align(model, train, folder, options), folder, publishing, json=json)
