"""``isthmus adapt``: from documents to the best encoder that can be had for them, and an index."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from isthmus.adapting.adaptation_folder import check_place, settings_of
from isthmus.adapting.options import AdaptOptions
from isthmus.cli._completion import MODELS, PRESETS
from isthmus.cli._hub import check_names
from isthmus.cli._options import Json, flags
from isthmus.cli._printing import console, errors, escape, print_json, quiet_libraries, working
from isthmus.errors import InputError, NotFoundError
from isthmus.training.unlabelled import read_documents


@flags
def command(
    corpus: Annotated[str, typer.Argument(help=".jsonl, .csv, .parquet, .txt or a folder of pages.", metavar="CORPUS")],
    folder: Annotated[Path, typer.Option("--folder", "-o", help="Folder of encoder, index and report.")],
    options: AdaptOptions,
    encoder: Annotated[
        str | None, typer.Option(help="English sparse encoder: name, folder or hub id.", autocompletion=MODELS)
    ] = None,
    bridge: Annotated[
        str | None, typer.Option(help="Multilingual dense model: name, folder or hub id.", autocompletion=MODELS)
    ] = None,
    preset: Annotated[
        str | None, typer.Option(help="Models that go together, see `isthmus presets`.", autocompletion=PRESETS)
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace another run in the folder.", rich_help_panel="Output")
    ] = False,
    json: Json = False,
) -> None:
    """Try what can be done for a corpus, keep the best, and index it.

    Arms are measured on questions made of the text itself; the same command goes on where it was broken off.

    Example: isthmus adapt corpus.jsonl --preset mini-ko -o adapted
    """
    given = {"encoder": encoder, "bridge": bridge, "target_tokenizer": options.target_tokenizer}
    if preset is not None:
        from isthmus.transferring.preset import find_preset

        found = find_preset(preset)
        for note in found.notes(**given):
            errors.print(f"{preset}: {note}", soft_wrap=True, markup=False)
        given |= found.arguments(**{name: value for name, value in given.items() if value is not None})
    for name in ("encoder", "bridge"):
        if given[name] is None:
            raise InputError(f"--{name} must be given, got none; name one, or take a --preset")
    if corpus == "-":
        raise InputError("CORPUS must be a file, got - (stdin): it is read several times; save it to a file first")
    if not Path(corpus).exists():
        raise NotFoundError(f"{corpus} does not exist; give a corpus")
    read_documents(corpus)
    if options.questions is not None and not options.questions.exists():
        raise NotFoundError(f"{options.questions} does not exist; give a file of questions, or leave --questions out")
    check_names([given["encoder"], given["bridge"]], [given["target_tokenizer"]], argument="encoder")
    options = AdaptOptions.of(options, target_tokenizer=given["target_tokenizer"])
    check_place(folder, settings_of(options, str(given["encoder"]), str(given["bridge"])), overwrite=overwrite)
    with working("loading libraries", quiet=json):
        from isthmus.adapting import adapt

        quiet_libraries()
    made = adapt(
        corpus, folder, options, encoder=str(given["encoder"]), bridge=str(given["bridge"]), overwrite=overwrite
    )
    if json:
        print_json([made.to_dict()])
        return
    console.print(escape(str(made), lines=True), soft_wrap=True)
    place = escape(str(folder))
    searched = f'; try: isthmus search {place}/index "..."' if made.index else ""
    console.print(f"\nwritten to {place}; read {place}/report.html{searched}", soft_wrap=True)
