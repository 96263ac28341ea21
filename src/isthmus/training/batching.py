"""What stands in a batch: rows without a text in common, and no negative that is the text of another row there.

``BatchSamplers.NO_DUPLICATES`` of sentence-transformers (6.2) looks at all columns. Mined negatives are positives of
other rows, so that with a few of them hardly any rows may meet, and hardly any batch is full. Here the rows' own texts
alone keep rows apart, and negatives that do not fit into a batch are taken out of it.
"""

from __future__ import annotations

import random
from collections import deque
from itertools import chain, islice
from typing import Any

from sentence_transformers.base.sampler import NoDuplicatesBatchSampler
from transformers import TrainerCallback

from isthmus.losses.roles import negative_of
from isthmus.training.task import Prepared

LABEL = "label"
Rows = list[dict[str, Any]]


def is_negative(column: str) -> bool:
    """Whether a column of training data holds negatives rather than a row's own texts."""
    return column.startswith("negative")


class OwnTextsBatchSampler(NoDuplicatesBatchSampler):  # type: ignore[misc]
    """Batches of rows that have no text in common, in whatever columns, negatives aside.

    Args:
        dataset: The rows.
        options: As for ``NoDuplicatesBatchSampler``.
    """

    def __init__(self, dataset: Any, **options: Any) -> None:
        super().__init__(dataset.remove_columns(list(filter(is_negative, dataset.column_names))), **options)


class BatchCollator:
    """Takes negatives that do not fit out of a batch and hands it to a data collator of sentence-transformers.

    A negative does not fit where it is a text of a row of the batch, which would have to rank high and low at once, or
    where it is in the batch as a negative already, which would count twice. With labels, the row's own positive takes
    its place and the label takes that out of the loss. Without, as the losses of sentence-transformers have it, a
    negative of another row takes its place: one that is nowhere in the batch, else one that is no row's own text, else
    nothing can be done and it stays. Which one is drawn depends on row and negative alone, so a run that goes on draws
    the same.

    Args:
        inner: The trainer's own collator.
        data: All rows; where texts need not be distinct, batches pass as they are.

    Attributes:
        sizes: Rows of every batch that was collated, for :class:`RowCount`, which takes them out.
    """

    def __init__(self, inner: Any, data: Prepared) -> None:
        self.inner = inner
        self.valid_label_columns = inner.valid_label_columns
        self.own = [column for column in data.texts if not is_negative(column)]
        self.negatives = [column for column in data.texts if is_negative(column)] if data.distinct else []
        self.labelled = LABEL in data.labels
        self.sizes: deque[int] = deque()
        self._pool: list[str] = []
        if not self.labelled:
            self._pool = list(dict.fromkeys(text for column in self.negatives for text in data.texts[column]))

    def __call__(self, features: Rows) -> dict[str, Any]:
        """What the loss gets of these rows."""
        self.sizes.append(len(features))
        batch: dict[str, Any] = self.inner(self.separate(features))
        return batch

    def separate(self, features: Rows) -> Rows:
        """The same rows, with other negatives where they do not fit."""
        own = {row[column] for row in features for column in self.own}
        return self._masked(features, own) if self.labelled else self._replaced(features, own)

    def _masked(self, features: Rows, own: set[str]) -> Rows:
        seen, rows = set(own), []
        for row in features:
            labels, texts = list(row[LABEL]), {}
            for place, column in enumerate(self.negatives):
                if labels[place] and row[column] in seen:
                    labels[place] = 0
                    texts[column] = row[_positive(column)]
                elif labels[place]:
                    seen.add(row[column])
            rows.append({**row, **texts, LABEL: labels})
        return rows

    def _replaced(self, features: Rows, own: set[str]) -> Rows:
        taken = own | {row[column] for row in features for column in self.negatives}
        seen, rows = set(own), []
        for row in features:
            texts = {}
            for column in self.negatives:
                text = row[column]
                if text in seen:
                    draw = random.Random("\n".join([*(row[name] for name in self.own), text]))
                    text = self._other(draw, taken) or self._other(draw, own) or text
                    taken.add(text)
                seen.add(text)
                texts[column] = text
            rows.append({**row, **texts})
        return rows

    def _other(self, draw: random.Random, taken: set[str]) -> str | None:
        """The first negative of any row, from a place that is drawn, that is not taken."""
        start = draw.randrange(len(self._pool))
        pool = chain(islice(self._pool, start, None), islice(self._pool, start))
        return next((text for text in pool if text not in taken), None)


class RowCount(TrainerCallback):  # type: ignore[misc]
    """Notes the mean number of rows per step, in this process, in every log entry.

    Args:
        sizes: Rows of the batches in the order in which they were collated.
    """

    def __init__(self, sizes: deque[int]) -> None:
        self.sizes = sizes
        self.counted: list[int] = []

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Forget batches that were fetched ahead and not trained on."""
        self.sizes.clear()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Count the rows of this step."""
        self.counted.append(self.sizes.popleft())

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        """Note the mean since the last log entry of training."""
        if logs and "loss" in logs and self.counted:
            state.log_history[-1]["rows_per_step"] = round(sum(self.counted) / len(self.counted), 2)
            self.counted.clear()


def _positive(column: str) -> str:
    """The column of the positive that a negative of an alignment must rank below."""
    negative = negative_of(column)
    assert negative is not None
    return negative[0]
