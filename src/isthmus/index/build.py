"""From a model and a corpus to encoded parts or to an index folder."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scipy.sparse import csr_matrix

from isthmus.encoders.fingerprint import OpenEncoder, open_encoder
from isthmus.encoders.options import CorpusOptions
from isthmus.encoders.splitting import Splitter
from isthmus.encoders.truncation import count_truncated
from isthmus.errors import InputError
from isthmus.index.encoded_files import (
    Encode,
    Inline,
    encode_documents,
    read_encoding,
    read_parts,
    read_tokens,
    write_parts,
)
from isthmus.index.encoded_header import HEADER, EncodedHeader
from isthmus.index.folder import check_free
from isthmus.index.format import Manifest, read_manifest
from isthmus.index.header import VectorHeader
from isthmus.index.options import PART_SIZE, ChangeOptions, EncodeCorpusOptions, IndexOptions, QueryOptions, Shard
from isthmus.index.query_encoder import QueryEncoder
from isthmus.index.workers import Recipe, document_encode, workers
from isthmus.index.writer import IndexWriter
from isthmus.reading.corpus import Corpus, Document, in_windows
from isthmus.reading.corpus_bar import corpus_bar

Windows = Iterable[tuple[list[Document], csr_matrix]]
Wanted = Callable[[list[Document]], list[Document]]


@dataclass(frozen=True)
class Change:
    """A change that was made to an index.

    Attributes:
        manifest: Its new state; None for one that is no folder.
        added: Documents added or updated.
        empty: Those among them that no query finds, because they have no text or no active entry.
        deleted: Documents deleted, updated ones not counted.
        postings: Active entries of the documents added; None for a folder, whose manifest counts.
        unchanged: Documents, or passages, that were there already as the corpus has them, and were left alone.
        truncated: Texts of those added that lost their end at the encoder's limit.
        told: Where an alias was moved: ``alias``, ``index``, ``previous`` and ``dropped``, a list.
    """

    manifest: Manifest | None
    added: int
    empty: int
    deleted: int = 0
    postings: int | None = None
    unchanged: int = 0
    truncated: int = 0
    told: Mapping[str, Any] = field(default_factory=dict)


def encode_corpus(
    model: Any, corpus: Any, folder: str | Path, options: EncodeCorpusOptions | None = None, **changes: Any
) -> EncodedHeader:
    """Encode a corpus into part files; run again after an interruption, it goes on where it was.

    Args:
        model: Built-in name, folder or hub id; or a loaded SparseEncoder, with one process.
        corpus: As for :class:`isthmus.reading.corpus.Corpus`; it may be larger than memory.
        folder: Where the parts go.
        options: How; None takes the defaults.
        **changes: Fields of ``options`` to replace.

    Returns:
        What the folder says of itself, with counts.

    Raises:
        NotFoundError: If model or corpus are not there.
        CollectionError: If the corpus is malformed; names the line.
        EncoderError: If the model is not sparse.
        InputError: If an argument is out of range, or ``folder`` was begun with something else.
        OutputError: If another process writes there, or the disk is full.

    Example:
        >>> encode_corpus("isthmus/mini-splade-en", "corpus.jsonl", "encoded", processes=4)  # doctest: +SKIP
    """
    options = EncodeCorpusOptions.of(options, **changes)
    several = options.processes > 1 or options.ray
    if several and not isinstance(model, (str, Path)):
        raise InputError(
            f"processes={options.processes} must come with a model's name or folder, got {type(model).__name__}"
        )
    source = Corpus(corpus)
    opened = open_encoder(model, options)
    size, settings = opened.vocabulary_size, options.part(CorpusOptions).to_dict()
    header = EncodedHeader(opened.identity, size, options.weights, options.part_size, settings)
    makers: Any
    if several:
        recipe = Recipe(str(model), size, options.part(CorpusOptions))
        makers = workers(recipe, options.processes, ray=options.ray)
    else:
        makers = nullcontext(Inline(document_encode(opened.encoder, options), size))
    with makers as maker, corpus_bar(source, "Encoding", options.show_progress_bar) as step:
        documents = _split(source, opened, options)
        shard = None if options.shard is None else Shard.parse(options.shard)
        return write_parts(documents, Path(folder), header, maker, tokens=opened.tokens(), on_part=step, shard=shard)


def build_index(
    model: Any, corpus: Any, folder: str | Path, options: IndexOptions | None = None, **changes: Any
) -> Change:
    """Build an index folder; readers of one that is replaced keep what they have.

    Args:
        model: As for :func:`encode_corpus`, or an :class:`isthmus.encoders.fingerprint.OpenEncoder`.
        corpus: As for :class:`isthmus.reading.corpus.Corpus`, or a folder that :func:`encode_corpus` finished.
        folder: Where the index goes.
        options: How; None takes the defaults.
        **changes: Fields of ``options`` to replace.

    Raises:
        NotFoundError: If model or corpus are not there.
        CollectionError: If the corpus is malformed; names the line.
        EncoderError: If the model is not sparse.
        InputError: If an argument is out of range, or the parts come from another model.
        OutputError: If ``folder`` is taken, another process writes there or wrote since this began, or the disk is
            full.

    Example:
        >>> build_index("isthmus/mini-splade-en", {"a": "the house", "b": "war"}, "idx")  # doctest: +SKIP
    """
    options = IndexOptions.of(options, **changes)
    options.check_undivided(folder)
    folder = Path(folder)
    replaces = check_free(folder, options.overwrite)
    found = encoded_windows(model, corpus, options)
    tokens = read_tokens(Path(corpus)) if _is_encoded(corpus) else found.encoder.tokens()
    size, identity = found.encoder.vocabulary_size, found.encoder.identity
    new = Manifest(0, size, options.weights, options.text, identity, found.settings)
    with IndexWriter(folder, new=new, replaces=replaces, tokens=tokens, limits=options.limits) as writer:
        with count_truncated() as counted:
            for documents, vectors in found.windows:
                writer.add(documents, vectors, error=found.error)
        truncated = found.truncated + counted["document"]
        return Change(writer.commit(), added=writer.added, empty=writer.empty, truncated=truncated)


def change_index(
    folder: str | Path, options: ChangeOptions | None = None, *, model: Any = None, corpus: Any = None, **changes: Any
) -> Change:
    """Delete from an index, add to it and compact it, in this order and in one commit.

    Args:
        folder: The index.
        options: What to do; None takes the defaults.
        model: What encodes ``corpus``, as for :func:`build_index`; None takes the model that the index names.
        corpus: Documents to add, as for :func:`build_index`.
        **changes: Fields of ``options`` to replace.

    Raises:
        NotFoundError: If there is no index.
        InputError: If the model is not the one of the index, or an id is there already or is not there.
        OutputError: If another process writes there or built it anew since this began, or the disk is full; the index
            is as it was.

    Example:
        >>> change_index("idx", corpus={"c": "peace"}, delete=["b"])  # doctest: +SKIP
    """
    options = ChangeOptions.of(options, **changes)
    folder = Path(folder)
    manifest = read_manifest(folder)
    windows: Windows = ()
    error, truncated = 0.0, 0
    if corpus is not None:
        found = added_windows(manifest, f"the index {folder}", model, corpus, options)
        windows, error, truncated = found.windows, found.error, found.truncated
    with IndexWriter(folder, onto=manifest, limits=options.limits) as writer, count_truncated() as counted:
        deleted = writer.delete(options.delete)
        for documents, vectors in windows:
            writer.add(documents, vectors, update=options.update, error=error)
        manifest = writer.commit(compact=options.compact)
        truncated += counted["document"]
        return Change(manifest, added=writer.added, empty=writer.empty, deleted=deleted, truncated=truncated)


@dataclass(frozen=True)
class EncodedWindows:
    """Documents with their vectors, as they come.

    Attributes:
        encoder: What makes, or made, the vectors.
        windows: The documents and vectors; to be read once.
        settings: How they are encoded.
        error: How far their weights are off already.
        truncated: Texts that lost their end when they were encoded before.
    """

    encoder: OpenEncoder
    windows: Windows
    settings: Mapping[str, Any]
    error: float = 0.0
    truncated: int = 0


def encoded_windows(model: Any, corpus: Any, options: CorpusOptions, wanted: Wanted | None = None) -> EncodedWindows:
    """Open an encoder and let it encode a corpus, or read one that it encoded before.

    Args:
        model: As for :func:`build_index`.
        corpus: As for :func:`build_index`.
        options: How.
        wanted: Says which documents of a window to encode; of a corpus that is encoded already, all are taken.

    Raises:
        InputError: If documents are to be split that are encoded whole.
    """
    header = read_encoding(Path(corpus)) if _is_encoded(corpus) else None
    source = Corpus(corpus if header is None else ())
    opened = open_encoder(model, options)
    if header is not None:
        header.identity.check(opened.identity, f"the vectors in {corpus}")
        if options.split_texts and not header.split:
            raise InputError(f"{corpus} must be encoded with --split to be split; run isthmus encode --split anew")
        error, truncated = ((header.complete or {}).get(name, 0) for name in ("error", "truncated"))
        return EncodedWindows(opened, read_parts(Path(corpus)), header.settings, error, truncated)
    encode = document_encode(opened.encoder, options)
    documents = _split(source, opened, options)
    windows = _encoded(source, documents, encode, opened.vocabulary_size, options.show_progress_bar, wanted)
    return EncodedWindows(opened, windows, options.part(CorpusOptions).to_dict())


def added_windows(
    header: VectorHeader, where: str, model: Any, corpus: Any, options: CorpusOptions, wanted: Wanted | None = None
) -> EncodedWindows:
    """Documents for an index that is there, encoded by its encoder as its own are.

    Args:
        header: What is kept beside its vectors.
        where: Names it in errors.
        model: As for :func:`change_index`.
        corpus: As for :func:`build_index`.
        options: How encoders are opened, and the batch size; the rest is up to the index.
        wanted: As for :func:`encoded_windows`.

    Raises:
        InputError: If the index has whole documents and passages are to be added, or the other way round.
    """
    asked = QueryOptions(options.trust_remote_code, model)
    opened = QueryEncoder(header, where, asked).open()
    found = encoded_windows(opened, corpus, CorpusOptions.of(options, **header.settings), wanted)
    if (options.split_texts or bool(found.settings.get("split_texts"))) != header.split:
        holds, given = ("passages", "documents") if header.split else ("whole documents", "passages")
        raise InputError(
            f"{where} holds {holds}, got {given} (--split); leave --split out, encode the corpus as the index was "
            "made, or build the index anew"
        )
    return found


def _split(source: Corpus, opened: OpenEncoder, options: CorpusOptions) -> Iterable[Document]:
    return Splitter(opened.encoder, options)(source) if options.split_texts else source


def _encoded(
    source: Corpus,
    split: Iterable[Document],
    encode: Encode,
    vocabulary_size: int,
    show: bool | None,
    wanted: Wanted | None,
) -> Windows:
    with corpus_bar(source, "Indexing", show) as step:
        for documents in in_windows(split, PART_SIZE):
            taken = documents if wanted is None else wanted(documents)
            if taken:
                yield taken, encode_documents(taken, encode, vocabulary_size)
            step(len(documents), True)


def _is_encoded(corpus: Any) -> bool:
    return isinstance(corpus, (str, Path)) and (Path(corpus) / HEADER).is_file()
