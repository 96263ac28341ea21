"""Seismic (arXiv 2404.18812): approximate lists beside an index folder; fast, and not every best document is found.

``seismic:FOLDER`` is the index FOLDER with one more folder in it::

    idx/seismic/
      header.json               which state of the index the lists were made from, and how
      lists.index.seismic       what pyseismic-lsr wrote

Documents, metadata and explanations come from the index; only the search differs. Weights are rounded to 16 bits.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, vstack

from isthmus.engines.base import Location
from isthmus.engines.contents import read_vectors
from isthmus.errors import IndexFileError, InputError, MissingExtraError, NotFoundError, OutputError
from isthmus.index.build import Change, build_index, change_index
from isthmus.index.format import Stored, read_manifest, stored
from isthmus.index.header import check_version
from isthmus.index.options import ChangeOptions, IndexOptions, QueryOptions
from isthmus.index.sparse_index import SparseIndex
from isthmus.reading.shape import made
from isthmus.reading.storage import atomic_folder, read_json

FOLDER = "seismic"
# What the library puts behind the name it is given.
_SUFFIX = ".index.seismic"
HEADER, LISTS = "header.json", f"lists{_SUFFIX}"
FORMAT, VERSION = "isthmus-seismic", 2
# Its classes number dimensions by 16 bits, those for large vocabularies by 32.
_SMALL = 2**16


@dataclass(frozen=True)
class Knobs:
    """How lists are made and searched. The defaults were chosen on 200,000 documents of ``benchmarks search``.

    Attributes:
        n_postings: Average postings kept of each list.
        centroid_fraction: Clusters per posting.
        min_cluster_size: Smaller clusters are joined.
        summary_energy: Share of a cluster's weight that its summary keeps.
        query_cut: Terms of the query that choose the lists; scores count all terms.
        heap_factor: How much better than the worst hit a summary must be, the smaller the more careful.
    """

    n_postings: int = 250
    centroid_fraction: float = 0.03
    min_cluster_size: int = 4
    summary_energy: float = 0.3
    query_cut: int = 16
    heap_factor: float = 0.8


class SeismicEngine(SparseIndex):
    """An index folder that is searched through Seismic's lists.

    Attributes:
        knobs: How to search: ``query_cut`` and ``heap_factor``.
    """

    knobs: Knobs
    _lists: Any
    _token: Any

    def top(
        self, vector: csr_matrix, top_k: int = 10, *, filter: Mapping[str, Any] | None = None
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """As :meth:`isthmus.index.SparseIndex.top`, approximately.

        Raises:
            InputError: If a filter is given.
        """
        if filter:
            raise InputError(f"seismic cannot filter, got {dict(filter)}; search {self.folder} without seismic:")
        if top_k < 1:
            raise InputError(f"top_k must be 1 or more, got {top_k}")
        self._queries.check_columns(vector)
        if not vector.nnz:
            return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.float32)
        found = self._lists.search(
            "",
            vector.indices[: vector.nnz].astype(self._token),
            vector.data.astype(np.float32),
            top_k,
            query_cut=self.knobs.query_cut,
            heap_factor=self.knobs.heap_factor,
        )
        best = [(score, int(row)) for _, score, row in found if score > 0]
        rows = np.array([row for _, row in best], dtype=np.int64)
        return rows, np.array([score for score, _ in best], dtype=np.float32)

    def summary(self) -> dict[str, Any]:
        """As :meth:`isthmus.index.SparseIndex.summary`, the lists' bytes included."""
        summary = super().summary()
        return summary | {"bytes": summary["bytes"] + (self.folder / FOLDER / LISTS).stat().st_size}

    def close(self) -> None:
        """Nothing to give back."""


class SeismicBackend:
    """Folders with Seismic's lists."""

    def open(self, location: Location, options: QueryOptions) -> SeismicEngine:
        """Open an index and its lists.

        Raises:
            NotFoundError: If there are no lists.
            IndexFileError: If they were made from another state of the index.
        """
        library = _library()
        engine = cast(SeismicEngine, SeismicEngine.open(location.path, options))
        header = _header(engine)
        kind = library.SeismicIndex if engine.manifest.vocabulary_size <= _SMALL else library.SeismicIndexLV
        engine._lists = kind.load(str(engine.folder / FOLDER / LISTS))
        engine._token = library.get_seismic_string()
        engine.knobs = header.knobs
        return engine

    def build(self, location: Location, model: Any, corpus: Any, options: IndexOptions) -> Change:
        """Build the index, then the lists."""
        _library()
        _check_lists(Path(location.path))
        change = build_index(model, corpus, location.path, options)
        make_lists(Path(location.path))
        return change

    def change(self, location: Location, options: ChangeOptions, *, model: Any = None, corpus: Any = None) -> Change:
        """Change the index, if anything is to be changed, and make the lists anew: they cannot be changed."""
        _library()
        _check_lists(Path(location.path))
        if corpus is not None or options.delete or options.compact:
            change = change_index(location.path, options, model=model, corpus=corpus)
        else:
            change = Change(read_manifest(Path(location.path)), added=0, empty=0)
        make_lists(Path(location.path))
        return change


