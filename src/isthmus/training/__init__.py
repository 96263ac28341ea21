"""Training recipes over the sentence-transformers trainers: column contracts, losses, guards, hard negatives."""

from __future__ import annotations

from typing import TYPE_CHECKING

from isthmus._lazy import lazy_names
from isthmus.training.mine_options import MineOptions
from isthmus.training.options import AlignOptions, TrainOptions
from isthmus.training.paper_recipes import paper_settings
from isthmus.training.text_options import PairOptions

if TYPE_CHECKING:
    from isthmus.training.aligning import align
    from isthmus.training.data import TrainingData, read_training_data
    from isthmus.training.mining import mine
    from isthmus.training.recipe import train
    from isthmus.training.run_report import TrainingReport
    from isthmus.training.self_supervised import train_self_supervised
    from isthmus.training.unlabelled import TextPairs, pairs_from_text

__all__ = [
    "AlignOptions",
    "MineOptions",
    "PairOptions",
    "TextPairs",
    "TrainOptions",
    "TrainingData",
    "TrainingReport",
    "align",
    "mine",
    "pairs_from_text",
    "paper_settings",
    "read_training_data",
    "train",
    "train_self_supervised",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "align": ".aligning",
        "TextPairs": ".unlabelled",
        "TrainingData": ".data",
        "TrainingReport": ".run_report",
        "mine": ".mining",
        "pairs_from_text": ".unlabelled",
        "read_training_data": ".data",
        "train": ".recipe",
        "train_self_supervised": ".self_supervised",
    },
)
