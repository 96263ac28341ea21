"""``isthmus index``: build an index, add to it, delete from it, compact it, check it."""

from __future__ import annotations

import functools
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from isthmus.cli._completion import INDEXES, MODELS
from isthmus.cli._hub import check_names
from isthmus.cli._options import Json, flags
from isthmus.cli._printing import console, escape, print_json, print_note, quiet_libraries, working
from isthmus.cli._words import place_for_encoder, read_lexical
from isthmus.cli.encode import Format, check_corpus, source_of, told_of
from isthmus.encoders.truncation import truncation_note
from isthmus.engines import build_engine, build_lexical_engine, change_engine, is_engine_url, open_engine
from isthmus.errors import InputError
from isthmus.index import SparseIndex
from isthmus.index.folder import check_free
from isthmus.index.format import read_manifest
from isthmus.index.options import ChangeOptions, IndexOptions
from isthmus.lexical.new_encoder import check_place
from isthmus.lexical.options import NewEncoderOptions
from isthmus.options import ReadOptions

if TYPE_CHECKING:
    from isthmus.index.build import Change


@dataclass(frozen=True)
class _IndexOptions(IndexOptions, ChangeOptions):
    """Those of a new index, and those of one that is there."""


@flags
def command(
    folder: Annotated[
        str,
        typer.Option(
            "--folder",
            "-o",
            help="The index: a folder, or opensearch://HOST:PORT/INDEX and the like.",
            autocompletion=INDEXES,
        ),
    ],
    options: _IndexOptions,
    lexical: Annotated[dict[str, Any], NewEncoderOptions],
    reading: ReadOptions,
    model: Annotated[
        str | None,
        typer.Argument(help="Sparse encoder: built-in name, folder or hub id.", metavar="MODEL", autocompletion=MODELS),
    ] = None,
    corpus: Annotated[
        str | None,
        typer.Argument(
            help=".jsonl, .csv, .tsv or .parquet file, a folder, - for stdin, or an encoded folder.", metavar="CORPUS"
        ),
    ] = None,
    format: Format = None,
    add: Annotated[bool, typer.Option("--add", help="Add the documents to the index that is there.")] = False,
    verify: Annotated[bool, typer.Option("--verify", help="Read all files back and compare their digests.")] = False,
    json: Json = False,
) -> None:
    """Build an index of MODEL's vectors of CORPUS, or change one.

    Example: isthmus index isthmus/mini-splade-en corpus.jsonl -o idx
    """
    changing = _is_change(folder, model, corpus, options, add=add, verify=verify)
    added = read_lexical(NewEncoderOptions, lexical)
    if added is not None and (changing or corpus is None):
        raise InputError(
            f"--lexical {added.mode} must come with a new index of MODEL and CORPUS; an index that is there names the "
            "encoder that made it: leave --lexical out"
        )
    source = source_of(corpus, format, reading)
    started = time.perf_counter()
    check_names([model])
    place = _look(folder, model, corpus, source, options, added, changing=changing, verify=verify)
    if corpus is not None:
        with working("loading libraries", quiet=json):
            quiet_libraries()
    change = None
    if changing:
        change = change_engine(folder, options, model=model, corpus=source)
    elif added is not None and place is not None and model is not None:
        step = functools.partial(working, quiet=json)
        change = build_lexical_engine(folder, model, source, place, added, options, step=step)
        if not json:
            console.print(f"encoder with {added.describe()}: {escape(str(place))}", soft_wrap=True)
    elif corpus is not None:
        change = build_engine(folder, model, source, options)
    summary = _summary(folder, verify=verify)
    if summary["postings"] is None and change is not None:
        summary["postings"] = change.postings
    noted = told_of(source)
    if change is not None:
        print_note(truncation_note({"document": change.truncated}, "--split cuts them into passages"))
    if json:
        row = {"folder": folder, **summary, **_done(change), **noted, "seconds": time.perf_counter() - started}
        print_json([row])
    else:
        _show(folder, summary, change, time.perf_counter() - started, verified=verify)


