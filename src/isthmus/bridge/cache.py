"""Token vectors on disk, under a key made of the bridge's identity and the texts."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from isthmus.assets import cache_folder
from isthmus.bridge.options import BridgeOptions
from isthmus.errors import OutputError
from isthmus.reading.storage import atomic_write


def folder_for(options: BridgeOptions) -> Path:
    """Where vectors are kept: ``bridge`` in the folder of :func:`isthmus.assets.cache_folder` unless told otherwise."""
    return cache_folder() / "bridge" if options.cache_folder is None else Path(options.cache_folder)


def path_for(folder: Path, identity: str, texts: Sequence[str]) -> Path:
    """File of the vectors of ``texts``, in this order, by the bridge ``identity``."""
    key = json.dumps([identity, list(texts)]).encode()
    return folder / f"{hashlib.blake2b(key, digest_size=16).hexdigest()}.safetensors"


def read(path: Path, count: int) -> NDArray[np.float32] | None:
    """Vectors of shape (``count``, dim), or None when the file is missing or damaged."""
    try:
        with safe_open(path, framework="numpy") as file:
            vectors = file.get_tensor("vectors")
            checksum = (file.metadata() or {}).get("checksum")
    except (OSError, SafetensorError, TypeError, ValueError):
        return None
    if vectors.ndim != 2 or len(vectors) != count or vectors.dtype != np.float32 or checksum != _checksum(vectors):
        return None
    return np.asarray(vectors)


def write(path: Path, vectors: NDArray[np.float32]) -> None:
    """Store ``vectors`` in one step, so that two writers at once are safe; warn where the folder cannot be written."""
    try:
        atomic_write(path, save({"vectors": vectors}, metadata={"checksum": _checksum(vectors)}))
    except OutputError as error:
        warnings.warn(
            f"the bridge vectors are not cached: {error}; set ISTHMUS_CACHE to another folder or pass cache=False",
            stacklevel=3,
        )


def _checksum(vectors: NDArray[Any]) -> str:
    return hashlib.blake2b(np.ascontiguousarray(vectors).data, digest_size=16).hexdigest()
