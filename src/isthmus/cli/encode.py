"""``isthmus encode``: a corpus to part files of sparse vectors, resumable."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.markup import escape

from isthmus.cli import _lexical
from isthmus.cli._hub import check_names
from isthmus.cli._output import console, print_json, quiet_libraries, working
from isthmus.errors import InputError

FormatOption = Annotated[
    Literal["jsonl", "csv", "parquet"] | None,
    typer.Option(
        "--format", help="What - brings; compression is told by its first bytes.", show_default="jsonl or parquet"
    ),
]


def command(
    model: Annotated[str, typer.Argument(help="Sparse encoder: built-in name, folder or hub id.", metavar="MODEL")],
    corpus: Annotated[
        str, typer.Argument(help=".jsonl, .csv or .parquet file, or - for the same on stdin.", metavar="CORPUS")
    ],
    folder: Annotated[Path, typer.Option("--folder", "-o", help="Where the parts go; a folder begun is continued.")],
    format: FormatOption = None,
    weights: Annotated[Literal["f32", "f16", "u8"], typer.Option(help="How weights are stored.")] = "f32",
    max_active_dims: Annotated[int | None, typer.Option(min=1, help="Keep only the heaviest terms.")] = None,
    dtype: Annotated[Literal["float32", "bfloat16"], typer.Option(help="Arithmetic of encoding.")] = "float32",
    stock_head: Annotated[
        bool, typer.Option("--stock-head", help="Use sentence-transformers' own vocabulary head.")
    ] = False,
    batch_size: Annotated[int, typer.Option(min=1, help="Texts per batch.")] = 32,
    part_size: Annotated[int, typer.Option(min=1, help="Documents per part file.")] = 1024,
    processes: Annotated[int, typer.Option(min=1, help="Encode in this many processes.")] = 1,
    ray: Annotated[bool, typer.Option("--ray", help="The processes are Ray actors (extra: ray).")] = False,
    lexical: _lexical.ModeOption = None,
    lexical_weight: _lexical.WeightOption = None,
    calibrate: _lexical.CalibrateOption = None,
    lexical_trim: _lexical.TrimOption = None,
    lexical_folder: _lexical.FolderOption = None,
    trust_remote_code: Annotated[
        bool, typer.Option("--trust-remote-code", help="Run code that comes with hub models.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print what was done as one JSON object.")] = False,
) -> None:
    """Encode a corpus; run the same command again after an interruption and it goes on where it was."""
    started = time.perf_counter()
    added = _lexical.LexicalOptions.read(
        lexical, lexical_weight, calibrate, lexical_trim, lexical_folder=lexical_folder
    )
    check_names([model])
    source = told_format(corpus, format)
    with working("loading libraries", quiet=json):
        from isthmus.index import encode_corpus

        quiet_libraries()
    if added is not None:
        place = _lexical.default_folder(str(folder), lexical_folder)
        # In place before the parts are, which may be continued after an interruption.
        with _lexical.new_encoder(
            added, model, corpus, place, overwrite=False, resume=True,
            trust_remote_code=trust_remote_code, quiet=json, batch_size=batch_size, dtype=dtype,
        ):  # fmt: skip
            pass
        model = str(place)
    encoding = encode_corpus(
        model,
        source,
        folder,
        weights=weights,
        max_active_dims=max_active_dims,
        dtype=dtype,
        stock_head=stock_head,
        batch_size=batch_size,
        part_size=part_size,
        processes=processes,
        ray=ray,
        trust_remote_code=trust_remote_code,
        show_progress_bar=False if json else None,
    )
    done = encoding.complete or {}
    if json:
        told = {} if added is None else {"encoder": model}
        print_json([{"folder": str(folder), **told, **done, "seconds": time.perf_counter() - started}])
        return
    console.print(
        f"{done['documents']:,} documents with {done['postings']:,} active entries in {done['parts']:,} "
        f"part{'' if done['parts'] == 1 else 's'}; "
        f"{done['empty']:,} without text"
        + ("" if weights == "f32" else f"; stored weights are off by at most {done['error']:.2g}"),
        soft_wrap=True,
    )
    if added is not None:
        console.print(f"encoder with {added.describe()}: {escape(model)}", soft_wrap=True)
    console.print(
        f"written to {escape(str(folder))}; try: isthmus index {escape(model)} {escape(str(folder))} -o idx",
        soft_wrap=True,
    )


def told_format(corpus: str | None, format: Literal["jsonl", "csv", "parquet"] | None) -> Any:
    """CORPUS as the library takes it, with what ``--format`` says.

    Raises:
        InputError: If it is said of a file, whose name tells.
    """
    if format is None:
        return corpus
    from isthmus.reading.corpus import STDIN, StandardInput

    if corpus != STDIN:
        got = "no CORPUS" if corpus is None else f"the CORPUS {corpus}"
        raise InputError(f"--format must come with - (stdin), got it with {got}; leave it out: a file's name tells")
    return StandardInput(format)