def _look(
    folder: str,
    model: str | None,
    corpus: str | None,
    source: Any,
    options: _IndexOptions,
    added: NewEncoderOptions | None,
    *,
    changing: bool,
    verify: bool,
) -> Path | None:
    """Look for what is read and at what is written, before libraries load; the place of a new encoder.

    Raises:
        IsthmusError: If something is not there, is of another kind, or must not be replaced.
    """
    elsewhere = is_engine_url(folder)
    if verify and elsewhere:
        raise InputError(f"--verify must come with a folder, got {folder}; isthmus parity compares it with one")
    check_corpus(source)
    if not elsewhere and (changing or verify):
        read_manifest(Path(folder))
    elif not elsewhere:
        check_free(Path(folder), options.overwrite)
    if added is None or model is None or corpus is None:
        return None
    place = place_for_encoder(folder, added.lexical_folder, corpus)
    check_place(model, place, added, options, overwrite=options.overwrite)
    return place


def _summary(folder: str, *, verify: bool) -> dict[str, Any]:
    if verify:
        return SparseIndex.open(folder, verify_files=True).summary()
    with closing(open_engine(folder)) as index:
        return index.summary()


def _done(change: Change | None) -> dict[str, Any]:
    if change is None:
        return {}
    unchanged = {"unchanged": change.unchanged} if change.unchanged else {}
    done = {"added": change.added, "empty": change.empty, "removed": change.deleted, "truncated": change.truncated}
    return done | unchanged | dict(change.told)


def _show(folder: str, summary: dict[str, Any], change: Change | None, seconds: float, *, verified: bool) -> None:
    counted = ("documents", "passages", "postings", "bytes", "segments")
    counts = [(name, summary[name]) for name in counted if summary.get(name) is not None]
    stated = ", ".join(f"{count:,} {name.removesuffix('s') if count == 1 else name}" for name, count in counts)
    console.print(f"{stated}; {seconds:.1f} s", soft_wrap=True)
    if change is not None and change.unchanged:
        console.print(f"{change.added:,} documents put, {change.unchanged:,} were there already and left alone")
    if change is not None and change.told:
        told = change.told
        kept = "" if told["previous"] is None else f"; {told['previous']} is kept, to go back to"
        gone = f"; dropped: {', '.join(told['dropped'])}" if told["dropped"] else ""
        console.print(escape(f"{told['alias']} is {told['index']} now{kept}{gone}"), soft_wrap=True)
    if change is not None and change.empty:
        console.print(f"{change.empty:,} documents have no text or no active entry: no query finds them")
    if summary.get("weight_error"):
        console.print(f"stored weights are off by at most {summary['weight_error']:.2g}")
    if verified:
        console.print("all files are as they were written")
    console.print(f'try: isthmus search {escape(folder)} "..."', soft_wrap=True)


def _is_change(
    folder: str, model: str | None, corpus: str | None, options: _IndexOptions, *, add: bool, verify: bool
) -> bool:
    """Whether an index that is there is changed.

    Raises:
        InputError: If what is asked for does not go together.
    """
    add = add or options.update
    # Seismic's lists can be made for an index that is there.
    lists_alone = folder.startswith("seismic:") and model is None and corpus is None
    changing = add or options.compact or options.delete != () or lists_alone
    if corpus is None and (model is not None or add):
        raise InputError("CORPUS must be given with MODEL, got none; name a file, an encoded folder, or -")
    if corpus is None and not changing and not verify:
        raise InputError("MODEL and CORPUS must be given, or --delete-ids, --compact or --verify; got none of them")
    if corpus is not None and changing and not add:
        raise InputError(f"CORPUS must come with --add or --update where an index is changed, got {corpus!r} alone")
    if changing and options.overwrite:
        raise InputError("--overwrite builds a new index; leave out --add, --update, --delete-ids and --compact")
    if changing and (options.shards, options.replicas, options.alias) != (None, None, False):
        raise InputError(
            "--shards, --replicas and --alias must come with a new index, got a change of one; leave them out"
        )
    return changing
