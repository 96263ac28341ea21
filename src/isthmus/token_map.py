"""TokenMap: which source tokens, with which weights, make each target token.

A map is computed once, can be saved, read and explained, and is applied to everything that has a vocabulary
dimension. A row is exactly one of *copied* or *bridged* (a sparse mixture of source rows), *background* (one shared
dense mixture) or *sampled* (drawn from a seeded distribution fitted to the source rows).
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save
from scipy.sparse import csr_matrix

from isthmus._lookup import find_token
from isthmus.errors import InputError, NotFoundError, TokenMapError
from isthmus.reading.storage import atomic_write_all, read_json

FORMAT_VERSION = 1
RECORD, TENSORS = FILES = ("token_map.json", "token_map.safetensors")
Distribution = Literal["normal", "gaussian", "multivariate-gaussian"]


class Fate(str, Enum):
    """Where a target row came from; ``kept`` is a source token that stays, the other copies are new tokens."""

    EXACT = "exact"
    FUZZY = "fuzzy"
    SYMBOL = "symbol"
    SPECIAL = "special"
    BYTE = "byte"
    BRIDGED = "bridged"
    BACKGROUND = "background"
    SAMPLED = "sampled"
    KEPT = "kept"


# Saved maps hold places in this order: new fates go to the end.
FATES = tuple(Fate)
COPIES = frozenset((Fate.EXACT, Fate.FUZZY, Fate.SYMBOL, Fate.SPECIAL, Fate.BYTE, Fate.KEPT))


@dataclass(frozen=True)
class Sampling:
    """The distribution of the sampled rows.

    Attributes:
        distribution: ``normal`` is N(0, ``std``²); ``gaussian`` and ``multivariate-gaussian`` take mean and (diagonal,
            full) covariance from the rows of the array the map is applied to.
        seed: Seed of the draw.
        std: Standard deviation of ``normal``.
    """

    distribution: Distribution
    seed: int = 0
    std: float = 0.02

    def __post_init__(self) -> None:
        if self.distribution not in get_args(Distribution):
            raise InputError(
                f"distribution must be one of {', '.join(get_args(Distribution))}, got {self.distribution!r}"
            )
        if not (np.isfinite(self.std) and self.std > 0):
            raise InputError(f"std must be finite and above 0, got {self.std}")
        if self.seed < 0:
            raise InputError(f"seed must be 0 or more, got {self.seed}")

    def draw(self, count: int, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """Draw ``count`` rows like ``rows`` (source rows, dim); returns an array of shape (count, dim)."""
        generator = np.random.default_rng(self.seed)
        noise = generator.standard_normal((count, rows.shape[1]))
        if self.distribution == "normal":
            return noise * self.std
        mean = rows.mean(axis=0)
        if self.distribution == "gaussian":
            return np.asarray(mean + noise * rows.std(axis=0))
        values, vectors = np.linalg.eigh(np.atleast_2d(np.cov(rows, rowvar=False)))
        return np.asarray(mean + (noise * np.sqrt(np.clip(values, 0.0, None))) @ vectors.T)


@dataclass(frozen=True, eq=False)
class TokenMap:
    """A sparse (target vocabulary x source vocabulary) matrix with the provenance of every row.

    Attributes:
        weights: Weights of copied and bridged rows, shape (target, source); background and sampled rows are empty.
        fates: Index into ``FATES`` of every row, shape (target,), uint8.
        source_tokens: Raw source tokens by id ("" where an id is a hole), length source.
        target_tokens: Raw target tokens by id, length target.
        background: Shared mixture of the background rows, shape (source,), or None where there are none.
        sampling: Distribution of the sampled rows, or None where there are none.
        info: What made the map: method, options, bridge; JSON values only.
    """

    weights: csr_matrix
    fates: NDArray[np.uint8]
    source_tokens: Sequence[str]
    target_tokens: Sequence[str]
    background: NDArray[np.float64] | None = None
    sampling: Sampling | None = None
    info: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        target, source = self.weights.shape
        if (len(self.target_tokens), len(self.source_tokens)) != (target, source) or self.fates.shape != (target,):
            raise TokenMapError(
                f"weights must have one row per target token and one column per source token, got {target} x {source} "
                f"for {len(self.target_tokens)} x {len(self.source_tokens)} tokens and {len(self.fates)} fates"
            )
        if self.fates.dtype != np.uint8 or self.fates.max(initial=0) >= len(FATES):
            raise TokenMapError(
                f"fates must be uint8 below {len(FATES)}, got {self.fates.dtype} up to {self.fates.max(initial=0)}"
            )
        if not np.isfinite(self.weights.data).all():
            raise TokenMapError("weights must be finite, got NaN or infinity; check the bridge vectors")
        filled = np.diff(self.weights.indptr) > 0
        mixed = np.isin(self.fates, [FATES.index(fate) for fate in (*COPIES, Fate.BRIDGED)])
        if not np.array_equal(filled, mixed):
            bad = int(np.flatnonzero(filled != mixed)[0])
            raise TokenMapError(
                f"row {bad} must hold weights exactly when its fate is a copy or bridged, got {self.fate(bad)}"
            )
        if self.background is None and self.has(Fate.BACKGROUND):
            raise TokenMapError("background must be given when rows have the fate background, got None")
        if self.background is not None and (
            self.background.shape != (source,) or not np.isfinite(self.background).all()
        ):
            raise TokenMapError(f"background must be {source} finite weights, got shape {self.background.shape}")
        if self.sampling is None and self.has(Fate.SAMPLED):
            raise TokenMapError("sampling must be given when rows have the fate sampled, got None")

    @property
    def shape(self) -> tuple[int, int]:
        """(target vocabulary, source vocabulary)."""
        return int(self.weights.shape[0]), int(self.weights.shape[1])

    def fate(self, row: int) -> Fate:
        """Fate of target id ``row``."""
        return FATES[int(self.fates[row])]

    def rows(self, *fates: Fate) -> NDArray[np.int64]:
        """Target ids whose fate is one of ``fates``, ascending."""
        return np.flatnonzero(np.isin(self.fates, [FATES.index(fate) for fate in fates]))

    @property
    def parted(self) -> NDArray[np.bool_]:
        """Rows with a direction of their own beside their mixture (``info["own_direction"]``), shape (target,)."""
        bridged: NDArray[np.bool_] = self.fates == FATES.index(Fate.BRIDGED)
        return bridged & bool(self.info.get("own_direction"))

    def has(self, fate: Fate) -> bool:
        """Whether any row has ``fate``."""
        return bool((self.fates == FATES.index(fate)).any())

    def counts(self) -> dict[str, int]:
        """Number of rows of each fate, in the order of ``FATES``."""
        return {fate.value: int((self.fates == index).sum()) for index, fate in enumerate(FATES)}

    def apply(self, array: NDArray[Any], *, block: int = 4096) -> NDArray[Any]:
        """Build the target array: ``W @ array``, background and sampled rows filled in.

        Args:
            array: Shape (source, ...); computed in float64 and returned in its own dtype.
            block: Target rows per step; bounds the memory of the float64 intermediate.

        Returns:
            Array of shape (target, ...).

        Raises:
            TokenMapError: If the first axis of ``array`` is not the source vocabulary, or it holds NaN or infinity.
        """
        target, source = self.shape
        if array.shape[:1] != (source,):
            raise TokenMapError(f"array must have {source} rows, one per source token, got shape {array.shape}")
        flat = array.reshape(source, math.prod(array.shape[1:])).astype(np.float64)
        if not np.isfinite(flat).all():
            raise TokenMapError("array must be finite, got NaN or infinity; the source checkpoint is damaged")
        result = np.empty((target, flat.shape[1]), dtype=array.dtype)
        for start in range(0, target, block):
            result[start : start + block] = self.weights[start : start + block] @ flat
        if self.background is not None:
            result[self.rows(Fate.BACKGROUND)] = self.background @ flat
        if self.sampling is not None:
            drawn = self.rows(Fate.SAMPLED)
            result[drawn] = self.sampling.draw(len(drawn), flat)
        return result.reshape(target, *array.shape[1:])

    def explain(self, token: str | int, top_k: int | None = 10) -> list[tuple[str, float]]:
        """Source tokens that make ``token``, heaviest first.

        Args:
            token: Raw target token, its text without a word-start or continuation marker ("집" for "▁집" and the
                "Ġì§ĳ" of byte-level BPE), or its id.
            top_k: At most this many; None for all.

        Returns:
            (raw source token, weight) pairs; empty for background and sampled rows.

        Raises:
            InputError: If the target vocabulary has no such token.
        """
        row = self.weights[self.target_id(token)]
        order = np.lexsort((row.indices, -row.data))[:top_k]
        return [(self.source_tokens[row.indices[i]], float(row.data[i])) for i in order]

    def used_by(self, token: str | int, top_k: int | None = 10) -> list[tuple[str, float]]:
        """Target tokens that source ``token`` goes into, heaviest first; arguments as for :meth:`explain`."""
        column = self.weights[:, find_token(self.source_tokens, token, "source")].tocoo()
        order = np.lexsort((column.row, -column.data))[:top_k]
        return [(self.target_tokens[column.row[i]], float(column.data[i])) for i in order]

    def target_id(self, token: str | int) -> int:
        """Id of a target token given as for :meth:`explain`."""
        return find_token(self.target_tokens, token, "target")

    def save(self, folder: str | Path) -> None:
        """Write ``token_map.safetensors`` and ``token_map.json`` into ``folder``.

        Each file appears whole or not at all, and the JSON holds the checksum of the other: two that were not written
        together are noticed.

        Raises:
            OutputError: If a file cannot be written.
        """
        tensors = {
            "data": self.weights.data,
            "indices": self.weights.indices.astype(np.int32),
            "indptr": self.weights.indptr.astype(np.int64),
            "fates": self.fates,
        }
        if self.background is not None:
            tensors["background"] = self.background
        content = save(tensors)
        record = {
            "format_version": FORMAT_VERSION,
            "checksum": _checksum(content),
            "sampling": None if self.sampling is None else vars(self.sampling),
            "info": self.info,
            "source_tokens": list(self.source_tokens),
            "target_tokens": list(self.target_tokens),
        }
        text = json.dumps(record, ensure_ascii=False)
        atomic_write_all({Path(folder) / TENSORS: content, Path(folder) / RECORD: text.encode()})

    @classmethod
    def find(cls, folder: str | Path | None) -> TokenMap | None:
        """As :meth:`load`; None where there is no folder, or no token map in it."""
        if folder is None or not (Path(folder) / RECORD).is_file():
            return None
        return cls.load(folder)

    @classmethod
    def load(cls, folder: str | Path) -> TokenMap:
        """Read what :meth:`save` wrote.

        Raises:
            NotFoundError: If ``folder`` holds no token map.
            TokenMapError: If a file is damaged or was written by a later version.
        """
        folder = Path(folder)
        path = folder / RECORD
        try:
            record = read_json(path)
            version = record.get("format_version")
            if version == FORMAT_VERSION:
                path = folder / TENSORS
                return cls._parse(record, path.read_bytes())
        except NotFoundError:
            raise
        except FileNotFoundError as error:
            raise NotFoundError(f"{path} does not exist; transfer again") from error
        except (SafetensorError, KeyError, TypeError, ValueError, OSError) as error:
            raise TokenMapError(f"{path} is damaged or does not belong here ({error}); transfer again") from error
        raise TokenMapError(
            f"{path} must have format_version {FORMAT_VERSION}, got {version!r:.80}; update isthmus or transfer again"
        )

    @classmethod
    def _parse(cls, record: dict[str, Any], content: bytes) -> TokenMap:
        if _checksum(content) != record["checksum"]:
            raise ValueError(f"its checksum is not the one in {RECORD}")
        source, target, info, sampling = (record[k] for k in ("source_tokens", "target_tokens", "info", "sampling"))
        if not (isinstance(info, dict) and all(isinstance(token, str) for token in (*source, *target))):
            raise TypeError(f"{RECORD} must hold tokens as strings and info as an object")
        tensors = load(content)
        weights = csr_matrix((tensors["data"], tensors["indices"], tensors["indptr"]), shape=(len(target), len(source)))
        weights.check_format()
        return cls(
            weights=weights,
            fates=tensors["fates"],
            source_tokens=source,
            target_tokens=target,
            background=tensors.get("background"),
            sampling=None if sampling is None else Sampling(**sampling),
            info=info,
        )


def _checksum(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=16).hexdigest()
