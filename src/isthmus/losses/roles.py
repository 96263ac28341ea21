"""Which column of a dataset is what, by name; no torch.

A *role* says what a text is: ``query`` and ``passage`` in a row's own language, ``pivot_query`` and ``pivot_passage``
in the pivot language, which need not be English. ``negative_ROLE_N`` is a hard negative: a text of the kind of ``ROLE``
that must rank below it; ``negative_ROLE`` is number 1.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from isthmus.errors import InputError

TextRole = Literal["query", "passage", "pivot_query", "pivot_passage"]
ROLES: tuple[TextRole, ...] = ("query", "passage", "pivot_query", "pivot_passage")
NEGATIVE = re.compile(rf"negative_({'|'.join(ROLES)})(?:_(\d+))?")
# What the data collator of sentence-transformers takes for labels and does not hand to the loss.
LABELS = ("label", "labels", "score", "scores")


@dataclass(frozen=True)
class Layout:
    """Where the texts of a loss stand among the columns of a dataset.

    Attributes:
        columns: The text columns, in the order in which the loss gets their vectors.
        roles: Position of every role.
        negatives: By role, the position of each negative by its number.
    """

    columns: tuple[str, ...]
    roles: dict[str, int]
    negatives: dict[str, dict[int, int]]

    @property
    def negative_columns(self) -> list[int]:
        """Positions of all negatives, ascending; the order in which labels mark the missing ones."""
        return sorted(position for places in self.negatives.values() for position in places.values())

    @property
    def queries(self) -> list[int]:
        """Positions of the columns that hold queries; all others hold passages."""
        return [position for position, column in enumerate(self.columns) if is_query(column)]


def is_query(column: str) -> bool:
    """Whether a column of this name holds queries rather than passages."""
    return "query" in column


def negative_of(column: str) -> tuple[str, int] | None:
    """The role and number of a column of negatives, else None."""
    match = NEGATIVE.fullmatch(column)
    return None if match is None else (match[1], int(match[2] or 1))


def find_layout(loss: str, columns: Sequence[str], required: Sequence[str], negatives: Sequence[str]) -> Layout:
    """Find what a loss needs among the columns of a dataset.

    Args:
        loss: What the loss is called in messages.
        columns: Names in the order of the dataset; ``label``, ``labels``, ``score`` and ``scores`` are passed over.
        required: Roles that must be there.
        negatives: Roles of which there may be negatives, any number each.

    Raises:
        InputError: If a column is missing, there twice, or of no use to the loss; names it.
    """
    if isinstance(columns, str):
        raise InputError(f"columns must be a list of names, got the string {columns!r}; put it in a list")
    texts = tuple(column for column in columns if column not in LABELS)
    layout = Layout(texts, {}, {role: {} for role in negatives})
    for position, column in enumerate(texts):
        negative = negative_of(column)
        if column in required:
            taken, key = layout.roles, column
        elif negative is not None and negative[0] in negatives:
            taken, key = layout.negatives[negative[0]], negative[1]  # type: ignore[assignment]
        else:
            wanted = [*required, *(f"negative_{role}_1..." for role in negatives)]
            raise InputError(
                f"{loss} takes the columns {', '.join(wanted)}; got {column!r}; remove or rename it, since every "
                "column is encoded"
            )
        if key in taken:
            raise InputError(f"{loss} must get every column once, got {column!r} and {texts[taken[key]]!r}")
        taken[key] = position
    missing = [role for role in required if role not in layout.roles]
    if missing:
        raise InputError(
            f"{loss} needs the column {missing[0]!r}, got {', '.join(map(repr, texts)) or 'none'}; give the columns of "
            "the dataset in its order, as columns=dataset.column_names"
        )
    return layout
