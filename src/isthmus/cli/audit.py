"""``isthmus audit``: what a model does where passages of several languages compete."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from isthmus.auditing.audits import prepare
from isthmus.auditing.options import AuditOptions, listed
from isthmus.cli._completion import MEASURED, PARALLEL
from isthmus.cli._hub import check_names
from isthmus.cli._options import Json, flags
from isthmus.cli._printing import (
    console,
    escape,
    print_json,
    print_note,
    print_notes,
    print_table,
    print_wrapped,
    quiet_libraries,
    working,
)
from isthmus.encoders.truncation import truncation_note
from isthmus.errors import OutputError

if TYPE_CHECKING:
    from isthmus.auditing import AuditResult


@flags
def command(
    models: Annotated[
        list[str],
        typer.Argument(help="Built-in names, folders, hub ids, or BM25.", metavar="MODEL", autocompletion=MEASURED),
    ],
    collection: Annotated[
        str, typer.Option(help="demo, xquad, belebele, or a folder with a file per language.", autocompletion=PARALLEL)
    ],
    languages: Annotated[str, typer.Option(help="Two or more ISO 639-1 codes: en,ko.")],
    options: AuditOptions,
    html: Annotated[
        Path | None, typer.Option(help="Write a report page to this file.", rich_help_panel="Output")
    ] = None,
    json: Json = False,
) -> None:
    """Ask in every language, and search pools of one and of several.

    Who finds what, and whose passages come first?

    Example: isthmus audit BAAI/bge-m3 --collection xquad --languages en,zh
    """
    if html is not None and html.is_dir():
        raise OutputError(f"{html} is a folder; give the file that --html is to write")
    named = [model for model in models if model.lower() != "bm25"]
    # Later ones are looked at in their turn: what is found of the first is worth having without them.
    check_names(named, [options.tokenizer], look=[model for model in models[:1] if model in named])
    running, loaded = prepare(models, collection, listed(languages), options)
    print_notes(running.collection.notes)
    with working("loading libraries", quiet=json):
        quiet_libraries()
    try:
        running.run(loaded)
    finally:
        # What is audited already is shown even if a later model fails.
        if running.seconds:
            _show(running.result(), html, json=json)


def _show(result: AuditResult, html: Path | None, *, json: bool) -> None:
    for name, stated in result.settings["models"].items():
        note = truncation_note(stated["truncated"], "")
        print_note(None if note is None else f"{name}: {note}")
    if json:
        print_json(result.to_rows())
    else:
        _print(result)
    if html is not None:
        from isthmus.auditing.page import write_audit_report

        write_audit_report(result, html)
        if not json:
            console.print(f"\nreport in {escape(str(html))}", soft_wrap=True)


def _print(result: AuditResult) -> None:
    from isthmus.auditing.wording import COLUMNS, LEGEND, headline, rules, sentences, shares, table

    console.print(escape(headline(result)), soft_wrap=True)
    for model in result.models:
        seconds = f"{result.seconds[model]:.1f} s"
        console.print(f"\n[bold]{escape(model)}[/]  [dim]{seconds}[/]", soft_wrap=True)
        results = [found for found in result.results if found.model == model]
        print_table(COLUMNS, table(results))
        for text in shares(results):
            print_wrapped("", escape(text))
    console.print()
    for text in sentences(result):
        print_wrapped("", escape(text))
    console.print()
    for text in [LEGEND, *rules(result)]:
        print_wrapped("", f"[dim]{escape(text)}[/]")