def make_lists(folder: str | Path, knobs: Knobs | None = None) -> None:
    """Make Seismic's lists for an index that is there; its vectors are held in memory once.

    Args:
        folder: The index.
        knobs: How; None takes the defaults.

    Raises:
        NotFoundError: If there is no index.
        InputError: If it is empty, or a weight is negative.
        MissingExtraError: If pyseismic-lsr is not installed.
        OutputError: If the folder cannot be written, or the one of the lists holds something else.
    """
    library = _library()
    folder, knobs = Path(folder), knobs or Knobs()
    _check_lists(folder)
    index = SparseIndex.open(folder)
    size = index.manifest.vocabulary_size
    ids: list[str] = []
    parts = [csr_matrix((0, size), dtype=np.float32)]
    for rows, vectors in read_vectors(index):
        filled = np.diff(vectors.indptr) > 0
        ids += rows[filled].astype(str).tolist()
        parts.append(vectors[filled])
    matrix = vstack(parts, format="csr")
    if not ids or matrix.data.min() < 0:
        raise InputError(f"seismic takes vectors with positive weights, got none or a negative one in {folder}")
    small = size <= _SMALL
    dataset = (library.SeismicDataset if small else library.SeismicDatasetLV)(dim=size)
    dataset.add_documents_by_id(ids, matrix.indices.astype(np.int64), matrix.data, matrix.indptr.astype(np.int64))
    building = {name: value for name, value in asdict(knobs).items() if name not in ("query_cut", "heap_factor")}
    kind = library.SeismicIndex if small else library.SeismicIndexLV
    with atomic_folder(folder / FOLDER, overwrite=True) as temporary:
        with _stdout_to_stderr():
            kind.build_from_dataset(dataset, **building).save(str(temporary / LISTS.removesuffix(_SUFFIX)))
        header = {"format": FORMAT, "version": VERSION, "state": _state(index), "knobs": asdict(knobs)}
        header["lists"] = asdict(stored(temporary / LISTS))
        (temporary / HEADER).write_text(json.dumps(header, indent=1) + "\n", encoding="utf-8")


def _check_lists(folder: Path) -> None:
    """Refuse to replace a folder of this name that holds anything else than lists."""
    place = folder / FOLDER
    if not place.exists():
        return
    others = sorted(path.name for path in place.iterdir() if path.name not in (HEADER, LISTS)) if place.is_dir() else []
    if others or not place.is_dir():
        raise OutputError(f"{place} must hold Seismic's lists alone, got {(others or ['a file'])[0]}; move it away")
    if (place / HEADER).exists() and not (place / LISTS).exists():
        check_version(read_json(place / HEADER), place / HEADER, FORMAT, VERSION)


@dataclass(frozen=True)
class _ListsHeader:
    """What lies beside the lists.

    Attributes:
        state: Digest of the manifest that they were made from.
        knobs: How they were made and are searched.
        lists: Their file.
    """

    state: str
    knobs: Knobs
    lists: Stored


def _header(engine: SeismicEngine) -> _ListsHeader:
    """The header of the lists, which must be those of this state of the index."""
    path = engine.folder / FOLDER / HEADER
    if not path.exists():
        raise NotFoundError(f"{engine.folder} has no lists of Seismic; make them with isthmus index -o {_url(engine)}")
    remedy = f"make it again with isthmus index -o {_url(engine)}"
    content = read_json(path)
    check_version(content, path, FORMAT, VERSION)
    try:
        header = made(_ListsHeader, {k: value for k, value in content.items() if k not in ("format", "version")})
    except ValueError as error:
        raise IndexFileError(f"{path} is damaged ({error}); {remedy}") from error
    lists = path.with_name(LISTS)
    # The library reads all of it, and stops the process where it is damaged.
    if header.state != _state(engine) or not lists.exists() or stored(lists) != header.lists:
        raise IndexFileError(f"{lists} must be made from the index as it is now, and is older or damaged; {remedy}")
    return header


def _url(engine: SparseIndex) -> str:
    return f"seismic:{engine.folder}"


def _state(index: SparseIndex) -> str:
    return hashlib.blake2b(index.manifest.to_bytes(), digest_size=16).hexdigest()


def _library() -> Any:
    try:
        import seismic
    except ImportError as error:
        raise MissingExtraError("seismic", "seismic") from error
    return seismic


@contextmanager
def _stdout_to_stderr() -> Iterator[None]:
    """The library prints its progress to the process's stdout, where scripts look for results."""
    sys.stdout.flush()
    kept = os.dup(1)
    try:
        os.dup2(2, 1)
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)


SEISMIC = SeismicBackend()
