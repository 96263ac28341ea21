"""``isthmus encode``: a corpus to part files of sparse vectors, resumable."""

from __future__ import annotations

import functools
import time
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.markup import escape

from isthmus.cli._hub import check_names
from isthmus.cli._lexical import place_for_encoder, read_lexical
from isthmus.cli._options import Json, flags
from isthmus.cli._output import console, print_json, quiet_libraries, working
from isthmus.errors import InputError
from isthmus.index.encoded_files import HEADER, check_begun, read_encoding
from isthmus.index.options import EncodeCorpusOptions
from isthmus.lexical.new_encoder import check_place, new_encoder
from isthmus.lexical.options import NewEncoderOptions
from isthmus.reading.corpus import STDIN, Corpus, StandardInput

Format = Annotated[
    Literal["jsonl", "csv", "parquet"] | None,
    typer.Option(
        "--format", help="What - brings; compression is told by its first bytes.", show_default="jsonl or parquet"
    ),
]


@flags
def command(
    model: Annotated[str, typer.Argument(help="Sparse encoder: built-in name, folder or hub id.", metavar="MODEL")],
    corpus: Annotated[
        str, typer.Argument(help=".jsonl, .csv or .parquet file, or - for the same on stdin.", metavar="CORPUS")
    ],
    folder: Annotated[Path, typer.Option("--folder", "-o", help="Where the parts go; a folder begun is continued.")],
    options: EncodeCorpusOptions,
    lexical: Annotated[dict[str, Any], NewEncoderOptions],
    format: Format = None,
    json: Json = False,
) -> None:
    """Encode a corpus; the same command again goes on where it was.

    Example: isthmus encode isthmus/mini-splade-en corpus.jsonl -o encoded
    """
    started = time.perf_counter()
    added = read_lexical(NewEncoderOptions, lexical)
    check_names([model])
    source = told_format(corpus, format)
    check_corpus(corpus)
    check_begun(folder)
    place = None if added is None else place_for_encoder(str(folder), added.lexical_folder, corpus)
    if added is not None and place is not None:
        check_place(model, place, added, options, resume=True)
    with working("loading libraries", quiet=json):
        from isthmus.index import encode_corpus

        quiet_libraries()
    if added is not None and place is not None:
        step = functools.partial(working, quiet=json)
        # In place before the parts are, which may be continued after an interruption.
        with new_encoder(model, corpus, place, added, options, resume=True, step=step):
            pass
        model = str(place)
    done = encode_corpus(model, source, folder, options).complete or {}
    if json:
        told = {} if added is None else {"encoder": model}
        print_json([{"folder": str(folder), **told, **done, "seconds": time.perf_counter() - started}])
        return
    console.print(
        f"{done['documents']:,} documents with {done['postings']:,} active entries in {done['parts']:,} "
        f"part{'' if done['parts'] == 1 else 's'}; "
        f"{done['empty']:,} without text"
        + ("" if options.weights == "f32" else f"; stored weights are off by at most {done['error']:.2g}"),
        soft_wrap=True,
    )
    if added is not None:
        console.print(f"encoder with {added.describe()}: {escape(model)}", soft_wrap=True)
    console.print(
        f"written to {escape(str(folder))}; try: isthmus index {escape(model)} {escape(str(folder))} -o idx",
        soft_wrap=True,
    )


def check_corpus(corpus: str | None) -> None:
    """Look for a corpus, or an encoded one, before libraries load.

    Raises:
        IsthmusError: If it is not there, or of another kind.
    """
    if corpus is None or corpus == STDIN:
        return
    if (Path(corpus) / HEADER).is_file():
        read_encoding(Path(corpus))
    else:
        Corpus(corpus)


def told_format(corpus: str | None, format: Literal["jsonl", "csv", "parquet"] | None) -> Any:
    """CORPUS as the library takes it, with what ``--format`` says.

    Raises:
        InputError: If it is said of a file, whose name tells.
    """
    if format is None:
        return corpus
    if corpus != STDIN:
        got = "no CORPUS" if corpus is None else f"the CORPUS {corpus}"
        raise InputError(f"--format must come with - (stdin), got it with {got}; leave it out: a file's name tells")
    return StandardInput(format)
