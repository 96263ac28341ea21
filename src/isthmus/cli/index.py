"""``isthmus index``: build an index, add to it, delete from it, compact it, check it."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.markup import escape

from isthmus.cli import _lexical
from isthmus.cli._hub import check_names
from isthmus.cli._output import console, print_json, quiet_libraries, working
from isthmus.cli.encode import FormatOption, told_format
from isthmus.errors import InputError
from isthmus.reading.storage import read_lines

if TYPE_CHECKING:
    from isthmus.index.build import Change


def command(
    folder: Annotated[
        str, typer.Option("--folder", "-o", help="The index: a folder, or opensearch://HOST:PORT/INDEX and the like.")
    ],
    model: Annotated[
        str | None, typer.Argument(help="Sparse encoder: built-in name, folder or hub id.", metavar="MODEL")
    ] = None,
    corpus: Annotated[
        str | None,
        typer.Argument(
            help=".jsonl, .csv or .parquet file, - for the same on stdin, or an encoded folder.", metavar="CORPUS"
        ),
    ] = None,
    format: FormatOption = None,
    add: Annotated[bool, typer.Option("--add", help="Add the documents to the index that is there.")] = False,
    update: Annotated[bool, typer.Option("--update", help="Add, and replace documents of the same ids.")] = False,
    delete_ids: Annotated[Path | None, typer.Option(help="File of ids to delete, one a line.")] = None,
    compact: Annotated[bool, typer.Option("--compact", help="Merge segments and drop deleted documents.")] = False,
    verify: Annotated[bool, typer.Option("--verify", help="Read all files back and compare their digests.")] = False,
    weights: Annotated[Literal["f32", "f16", "u8"], typer.Option(help="How weights are stored.")] = "f32",
    text: Annotated[bool, typer.Option(help="Store texts with the documents.")] = True,
    max_active_dims: Annotated[int | None, typer.Option(min=1, help="Keep only the heaviest terms.")] = None,
    dtype: Annotated[Literal["float32", "bfloat16"], typer.Option(help="Arithmetic of encoding.")] = "float32",
    stock_head: Annotated[
        bool, typer.Option("--stock-head", help="Use sentence-transformers' own vocabulary head.")
    ] = False,
    batch_size: Annotated[int, typer.Option(min=1, help="Texts per batch.")] = 32,
    lexical: _lexical.ModeOption = None,
    lexical_weight: _lexical.WeightOption = None,
    calibrate: _lexical.CalibrateOption = None,
    lexical_trim: _lexical.TrimOption = None,
    lexical_folder: _lexical.FolderOption = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the index that is there, and the encoder of --lexical.")
    ] = False,
    trust_remote_code: Annotated[
        bool, typer.Option("--trust-remote-code", help="Run code that comes with hub models.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print what was done as one JSON object.")] = False,
) -> None:
    """Build an index of MODEL's vectors of CORPUS; or change the one in the folder."""
    # Seismic's lists can be made for an index that is there.
    lists_alone = folder.startswith("seismic:") and model is None and corpus is None
    changing = add or update or compact or delete_ids is not None or lists_alone
    _check(model, corpus, add=add or update, changing=changing, verify=verify, overwrite=overwrite)
    added = _lexical.LexicalOptions.read(
        lexical, lexical_weight, calibrate, lexical_trim, lexical_folder=lexical_folder
    )
    if added is not None and (changing or corpus is None):
        raise InputError(
            f"--lexical {lexical} must come with a new index of MODEL and CORPUS; an index that is there names the "
            "encoder that made it: leave --lexical out"
        )
    source = told_format(corpus, format)
    started = time.perf_counter()
    check_names([model])
    with working("loading libraries", quiet=json):
        from isthmus.engines import build_engine, change_engine, is_engine_url

        if corpus is not None:
            quiet_libraries()
    if verify and is_engine_url(folder):
        raise InputError(f"--verify must come with a folder, got {folder}; isthmus parity compares it with one")
    show = False if json else None
    change = None
    if changing:
        change = change_engine(
            folder,
            model=model,
            corpus=source,
            update=update,
            delete=[] if delete_ids is None else [line.strip() for _, line in read_lines(delete_ids)],
            compact=compact,
            batch_size=batch_size,
            trust_remote_code=trust_remote_code,
            show_progress_bar=show,
        )
    elif corpus is not None:
        build = functools.partial(
            build_engine, folder, corpus=source, weights=weights, text=text, max_active_dims=max_active_dims,
            dtype=dtype, stock_head=stock_head, batch_size=batch_size, overwrite=overwrite,
            trust_remote_code=trust_remote_code, show_progress_bar=show,
        )  # fmt: skip
        place = None if added is None else _lexical.default_folder(folder, lexical_folder)
        if added is None or place is None or model is None:
            change = build(model=model)
        else:
            encoder = functools.partial(
                _lexical.new_encoder, added, model, corpus, place, overwrite=overwrite,
                trust_remote_code=trust_remote_code, quiet=json, batch_size=batch_size, dtype=dtype,
            )  # fmt: skip
            change = _build_with(encoder, place, folder, build)
    summary = _summary(folder, verify=verify)
    if summary["postings"] is None and change is not None:
        summary["postings"] = change.postings
    if added is not None and not json:
        console.print(f"encoder with {added.describe()}: {escape(str(place))}", soft_wrap=True)
    _show(folder, summary, change, time.perf_counter() - started, verified=verify, json=json)


