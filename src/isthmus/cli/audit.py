"""``isthmus audit``: what a model does where passages of several languages compete."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.markup import escape

from isthmus.cli._hub import check_names
from isthmus.cli._output import console, print_json, print_table, print_wrapped, quiet_libraries, working
from isthmus.errors import OutputError

if TYPE_CHECKING:
    from isthmus.auditing import AuditResult


def command(
    models: Annotated[list[str], typer.Argument(help="Built-in names, folders, hub ids, or BM25.", metavar="MODEL")],
    collection: Annotated[str, typer.Option(help="demo, xquad, belebele, or a folder with a file per language.")],
    languages: Annotated[str, typer.Option(help="Two or more ISO 639-1 codes: en,ko.")],
    pools: Annotated[
        str,
        typer.Option(help="Of mono-same, mono-cross, multi, pairs, partly-parallel, english-distractors."),
    ] = "mono-same,mono-cross,multi",
    model_name: Annotated[
        list[str] | None, typer.Option(help="Name of a model in the output; once for each MODEL.")
    ] = None,
    distractors: Annotated[
        str | None, typer.Option(help="JSONL of further passages, a path with {language} in it.")
    ] = None,
    max_distractors: Annotated[int | None, typer.Option(min=0, help="Take at most this many per language.")] = None,
    max_queries: Annotated[int | None, typer.Option(min=1, help="Ask at most this many questions.")] = None,
    tokenizer: Annotated[str | None, typer.Option(help="Tokenizer of BM25; default: isthmus/mini-bridge.")] = None,
    split: Annotated[str, typer.Option(help="Judgements of BEIR folders.")] = "test",
    partly_parallel_share: Annotated[
        float, typer.Option(min=0, max=1, help="Relevant passages that partly-parallel has in one language only.")
    ] = 0.5,
    keep_copies: Annotated[
        bool, typer.Option("--keep-copies", help="A copy of its passage for each question, not one document per text.")
    ] = False,
    batch_size: Annotated[int, typer.Option(min=1, help="Texts per batch.")] = 32,
    dtype: Annotated[Literal["float32", "bfloat16"], typer.Option(help="Arithmetic of encoding.")] = "float32",
    max_active_dims: Annotated[int | None, typer.Option(min=1, help="Keep only the heaviest terms.")] = None,
    stock_head: Annotated[
        bool, typer.Option("--stock-head", help="Use sentence-transformers' own vocabulary head.")
    ] = False,
    trust_remote_code: Annotated[
        bool, typer.Option("--trust-remote-code", help="Run code that comes with hub models.")
    ] = False,
    seed: Annotated[int, typer.Option(min=0, help="Seed of samples, equal scores and intervals.")] = 0,
    resamples: Annotated[int, typer.Option(min=1, help="Bootstrap resamples of every interval.")] = 2000,
    html: Annotated[Path | None, typer.Option(help="Write a report page to this file.")] = None,
    json: Annotated[
        bool, typer.Option("--json", help="One JSON object a line, for each model, pool and language.")
    ] = False,
) -> None:
    """Ask in every language and search pools of one and of several: who finds what, and whose passages come first."""
    if html is not None and html.is_dir():
        raise OutputError(f"{html} is a folder; give the file that --html is to write")
    check_names([*(model for model in models if model.lower() != "bm25"), tokenizer])
    with working("loading libraries", quiet=json):
        import isthmus

        quiet_libraries()
    result = isthmus.audit(
        models,
        collection,
        _listed(languages),
        pools=_listed(pools),
        names=model_name or None,
        split=split,
        distractors=distractors,
        max_distractors=max_distractors,
        max_queries=max_queries,
        partly_parallel_share=partly_parallel_share,
        keep_copies=keep_copies,
        seed=seed,
        tokenizer=tokenizer,
        batch_size=batch_size,
        max_active_dims=max_active_dims,
        dtype=dtype,
        stock_head=stock_head,
        resamples=resamples,
        trust_remote_code=trust_remote_code,
        show_progress_bar=False if json else None,
    )
    if json:
        print_json(result.to_rows())
    else:
        _print(result)
    if html is not None:
        from isthmus.auditing.page import write_audit_report

        write_audit_report(result, html)
        if not json:
            console.print(f"\nreport in {escape(str(html))}", soft_wrap=True)


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _print(result: AuditResult) -> None:
    from isthmus.auditing.text import COLUMNS, LEGEND, headline, rules, sentences, shares, table

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
