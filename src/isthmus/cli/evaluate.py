"""``isthmus evaluate``: how well a model retrieves from a collection."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain
from pathlib import Path
from typing import Annotated, Any

import typer

import isthmus
from isthmus.cli._completion import COLLECTIONS, MEASURED
from isthmus.cli._hub import check_names
from isthmus.cli._options import Json, flags
from isthmus.cli._printing import (
    console,
    counted,
    errors,
    escape,
    print_json,
    print_note,
    print_notes,
    print_table,
    quiet_libraries,
    working,
)
from isthmus.encoders.truncation import truncation_note
from isthmus.errors import InputError, NotFoundError
from isthmus.evaluation.options import EvaluateOptions

COLUMNS = ("model", "ndcg@10", "mrr@10", "recall@100", "flops", "dims q/d", "time")


@flags
def command(
    collection: Annotated[
        str,
        typer.Option(
            help="BEIR, MIRACL or TREC folder, SQuAD JSON file, or a name: demo, xquad, miracl/ko.",
            autocompletion=COLLECTIONS,
        ),
    ],
    options: EvaluateOptions,
    models: Annotated[
        list[str] | None,
        typer.Argument(help="Built-in names, folders, hub ids, or BM25.", metavar="MODEL", autocompletion=MEASURED),
    ] = None,
    runs: Annotated[
        list[Path] | None,
        typer.Option("--run", help="A TREC run that another engine made, instead of a model; repeat for more."),
    ] = None,
    json: Json = False,
) -> None:
    """Measure how well models retrieve from a collection.

    The whole pool is searched exactly: nDCG@10, MRR@10, Recall@100, FLOPS and active dimensions. With --run, what
    another engine found is measured by the same judgments.

    Example: isthmus evaluate splade-ko BM25 --collection demo --language ko
    """
    models = models or []
    if not models and not runs:
        raise InputError("MODEL or --run must be given, got neither; name what to measure")
    if options.max_distractors is not None and options.distractors is None:
        raise InputError("--max-distractors must come with --distractors, got it alone; name the file to draw from")
    missing = next((run for run in runs or [] if not run.is_file()), None)
    if missing is not None:
        raise NotFoundError(f"{missing} does not exist; give a TREC run")
    named = [model for model in models if model.lower() != "bm25"]
    # Later ones are looked at in their turn: what is found of the first is worth having without them.
    check_names(named, [options.tokenizer], look=[model for model in models[:1] if model in named])
    from isthmus.evaluation.retrieval import load_pool

    pool = load_pool(collection, options)
    print_notes(pool.notes)
    if pool.language is None and options.tokenizer is None and any(model.lower() == "bm25" for model in models):
        said = "BM25 counts the subwords of isthmus/mini-bridge; --language takes a tokenizer of that language"
        errors.print(f"[bold]note:[/] {said}", soft_wrap=True)
    with working("loading libraries", quiet=json):
        from isthmus.evaluation import EvaluationResult
        from isthmus.evaluation.runs import evaluate_run

        quiet_libraries()
    rows: list[list[object]] = []
    try:
        measured = (isthmus.evaluate(model, pool, options, language=None, distractors=None) for model in models)
        for result in map(EvaluationResult.to_dict, chain(measured, (evaluate_run(run, pool) for run in runs or []))):
            note = truncation_note(result["settings"].get("truncated", {}), "--split-texts reads all of them")
            print_note(None if note is None else f"{result['model']}: {note}")
            if json:
                print_json([result])
            rows.append(_row(result))
    finally:
        # What is measured already is shown even if a later model fails.
        if rows and not json:
            queries, dropped = (counted(n, "query", "queries") for n in (len(pool.queries), pool.dropped_queries))
            title = f"{pool.name}: {queries}, {counted(len(pool.corpus), 'document')}"
            title += f"; {dropped} without a relevant passage left out" if pool.dropped_queries else ""
            console.print(escape(title), soft_wrap=True)
            print_table(COLUMNS, rows)


def _row(result: Mapping[str, Any]) -> list[object]:
    """Cells of one model, short enough for 80 columns."""
    flops, query, document = (result[key] for key in ("flops", "query_active_dims", "document_active_dims"))
    return [
        *(result[key] for key in ("model", "ndcg@10", "mrr@10", "recall@100")),
        None if flops is None else f"{flops:.2f}",
        None if query is None else f"{query:.0f}/{document:.0f}",
        f"{result['seconds']:.1f}s",
    ]
