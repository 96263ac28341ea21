"""Which engine a URL means."""

from __future__ import annotations

from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from typing import Any, cast

from isthmus.engines.base import Backend, Engine, Location
from isthmus.errors import InputError, UnknownNameError
from isthmus.index.build import Change

# Scheme: module and the name in it. Modules are imported on use, because each has its own extra.
BACKENDS = {
    "": ("embedded", "EMBEDDED"),
    "seismic": ("seismic", "SEISMIC"),
    "opensearch": ("opensearch", "OPENSEARCH"),
    "elasticsearch": ("opensearch", "OPENSEARCH"),
    "milvus": ("milvus", "MILVUS"),
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


def open_engine(
    url: str | Path, *, model: Any = None, any_model: bool = False, trust_remote_code: bool = False
) -> Engine:
    """Open an index for searching, wherever it is.

    Args:
        url: A folder, or a URL of :mod:`isthmus.engines`.
        model: What encodes queries, as for :meth:`isthmus.index.SparseIndex.open`.
        any_model: Accept a model that did not make the index.
        trust_remote_code: Run code that comes with the model.

    Raises:
        NotFoundError: If there is no index.
        IndexFileError: If it is damaged, of a later version, or not one of Isthmus.
        EngineError: If a server does not answer.
        MissingExtraError: If the engine needs a package that is not installed.
    """
    location, backend = _find(url)
    return backend.open(location, model=model, any_model=any_model, trust_remote_code=trust_remote_code)


def build_engine(url: str | Path, model: Any, corpus: Any, **options: Any) -> Change:
    """Encode a corpus and make an index of it, wherever it is to be.

    Args:
        url: A folder, or a URL of :mod:`isthmus.engines`.
        model: As for :func:`isthmus.index.build_index`.
        corpus: As for :func:`isthmus.index.build_index`.
        options: As for :func:`isthmus.index.build_index`; servers store weights in their own way.

    Raises:
        OutputError: If something is there already.
        IsthmusError: As for :func:`isthmus.index.build_index` and :func:`open_engine`.
    """
    location, backend = _find(url)
    return backend.build(location, model, corpus, **options)


def change_engine(url: str | Path, **options: Any) -> Change:
    """Change an index, wherever it is.

    Args:
        url: A folder, or a URL of :mod:`isthmus.engines`.
        options: As for :func:`isthmus.index.change_index`.

    Raises:
        IsthmusError: As for :func:`isthmus.index.change_index` and :func:`open_engine`.
    """
    location, backend = _find(url)
    return backend.change(location, **options)


def _find(url: str | Path) -> tuple[Location, Backend]:
    location = Location(str(url), path=str(url)) if not is_engine_url(str(url)) else Location.parse(str(url))
    if location.tls and not location.host:
        raise InputError(f"{str(url)!r} must name a server to connect by TLS; leave out +https for a file or folder")
    module, name = BACKENDS[location.scheme]
    return location, cast(Backend, getattr(import_module(f"isthmus.engines.{module}"), name))
