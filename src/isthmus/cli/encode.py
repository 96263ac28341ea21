"""``isthmus encode``: a corpus to part files of sparse vectors, resumable."""

from __future__ import annotations

import functools
import time
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from isthmus.cli._completion import MODELS
from isthmus.cli._hub import check_names
from isthmus.cli._options import Json, flags
from isthmus.cli._printing import console, escape, print_json, print_note, print_notes, quiet_libraries, working
from isthmus.cli._words import place_for_encoder, read_lexical
from isthmus.encoders.truncation import truncation_note
from isthmus.errors import InputError
from isthmus.index.encoded_files import check_begun, read_encoding
from isthmus.index.encoded_header import HEADER
from isthmus.index.options import EncodeCorpusOptions
from isthmus.lexical.new_encoder import check_place, new_encoder
from isthmus.lexical.options import NewEncoderOptions
from isthmus.options import ReadOptions
from isthmus.reading.corpus import STDIN, Corpus, CorpusSource, StandardInput
from isthmus.reading.notes import Notes

Kind = Literal["jsonl", "csv", "tsv", "parquet"]
Format = Annotated[
    Kind | None,
    typer.Option(
        "--format", help="What - brings; compression is told by its first bytes.", show_default="jsonl or parquet"
    ),
]


@flags
def command(
    model: Annotated[
        str,
        typer.Argument(help="Sparse encoder: built-in name, folder or hub id.", metavar="MODEL", autocompletion=MODELS),
    ],
    corpus: Annotated[
        str, typer.Argument(help=".jsonl, .csv, .tsv or .parquet file, a folder, or - for stdin.", metavar="CORPUS")
    ],
    folder: Annotated[Path, typer.Option("--folder", "-o", help="Where the parts go; a folder begun is continued.")],
    options: EncodeCorpusOptions,
    lexical: Annotated[dict[str, Any], NewEncoderOptions],
    reading: ReadOptions,
    format: Format = None,
    json: Json = False,
) -> None:
    """Encode a corpus; the same command again goes on where it was.

    Example: isthmus encode isthmus/mini-splade-en corpus.jsonl -o encoded
    """
    started = time.perf_counter()
    added = read_lexical(NewEncoderOptions, lexical)
    if added is not None and options.shard is not None:
        raise InputError(
            f"--lexical {added.mode} must come without --shard, which would make the encoder several times; make it "
            "first, with isthmus transfer, or by a small --lexical run"
        )
    check_names([model])
    source = source_of(corpus, format, reading)
    check_corpus(source)
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
        with new_encoder(model, source, place, added, options, resume=True, step=step):
            pass
        model = str(place)
    done = encode_corpus(model, source, folder, options).complete or {}
    noted = told_of(source)
    print_note(truncation_note({"document": done["truncated"]}, "--split cuts them into passages"))
    if json:
        told = {} if added is None else {"encoder": model}
        print_json([{"folder": str(folder), **told, **done, **noted, "seconds": time.perf_counter() - started}])
        return
    passages = f" in {done['passages']:,} passages" if "passages" in done else ""
    console.print(
        f"{done['documents']:,} documents{passages} with {done['postings']:,} active entries in {done['parts']:,} "
        f"part{'' if done['parts'] == 1 else 's'}; "
        f"{done['empty']:,} without text"
        + ("" if options.weights == "f32" else f"; stored weights are off by at most {done['error']:.2g}"),
        soft_wrap=True,
    )
    if options.shard is not None:
        console.print(
            f"share {options.shard} is in {escape(str(folder))}; when all are in one folder, the same command without "
            "--shard checks and completes it",
            soft_wrap=True,
        )
        return
    if added is not None:
        console.print(f"encoder with {added.describe()}: {escape(model)}", soft_wrap=True)
    console.print(
        f"written to {escape(str(folder))}; try: isthmus index {escape(model)} {escape(str(folder))} -o idx",
        soft_wrap=True,
    )


def check_corpus(source: Any) -> None:
    """Look for a corpus, or an encoded one, before libraries load; ``source`` as :func:`source_of` gives it.

    Raises:
        IsthmusError: If it is not there, or of another kind.
    """
    if isinstance(source, str):
        read_encoding(Path(source))
    elif source is not None and isinstance(source.source, str) and source.source != STDIN:
        Corpus(source.unnoted())


def source_of(corpus: str | None, format: Kind | None, reading: ReadOptions) -> Any:
    """CORPUS as the library takes it, with what ``--format``, ``--strict`` and the names of fields say.

    Raises:
        InputError: If a format is said of a file, whose name tells.
    """
    if format is not None and corpus != STDIN:
        got = "no CORPUS" if corpus is None else f"the CORPUS {corpus}"
        raise InputError(f"--format must come with - (stdin), got it with {got}; leave it out: a file's name tells")
    if corpus is None or (Path(corpus) / HEADER).is_file():
        return corpus
    source = corpus if format is None else StandardInput(format)
    return CorpusSource(source, reading.field_names(), Notes(reading.strict))


def told_of(source: Any) -> dict[str, dict[str, int]]:
    """Print what was taken for granted while a source was read; gives it for ``--json``, counted."""
    notes = getattr(source, "notes", None)
    if notes is None:
        return {}
    print_notes(notes)
    return {"reading": dict(notes.counts)}
