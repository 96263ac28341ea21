"""``isthmus transfer``: give an English sparse encoder the vocabulary of another language."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from isthmus.cli._completion import MODELS
from isthmus.cli._hub import check_names
from isthmus.cli._options import Folder, Json, Overwrite, flags, read_late
from isthmus.cli._printing import (
    console,
    errors,
    escape,
    print_json,
    print_report,
    print_wrapped,
    publish_result,
    quiet_libraries,
    working,
)
from isthmus.cli._words import read_lexical
from isthmus.cli.tokenizer import train_into
from isthmus.encoders.publishing import PublishOptions
from isthmus.errors import InputError
from isthmus.initializers import MethodOptions
from isthmus.lexical.options import LexicalOptions
from isthmus.reading.storage import atomic_folder, reserved_folder
from isthmus.reading.texts import check_texts, read_samples
from isthmus.token_map import Fate
from isthmus.transferring.options import TransferOptions
from isthmus.transferring.request import PartOptions, TransferRequest, place_for_tokenizer


@flags
def command(
    context: typer.Context,
    folder: Folder,
    parts: PartOptions,
    given: Annotated[dict[str, Any], TransferOptions],
    of_method: Annotated[dict[str, Any], MethodOptions],
    lexical: Annotated[dict[str, Any], LexicalOptions],
    publishing: PublishOptions,
    encoder: Annotated[
        str | None, typer.Argument(help="Built-in name, folder or hub id.", metavar="ENCODER", autocompletion=MODELS)
    ] = None,
    lexical_texts: Annotated[Path | None, typer.Option(help="Texts of what will be searched (--lexical).")] = None,
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Give an English encoder the vocabulary of another language.

    Example: isthmus transfer --preset mini-ko -o splade-ko
    """
    added = read_lexical(LexicalOptions, lexical, lexical_texts=lexical_texts)
    if added is not None and lexical_texts is None:
        raise InputError(f"--lexical-texts must come with --lexical {added.mode}, got none; name a file of texts")
    check_texts([] if lexical_texts is None else [lexical_texts])
    parts.check_files()
    texts = parts.target_text
    trained = context.with_resource(place_for_tokenizer(given.get("language"))) if texts else None
    request = TransferRequest.of(encoder, parts, trained, **given, **of_method)
    request.check_method()
    for note in request.notes:
        errors.print(f"{parts.preset}: {note}", soft_wrap=True, markup=False)
    context.with_resource(reserved_folder(folder, overwrite=overwrite, marker="modules.json"))
    tokenizers = () if texts else request.target_tokenizers
    check_names([request.encoder, request.bridge], tokenizers, argument="encoder")
    # Training a tokenizer takes minutes: what can be told without one is told before.
    request = replace(request, given=read_late(request.given, TransferOptions, MethodOptions))
    options = request.options()
    words = [] if lexical_texts is None else read_samples(lexical_texts)
    with working("loading libraries", quiet=json):
        import isthmus
        from isthmus.diagnostics.model_card import write_card

        quiet_libraries()
    if added is not None:
        from isthmus.encoders.load import load_encoder
        from isthmus.lexical.adding import add_lexical, check_transfer

        source = load_encoder(request.encoder, trust_remote_code=options.trust_remote_code)
        check_transfer(source, added, words, name=request.encoder, path=lexical_texts)
    told: dict[str, Any] = {"folder": str(folder)}
    if texts and trained:
        made = train_into(trained, texts, parts.tokenizer_options(options))
        told["tokenizer"] = made.to_dict()
        if not json:
            print_report(made)
    result, report = isthmus.transfer(request.encoder, options, **request.others())
    if added is not None:
        told["lexical"] = added.to_dict()
        fitted = {"seed": options.seed, "show_progress_bar": options.show_progress_bar, **added.to_dict()}
        result = add_lexical(result, words, known=report.token_map.rows(Fate.KEPT).tolist(), **fitted)
    with atomic_folder(folder, overwrite=overwrite) as written:
        result.save_pretrained(str(written))
        report.save(written)
        write_card(written, result)
    address = publish_result(folder, publishing)
    if json:
        print_json([report.to_dict() | told | address])
        return
    print_report(report)
    if added is not None:
        print_wrapped("  lexical     ", f"{escape(added.describe())} from {len(words):,} texts")
    place = escape(str(folder))
    console.print(f"\nwritten to {place}; try: isthmus inspect {place} TOKEN", soft_wrap=True)
