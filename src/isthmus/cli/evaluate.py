"""``isthmus evaluate``: how well a model retrieves from a collection."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from isthmus.cli._output import print_json, print_table, quiet_libraries, working

COLUMNS = ("ndcg@10", "mrr@10", "recall@100", "flops", "query_active_dims", "document_active_dims", "seconds")


def command(
    models: Annotated[list[str], typer.Argument(help="Built-in names, folders, hub ids, or BM25.", metavar="MODEL...")],
    collection: Annotated[str, typer.Option(help="BEIR folder, SQuAD JSON file, or a name such as demo or xquad.")],
    language: Annotated[str | None, typer.Option(help="ISO 639-1 code of the collection's language.")] = None,
    distractors: Annotated[Path | None, typer.Option(help="JSONL of further passages for the pool.")] = None,
    max_distractors: Annotated[int | None, typer.Option(min=0, help="Take at most this many, drawn by seed.")] = None,
    tokenizer: Annotated[str | None, typer.Option(help="Tokenizer of BM25; default: the built-in one.")] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Texts per batch.")] = 32,
    dtype: Annotated[Literal["float32", "bfloat16"], typer.Option(help="Arithmetic of encoding.")] = "float32",
    max_active_dims: Annotated[int | None, typer.Option(min=1, help="Keep only the heaviest terms.")] = None,
    stock_head: Annotated[bool, typer.Option(help="Use sentence-transformers' own vocabulary head.")] = False,
    trust_remote_code: Annotated[bool, typer.Option(help="Run code that comes with hub models.")] = False,
    seed: Annotated[int, typer.Option(help="Seed of the distractor draw.")] = 0,
    json: Annotated[bool, typer.Option("--json", help="One JSON object a line, one line per model.")] = False,
) -> None:
    """Search the whole pool exactly and print nDCG@10, MRR@10, Recall@100, FLOPS and active dimensions."""
    with working("loading libraries", quiet=json):
        import isthmus

        quiet_libraries()
    pool = isthmus.load_collection(
        collection, language=language, distractors=distractors, max_distractors=max_distractors, seed=seed
    )
    results = [
        isthmus.evaluate(
            model,
            pool,
            tokenizer=tokenizer,
            batch_size=batch_size,
            dtype=dtype,
            max_active_dims=max_active_dims,
            stock_head=stock_head,
            trust_remote_code=trust_remote_code,
        ).to_dict()
        for model in models
    ]
    if json:
        print_json(results)
        return
    title = f"{pool.name}: {len(pool.queries)} queries, {len(pool.corpus)} documents"
    rows = [[model, *(result[column] for column in COLUMNS)] for model, result in zip(models, results, strict=True)]
    print_table(["model", *(column.replace("_active_dims", " dims") for column in COLUMNS)], rows, title=title)
