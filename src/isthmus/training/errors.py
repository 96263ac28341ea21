"""What goes wrong while a model trains, as opposed to what does not fit beforehand."""

from __future__ import annotations

from isthmus.errors import IsthmusError


class TrainingError(IsthmusError):
    """Training broke down: the loss is not a number, or the vectors collapsed."""
