"""What the search for hard negatives can be told; no torch."""

from __future__ import annotations

from dataclasses import dataclass

from isthmus.errors import InputError
from isthmus.options import Options, RunOptions, option


@dataclass(frozen=True)
class RankOptions(Options):
    """Which of the ranked candidates become hard negatives.

    Attributes:
        skip: Leave out this many of the best ranked, which are often answers that nobody marked.
        last_rank: Draw the negatives, by the seed, from the ranks after ``skip`` up to this one; None takes the first
            of them. Ranks are among the candidates that ``max_score`` leaves, without the query's own answers.
        max_score: Take only candidates that score below this share of the query's worst positive; None takes all.
    """

    # The best ranked are often answers that nobody marked, and so is what scores nearly like the positive.
    skip: int = option(
        1, help="Of mined negatives: leave out this many of the best ranked.", panel="Method", at_least=0
    )
    last_rank: int | None = option(
        None,
        help="Of mined negatives: draw from the ranks up to this one.",
        panel="Method",
        shown="take the first after --skip",
    )
    max_score: float | None = option(
        0.95, help="Of mined negatives: only what scores below this share of the positive.", panel="Method", above=0
    )

    def check_ranks(self, negatives: int) -> None:
        """Refuse a window of ranks that cannot hold the negatives.

        Raises:
            InputError: As said.
        """
        if self.last_rank is not None and self.last_rank < self.skip + negatives:
            raise InputError(
                f"last_rank must be at least skip + negatives ({self.skip} + {negatives}), got {self.last_rank}; raise "
                "it, or leave it out to take the first ranks after skip"
            )


@dataclass(frozen=True)
class MineOptions(RankOptions, RunOptions):
    """How :func:`isthmus.training.mine` looks for hard negatives.

    Attributes:
        negatives: Number per query; rows with fewer candidates are left out, so that columns stay even.
        batch_size: Texts per encoding step.
        show_progress_bar: None shows it on a terminal.
    """

    negatives: int = option(5, help="Negatives per row; rows with fewer are left out.", at_least=1)
    batch_size: int = option(32, help="Texts per batch.", at_least=1)
    show_progress_bar: bool | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_ranks(self.negatives)