def _build_with(
    new_encoder: Callable[[], AbstractContextManager[Path]], place: Path, folder: str, build: functools.partial[Change]
) -> Change:
    """Build an index by an encoder that is made for it and will lie in ``place``."""
    from isthmus.engines import is_engine_url
    from isthmus.index.build import check_free

    if is_engine_url(folder):
        # A server keeps what arrived before an interruption, and needs its encoder to go on.
        with new_encoder():
            pass
        return build(model=str(place))
    check_free(Path(folder), build.keywords["overwrite"])
    with new_encoder() as written:
        return build(model=_lexical.open_as(written, place, trust_remote_code=build.keywords["trust_remote_code"]))


def _summary(folder: str, *, verify: bool) -> dict[str, Any]:
    from isthmus.engines import open_engine
    from isthmus.index import SparseIndex

    if verify:
        return SparseIndex.open(folder, verify_files=True).summary()
    with closing(open_engine(folder)) as index:
        return index.summary()


def _show(
    folder: str, summary: dict[str, Any], change: Change | None, seconds: float, *, verified: bool, json: bool
) -> None:
    done = {} if change is None else {"added": change.added, "empty": change.empty, "removed": change.deleted}
    if json:
        print_json([{"folder": folder, **summary, **done, "seconds": seconds}])
        return
    counted = ("documents", "postings", "bytes", "segments")
    counts = [(name, summary[name]) for name in counted if summary.get(name) is not None]
    stated = ", ".join(f"{count:,} {name.removesuffix('s') if count == 1 else name}" for name, count in counts)
    console.print(f"{stated}; {seconds:.1f} s", soft_wrap=True)
    if done.get("empty"):
        console.print(f"{done['empty']:,} documents have no text or no active entry: no query finds them")
    if summary.get("weight_error"):
        console.print(f"stored weights are off by at most {summary['weight_error']:.2g}")
    if verified:
        console.print("all files are as they were written")
    console.print(f'try: isthmus search {escape(folder)} "..."', soft_wrap=True)


def _check(model: str | None, corpus: str | None, *, add: bool, changing: bool, verify: bool, overwrite: bool) -> None:
    if corpus is None and (model is not None or add):
        raise InputError("CORPUS must be given with MODEL, got none; name a file, an encoded folder, or -")
    if corpus is None and not changing and not verify:
        raise InputError("MODEL and CORPUS must be given, or --delete-ids, --compact or --verify; got none of them")
    if corpus is not None and changing and not add:
        raise InputError(f"CORPUS must come with --add or --update where an index is changed, got {corpus!r} alone")
    if changing and overwrite:
        raise InputError("--overwrite builds a new index; leave out --add, --update, --delete-ids and --compact")
