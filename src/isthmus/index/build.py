"""From a model and a corpus to encoded parts or to an index folder."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from scipy.sparse import csr_matrix

from isthmus.encoders.fingerprint import OpenEncoder, open_encoder
from isthmus.errors import InputError, OutputError
from isthmus.index.encoded_files import (
    HEADER,
    Encode,
    Encoding,
    encode_documents,
    read_encoding,
    read_parts,
    read_tokens,
)
from isthmus.index.format import (
    LOCK,
    MANIFEST,
    SEGMENT_NAME,
    SEGMENTS,
    Manifest,
    is_index,
    is_leftover,
    read_manifest,
)
from isthmus.index.quantize import Weights, check_weights
from isthmus.index.segments import Limits
from isthmus.index.shards import Inline, write_parts
from isthmus.index.workers import Recipe, document_encode, workers
from isthmus.index.writer import IndexWriter
from isthmus.reading.corpus import Corpus, Document, in_windows
from isthmus.reading.corpus_bar import corpus_bar

PART_SIZE = 1024
Windows = Iterable[tuple[list[Document], csr_matrix]]


@dataclass(frozen=True)
class Change:
    """What was done to an index.

    Attributes:
        manifest: Its new state; None for one that is no folder.
        added: Documents added or updated.
        empty: Those among them that no query finds, because they have no text or no active entry.
        deleted: Documents deleted, updated ones not counted.
        postings: Active entries of the documents added; None for a folder, whose manifest counts.
    """

    manifest: Manifest | None
    added: int
    empty: int
    deleted: int = 0
    postings: int | None = None


def encode_corpus(
    model: Any,
    corpus: Any,
    folder: str | Path,
    *,
    weights: Weights = "f32",
    max_active_dims: int | None = None,
    dtype: Literal["float32", "bfloat16"] = "float32",
    stock_head: bool = False,
    batch_size: int = 32,
    part_size: int = PART_SIZE,
    processes: int = 1,
    ray: bool = False,
    trust_remote_code: bool = False,
    show_progress_bar: bool | None = None,
) -> Encoding:
    """Encode a corpus into part files; run again after an interruption, it goes on where it was.

    Args:
        model: Built-in name, folder or hub id; or a loaded SparseEncoder, with one process.
        corpus: As for :class:`isthmus.reading.corpus.Corpus`; it may be larger than memory.
        folder: Where the parts go.
        weights: How to store weights: ``f32``, ``f16`` or ``u8``, the latter with one scale per part.
        max_active_dims: As for :func:`isthmus.encoders.encoding.encode_texts`.
        dtype: As for :func:`isthmus.encoders.encoding.encode_texts`.
        stock_head: As for :func:`isthmus.encoders.encoding.encode_texts`.
        batch_size: Texts per step.
        part_size: Documents per part; within a part, texts are sorted by length while they are encoded.
        processes: Workers.
        ray: Workers are Ray actors; needs the extra ``ray``.
        trust_remote_code: Run code that comes with the model.
        show_progress_bar: None shows it on a terminal.

    Returns:
        The settings, with counts.

    Raises:
        NotFoundError: If model or corpus are not there.
        CollectionError: If the corpus is malformed; names the line.
        EncoderError: If the model is not sparse.
        InputError: If an argument is out of range, or ``folder`` was begun with something else.
        OutputError: If another process writes there, or the disk is full.
    """
    _check(weights, batch_size=batch_size, part_size=part_size, processes=processes, max_active_dims=max_active_dims)
    several = processes > 1 or ray
    if several and not isinstance(model, (str, Path)):
        raise InputError(f"processes={processes} must come with a model's name or folder, got {type(model).__name__}")
    source = Corpus(corpus)
    opened = open_encoder(model, trust_remote_code=trust_remote_code)
    settings = {"max_active_dims": max_active_dims, "dtype": dtype, "stock_head": stock_head}
    options = settings | {"batch_size": batch_size}
    encoding = Encoding(opened.identity, opened.vocabulary_size, weights, part_size, settings)
    pool: Any
    if several:
        pool = workers(Recipe(str(model), opened.vocabulary_size, options, trust_remote_code), processes, ray=ray)
    else:
        pool = nullcontext(Inline(document_encode(opened.encoder, options), opened.vocabulary_size))
    with pool as hands, corpus_bar(source, "Encoding", show_progress_bar) as step:
        return write_parts(source, Path(folder), encoding, hands, tokens=opened.tokens(), on_part=step)


def build_index(
    model: Any,
    corpus: Any,
    folder: str | Path,
    *,
    weights: Weights = "f32",
    text: bool = True,
    max_active_dims: int | None = None,
    dtype: Literal["float32", "bfloat16"] = "float32",
    stock_head: bool = False,
    batch_size: int = 32,
    overwrite: bool = False,
    trust_remote_code: bool = False,
    show_progress_bar: bool | None = None,
    limits: Limits | None = None,
) -> Change:
    """Build an index folder; readers of one that is replaced keep what they have.

    Args:
        model: As for :func:`encode_corpus`, or an :class:`OpenEncoder`.
        corpus: As for :class:`isthmus.reading.corpus.Corpus`, or a folder that :func:`encode_corpus` finished.
        folder: Where the index goes.
        weights: How to store weights: ``f32``, ``f16`` or ``u8``, the latter with one scale per segment.
        text: Store title and text with the documents.
        max_active_dims: As for :func:`encode_corpus`; for an encoded folder the options of encoding must be left alone.
        dtype: As for :func:`encode_corpus`.
        stock_head: As for :func:`encode_corpus`.
        batch_size: As for :func:`encode_corpus`.
        overwrite: Replace an index that is there.
        trust_remote_code: As for :func:`encode_corpus`.
        show_progress_bar: As for :func:`encode_corpus`.
        limits: Of memory; None takes the defaults.

    Raises:
        NotFoundError: If model or corpus are not there.
        CollectionError: If the corpus is malformed; names the line.
        EncoderError: If the model is not sparse.
        InputError: If an argument is out of range, or the parts come from another model.
        OutputError: If ``folder`` is taken, another process writes there, or the disk is full.
    """
    _check(weights, batch_size=batch_size, max_active_dims=max_active_dims)
    folder = Path(folder)
    check_free(folder, overwrite)
    options = {
        "max_active_dims": max_active_dims, "dtype": dtype, "stock_head": stock_head, "batch_size": batch_size,
    }  # fmt: skip
    opened, windows, settings, error = encoded_windows(model, corpus, options, trust_remote_code, show_progress_bar)
    tokens = read_tokens(Path(corpus)) if _is_encoded(corpus) else opened.tokens()
    new = Manifest(0, opened.vocabulary_size, weights, text, opened.identity, settings)
    with IndexWriter(folder, new=new, tokens=tokens, limits=limits) as writer:
        for documents, vectors in windows:
            writer.add(documents, vectors, error=error)
        return Change(writer.commit(), added=writer.added, empty=writer.empty)


def change_index(
    folder: str | Path,
    *,
    model: Any = None,
    corpus: Any = None,
    update: bool = False,
    delete: Sequence[str] = (),
    compact: bool = False,
    batch_size: int = 32,
    trust_remote_code: bool = False,
    show_progress_bar: bool | None = None,
    limits: Limits | None = None,
) -> Change:
    """Delete from an index, add to it and compact it, in this order and in one commit.

    Args:
        folder: The index.
        model: What encodes ``corpus``, as for :func:`build_index`; None takes the model that the index names. Options
            of encoding are those of the index.
        corpus: Documents to add, as for :func:`build_index`.
        update: Let them replace documents with the same ids.
        delete: Ids to delete.
        compact: Merge everything into one segment.
        batch_size: As for :func:`encode_corpus`.
        trust_remote_code: As for :func:`encode_corpus`.
        show_progress_bar: As for :func:`encode_corpus`.
        limits: As for :func:`build_index`.

    Raises:
        NotFoundError: If there is no index.
        InputError: If the model is not the one of the index, or an id is there already or is not there.
        OutputError: If another process writes there, or the disk is full; the index is as it was.
    """
    folder = Path(folder)
    manifest = read_manifest(folder)
    windows: Windows = ()
    error = 0.0
    if corpus is not None:
        model = manifest.identity.name if model is None and manifest.identity is not None else model
        if model is None:
            raise InputError(f"the index {folder} names no model; pass the one that made it")
        options = {**manifest.settings, "batch_size": batch_size}
        opened, windows, _, error = encoded_windows(model, corpus, options, trust_remote_code, show_progress_bar)
        if manifest.identity is not None:
            manifest.identity.check(opened.identity, f"the index {folder}")
    with IndexWriter(folder, limits=limits) as writer:
        deleted = writer.delete(delete)
        for documents, vectors in windows:
            writer.add(documents, vectors, update=update, error=error)
        manifest = writer.commit(compact=compact)
        return Change(manifest, added=writer.added, empty=writer.empty, deleted=deleted)


def encoded_windows(
    model: Any, corpus: Any, options: dict[str, Any], trust_remote_code: bool, show_progress_bar: bool | None
) -> tuple[OpenEncoder, Windows, dict[str, Any], float]:
    """Open the encoder, and give documents with their vectors as they come.

    Args:
        model: As for :func:`build_index`.
        corpus: As for :func:`build_index`.
        options: Options of encoding, and the batch size.
        trust_remote_code: As for :func:`build_index`.
        show_progress_bar: As for :func:`build_index`.

    Returns:
        The encoder, the windows, how they are encoded, and how far their weights are off already.

    Raises:
        IsthmusError: As for :func:`build_index`.
    """
    encoding = read_encoding(Path(corpus)) if _is_encoded(corpus) else None
    source = Corpus(corpus if encoding is None else ())
    opened = model if isinstance(model, OpenEncoder) else open_encoder(model, trust_remote_code=trust_remote_code)
    if encoding is not None:
        encoding.identity.check(opened.identity, f"the vectors in {corpus}")
        error = (encoding.complete or {}).get("error", 0.0)
        return opened, read_parts(Path(corpus)), encoding.settings, error
    settings = {key: value for key, value in options.items() if key != "batch_size"}
    encode = document_encode(opened.encoder, options)
    return opened, _encoded(source, encode, opened.vocabulary_size, show_progress_bar), settings, 0.0


def _encoded(source: Corpus, encode: Encode, vocabulary_size: int, show: bool | None) -> Windows:
    with corpus_bar(source, "Indexing", show) as step:
        for documents in in_windows(source, PART_SIZE):
            yield documents, encode_documents(documents, encode, vocabulary_size)
            step(len(documents), True)


def _is_encoded(corpus: Any) -> bool:
    return isinstance(corpus, (str, Path)) and (Path(corpus) / HEADER).is_file()


def _check(weights: str, **positive: int | None) -> None:
    check_weights(weights)
    for name, value in positive.items():
        if value is not None and value < 1:
            raise InputError(f"{name} must be 1 or more, got {value}")


def check_free(folder: Path, overwrite: bool) -> None:
    """Refuse a folder that holds something else, before long work.

    Raises:
        OutputError: If it does, or holds an index and ``overwrite`` is off.
    """
    if (folder / MANIFEST).exists():
        if not overwrite:
            raise OutputError(f"{folder} already exists; choose another folder, or pass --overwrite, --add or --update")
        if not is_index(folder):
            raise OutputError(f"{folder} must be empty or an index, got another {MANIFEST}; choose another folder")
    elif folder.exists():
        others = _others(folder) if folder.is_dir() else [folder]
        if others:
            raise OutputError(f"{folder} must be empty or an index, got {others[0].name}; choose another folder")


def _others(folder: Path) -> list[Path]:
    """What lies in a folder beside that which an interrupted build left, and its successor will remove."""
    found = list(folder.iterdir())
    if not (folder / LOCK).exists():
        return found
    within = (folder / SEGMENTS).iterdir() if (folder / SEGMENTS).is_dir() else ()
    outside = [path for path in found if path.name not in (LOCK, SEGMENTS) and not is_leftover(path)]
    return outside + [path for path in within if not SEGMENT_NAME.fullmatch(path.name)]
