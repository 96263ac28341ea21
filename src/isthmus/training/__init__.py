"""Training recipes over the sentence-transformers trainers: column contracts, losses, guards, hard negatives."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from isthmus.training.align_settings import AlignSettings
from isthmus.training.paper_recipes import paper_settings
from isthmus.training.settings import TrainingSettings

if TYPE_CHECKING:
    from isthmus.training.align_recipe import align
    from isthmus.training.data import TrainingData, read_training_data
    from isthmus.training.mining import mine
    from isthmus.training.recipe import train
    from isthmus.training.report import TrainingReport
    from isthmus.training.self_supervised import train_self_supervised
    from isthmus.training.unlabelled import PairSettings, TextPairs, pairs_from_text

__all__ = [
    "AlignSettings",
    "PairSettings",
    "TextPairs",
    "TrainingData",
    "TrainingReport",
    "TrainingSettings",
    "align",
    "mine",
    "pairs_from_text",
    "paper_settings",
    "read_training_data",
    "train",
    "train_self_supervised",
]

_HOMES = {
    "align": "align_recipe",
    "PairSettings": "unlabelled",
    "TextPairs": "unlabelled",
    "TrainingData": "data",
    "TrainingReport": "report",
    "mine": "mining",
    "pairs_from_text": "unlabelled",
    "read_training_data": "data",
    "train": "recipe",
    "train_self_supervised": "self_supervised",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
