"""``isthmus evaluate``: how well a model retrieves from a collection."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.markup import escape

from isthmus.cli._hub import check_names
from isthmus.cli._output import console, print_json, print_table, quiet_libraries, working
from isthmus.errors import InputError

COLUMNS = ("model", "ndcg@10", "mrr@10", "recall@100", "flops", "dims q/d", "time")


def command(
    models: Annotated[list[str], typer.Argument(help="Built-in names, folders, hub ids, or BM25.", metavar="MODEL")],
    collection: Annotated[str, typer.Option(help="BEIR folder, SQuAD JSON file, or a name such as demo or xquad.")],
    language: Annotated[str | None, typer.Option(help="ISO 639-1 code of the collection's language.")] = None,
    distractors: Annotated[Path | None, typer.Option(help="JSONL of further passages for the pool.")] = None,
    max_distractors: Annotated[int | None, typer.Option(min=0, help="Take at most this many, drawn by seed.")] = None,
    tokenizer: Annotated[str | None, typer.Option(help="Tokenizer of BM25; default: the built-in one.")] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Texts per batch.")] = 32,
    dtype: Annotated[Literal["float32", "bfloat16"], typer.Option(help="Arithmetic of encoding.")] = "float32",
    max_active_dims: Annotated[int | None, typer.Option(min=1, help="Keep only the heaviest terms.")] = None,
    stock_head: Annotated[
        bool, typer.Option("--stock-head", help="Use sentence-transformers' own vocabulary head.")
    ] = False,
    trust_remote_code: Annotated[
        bool, typer.Option("--trust-remote-code", help="Run code that comes with hub models.")
    ] = False,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the distractor draw.")] = 0,
    json: Annotated[bool, typer.Option("--json", help="One JSON object a line, one line per model.")] = False,
) -> None:
    """Search the whole pool exactly and print nDCG@10, MRR@10, Recall@100, FLOPS and active dimensions."""
    if max_distractors is not None and distractors is None:
        raise InputError("--max-distractors must come with --distractors, got it alone; name the file to draw from")
    check_names([*(model for model in models if model.lower() != "bm25"), tokenizer])
    with working("loading libraries", quiet=json):
        import isthmus

        quiet_libraries()
    pool = isthmus.load_collection(
        collection, language=language, distractors=distractors, max_distractors=max_distractors, seed=seed
    )
    rows: list[list[object]] = []
    try:
        for model in models:
            result = isthmus.evaluate(
                model,
                pool,
                max_distractors=max_distractors,
                seed=seed,
                tokenizer=tokenizer,
                batch_size=batch_size,
                dtype=dtype,
                max_active_dims=max_active_dims,
                stock_head=stock_head,
                trust_remote_code=trust_remote_code,
                show_progress_bar=False if json else None,
            ).to_dict()
            if json:
                print_json([result])
            rows.append(_row(result))
    finally:
        # What is measured already is shown even if a later model fails.
        if rows and not json:
            title = f"{pool.name}: {len(pool.queries)} queries, {len(pool.corpus)} documents"
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
