"""Training recipes over the sentence-transformers trainers: column contracts, losses, guards, hard negatives."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from isthmus.training.align_settings import AlignSettings
from isthmus.training.settings import TrainingSettings

if TYPE_CHECKING:
    from isthmus.training.align_recipe import align
    from isthmus.training.data import TrainingData, read_training_data
    from isthmus.training.mining import mine
    from isthmus.training.recipe import train
    from isthmus.training.report import TrainingReport

__all__ = [
    "AlignSettings",
    "TrainingData",
    "TrainingReport",
    "TrainingSettings",
    "align",
    "mine",
    "read_training_data",
    "train",
]

_HOMES = {
    "align": "align_recipe",
    "TrainingData": "data",
    "TrainingReport": "report",
    "mine": "mining",
    "read_training_data": "data",
    "train": "recipe",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
