"""Storing weights in fewer bits, with the error stated."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.errors import InputError
from isthmus.index.options import Weights

_DTYPES: dict[str, Any] = {"f32": np.float32, "f16": np.float16, "u8": np.uint8}
_STEPS = 255


def dtype_of(weights: Weights) -> Any:
    """The numpy dtype that holds packed weights."""
    return _DTYPES[weights]


def scale_for(weights: Weights, largest: float) -> float:
    """What packed weights are multiplied by: 1, or for u8 the largest weight over 255."""
    return largest / _STEPS if weights == "u8" and largest > 0 else 1.0


def error_bound(weights: Weights, largest: float) -> float:
    """How far a packed weight can be from the weight, where none is above ``largest``.

    u8 rounds to the nearest of 255 steps, f16 to 11 significant bits, and below 2^-14 to the nearest multiple of 2^-24.
    """
    return {"f32": 0.0, "f16": max(largest * 2.0**-11, 2.0**-25), "u8": scale_for("u8", largest) / 2}[weights]


def pack(values: NDArray[np.float32], weights: Weights, scale: float) -> NDArray[Any]:
    """Round ``values`` to what is stored; divide by ``scale`` first.

    Raises:
        InputError: If a value does not fit: not finite, negative with u8, above 65,504 with f16.
    """
    if not np.isfinite(values).all():
        raise InputError("document vectors must be finite, got an entry that is not; run isthmus doctor on the model")
    if weights == "f32":
        return values
    low, high = (0.0, np.inf) if weights == "u8" else (-65504.0, 65504.0)
    if len(values) and not (low <= values.min() and values.max() <= high):
        raise InputError(f"weights={weights!r} holds {low:g} to {high:g}, got {values.min():g} to {values.max():g}; "
                         "use 'f32'")  # fmt: skip
    if weights == "f16":
        return values.astype(np.float16)
    return np.asarray(np.rint(values / np.float32(scale)).clip(0, _STEPS), dtype=np.uint8)


def unpack(packed: NDArray[Any], scale: float) -> NDArray[np.float32]:
    """The float32 weights that packed ones stand for."""
    values = np.asarray(packed, dtype=np.float32)
    return values if scale == 1.0 else np.asarray(values * np.float32(scale), dtype=np.float32)
