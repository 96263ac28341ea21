"""Completion of values by the shell; nothing here imports torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from isthmus import assets

Complete = Callable[[str], list[str]]


def completing(values: Callable[[], Iterable[str]]) -> Complete:
    """What typer calls with the beginning of a value.

    Built-in names and URLs stand where a path may: they come once something is typed, and the shell's paths before.
    """

    def complete(incomplete: str) -> list[str]:
        return [value for value in values() if value.startswith(incomplete) and (incomplete or "/" not in value)]

    return complete


def _measured() -> list[str]:
    return [*assets.model_names(), "BM25"]


def _presets() -> Iterable[str]:
    from isthmus.transferring.preset import PRESETS

    return PRESETS


def _collections() -> Iterable[str]:
    from isthmus.collections import NAMES

    return NAMES


def _parallel() -> Iterable[str]:
    from isthmus.collections import PARALLEL_NAMES

    return PARALLEL_NAMES


def _schemes() -> list[str]:
    from isthmus.engines.registry import BACKENDS

    return [f"{scheme}:" if scheme == "seismic" else f"{scheme}://" for scheme in BACKENDS if scheme]


MODELS, MEASURED, PRESETS = completing(assets.model_names), completing(_measured), completing(_presets)
COLLECTIONS, PARALLEL, INDEXES = completing(_collections), completing(_parallel), completing(_schemes)
