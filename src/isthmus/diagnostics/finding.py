"""What a check found."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from isthmus.errors import InputError

Level = Literal["ok", "note", "warning", "error"]


@dataclass(frozen=True)
class Finding:
    """The answer of one check.

    Attributes:
        check: Stable name of the check ("always-on").
        level: ``ok``; ``note`` for what is worth knowing; ``warning`` for what makes retrieval worse; ``error`` for
            what breaks it.
        message: What was found, with its numbers.
        remedy: What to do; empty exactly when the level is ``ok``.
        value: The number that was compared with a threshold, as a share or count; None where there is none.
    """

    check: str
    level: Level
    message: str
    remedy: str = ""
    value: float | None = None

    def __post_init__(self) -> None:
        if self.level not in get_args(Level):
            raise InputError(f"level must be one of {', '.join(get_args(Level))}, got {self.level!r}")
        if bool(self.remedy) == (self.level == "ok"):
            raise InputError(
                f"remedy must be empty for the level ok and given for others, got {self.remedy!r} for {self.level} of "
                f"{self.check}"
            )

    def to_dict(self) -> dict[str, Any]:
        """Return the finding as JSON values; the keys are stable."""
        return asdict(self)


def some(names: Iterable[str], limit: int = 5) -> str:
    """List the first ``limit`` names and the number of the others."""
    listed = list(names)
    return ", ".join(listed[:limit]) + (f" and {len(listed) - limit} more" if len(listed) > limit else "")
