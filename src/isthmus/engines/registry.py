"""Opening, building and changing an index by its URL, wherever it is."""

from __future__ import annotations

from contextlib import nullcontext
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from isthmus.engines.base import Backend, Engine, Location
from isthmus.errors import InputError, UnknownNameError
from isthmus.index.build import Change
from isthmus.index.folder import check_free
from isthmus.index.options import ChangeOptions, IndexOptions, QueryOptions
from isthmus.lexical.options import LexicalOptions

if TYPE_CHECKING:
    from isthmus.lexical.new_encoder import Step

# Scheme: module and the name in it. Modules are imported on use, because each has its own extra.
BACKENDS = {
    "": ("embedded", "EMBEDDED"),
    "seismic": ("seismic", "SEISMIC"),
    "opensearch": ("aliases", "OPENSEARCH"),
    "elasticsearch": ("aliases", "OPENSEARCH"),
    "milvus": ("milvus", "MILVUS"),
    "qdrant": ("qdrant", "QDRANT"),
    "postgresql": ("postgresql", "POSTGRESQL"),
}


def is_engine_url(text: str) -> bool:
    """Whether a text names another engine than a folder.

    Raises:
        InputError: If it is the URL of a file.
        UnknownNameError: If it looks like the URL of an engine that nobody knows.
    """
    if text.lower().startswith("file:"):
        raise InputError(f"an index on this machine must be named by its folder, got {text!r}; leave out 'file:'")
    scheme = Location.parse(text).scheme
    if not scheme or scheme in BACKENDS:
        return bool(scheme)
    engines = [name for name in BACKENDS if name]
    # A folder may have a colon in its name.
    if "://" in text or (get_close_matches(scheme, engines) and not Path(text).exists()):
        raise UnknownNameError("engine", scheme, engines)
    return False


def open_engine(url: str | Path, options: QueryOptions | None = None, **changes: Any) -> Engine:
    """Open an index for searching, wherever it is.

    Args:
        url: A folder, or a URL of :mod:`isthmus.engines`.
        options: What encodes the queries; None takes the model that the index names.
        **changes: Fields of ``options`` to replace.

    Raises:
        NotFoundError: If there is no index.
        IndexFileError: If it is damaged, of a later version, or not one of Isthmus.
        EngineError: If a server does not answer.
        MissingExtraError: If the engine needs a package that is not installed.

    Example:
        >>> with closing(open_engine("opensearch://localhost:9200/docs")) as engine:  # doctest: +SKIP
        ...     hits = engine.search("the capital", top_k=3)
    """
    options = QueryOptions.of(options, **changes)
    location, backend = _find(url)
    return backend.open(location, options)


def build_engine(
    url: str | Path, model: Any, corpus: Any, options: IndexOptions | None = None, **changes: Any
) -> Change:
    """Encode a corpus and make an index of it, wherever it is to be.

    Args:
        url: A folder, or a URL of :mod:`isthmus.engines`.
        model: As for :func:`isthmus.index.build_index`.
        corpus: As for :func:`isthmus.index.build_index`.
        options: How; None takes the defaults. Servers store weights in their own way.
        **changes: Fields of ``options`` to replace.

    Raises:
        OutputError: If something is there already.
        IsthmusError: As for :func:`isthmus.index.build_index` and :func:`open_engine`.

    Example:
        >>> build_engine("seismic:idx", "isthmus/mini-splade-en", "corpus.jsonl")  # doctest: +SKIP
    """
    options = IndexOptions.of(options, **changes)
    location, backend = _find(url)
    return backend.build(location, model, corpus, options)


def build_lexical_engine(
    url: str,
    model: str,
    corpus: Any,
    folder: Path,
    lexical: LexicalOptions,
    options: IndexOptions | None = None,
    *,
    step: Step = nullcontext,
) -> Change:
    """Fit a lexical part to a corpus and make an index of it by the encoder that has the part.

    Args:
        url: A folder, or a URL of :mod:`isthmus.engines`.
        model: Built-in name, folder or hub id.
        corpus: As for :class:`isthmus.reading.corpus.Corpus`, a file, which is read twice.
        folder: Where the encoder goes. With an index in a folder it is there when the index is; a server keeps what
            arrived before an interruption, and needs its encoder to go on.
        lexical: What to add to the encoder.
        options: As for :func:`build_engine`.
        step: Shows what is being done.

    Raises:
        IsthmusError: As for :func:`build_engine` and :func:`isthmus.lexical.new_encoder.new_encoder`.
    """
    # Opening an index needs none of what this loads.
    from isthmus.lexical.new_encoder import new_encoder, open_as

    options = IndexOptions.of(options)
    made = new_encoder(model, corpus, folder, lexical, options, overwrite=options.overwrite, step=step)
    if is_engine_url(url):
        with made:
            pass
        return build_engine(url, str(folder), corpus, options)
    check_free(Path(url), options.overwrite)
    with made as written:
        return build_engine(url, open_as(written, folder, options), corpus, options)


def change_engine(
    url: str | Path, options: ChangeOptions | None = None, *, model: Any = None, corpus: Any = None, **changes: Any
) -> Change:
    """Change an index, wherever it is.

    Args:
        url: A folder, or a URL of :mod:`isthmus.engines`.
        options: What to do; None takes the defaults.
        model: As for :func:`isthmus.index.change_index`.
        corpus: As for :func:`isthmus.index.change_index`.
        **changes: Fields of ``options`` to replace.

    Raises:
        IsthmusError: As for :func:`isthmus.index.change_index` and :func:`open_engine`.
    """
    options = ChangeOptions.of(options, **changes)
    location, backend = _find(url)
    return backend.change(location, options, model=model, corpus=corpus)


def _find(url: str | Path) -> tuple[Location, Backend]:
    location = Location(str(url), path=str(url)) if not is_engine_url(str(url)) else Location.parse(str(url))
    if location.tls and not location.host:
        raise InputError(f"{str(url)!r} must name a server to connect by TLS; leave out +https for a file or folder")
    module, name = BACKENDS[location.scheme]
    return location, cast(Backend, getattr(import_module(f"isthmus.engines.{module}"), name))
