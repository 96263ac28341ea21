"""What an adaptation tried, what each arm was worth, and which one it kept."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from isthmus.evaluation.bootstrap import bootstrap_interval, paired_bootstrap

YARDSTICK = "BM25"
DEFAULT = "hybrid"


@dataclass(frozen=True)
class ArmResult:
    """One arm, measured.

    Attributes:
        name: Name of the arm.
        score: nDCG@10, mean over the questions.
        error: Half of the 95 % bootstrap interval of that mean.
        seconds: Wall time of making and measuring it.
        per_query: nDCG@10 of every question.
        note: What else is to say of it.
    """

    name: str
    score: float
    error: float
    seconds: float
    per_query: tuple[float, ...]
    note: str = ""

    @classmethod
    def of(cls, name: str, per_query: Any, seconds: float, note: str = "") -> ArmResult:
        """Make one of the scores of its questions."""
        low, high = bootstrap_interval(per_query)
        scores = tuple(round(float(value), 6) for value in per_query)
        return cls(name, float(np.mean(per_query)), (high - low) / 2, seconds, scores, note)

    def to_dict(self) -> dict[str, Any]:
        """JSON values without the scores of single questions."""
        return {name: value for name, value in asdict(self).items() if name != "per_query"}


@dataclass(frozen=True)
class Adaptation:
    """Outcome of an adaptation.

    Attributes:
        arms: Every arm that was measured, in the order they were made; BM25 is among them.
        chosen: Name of the one that is kept.
        language: Language of the corpus.
        script: Its script.
        documents: Documents of the corpus.
        measured_on: What the questions are, with their number and that of the passages.
        encoder: Folder of the encoder.
        index: Folder of the index; None where none was built.
        seconds: Wall time of everything, that of earlier runs that were broken off included.
        warnings: What a person should look at.
        settings: What was asked for; JSON values.
    """

    arms: tuple[ArmResult, ...]
    chosen: str
    language: str
    script: str
    documents: int
    measured_on: str
    encoder: str
    index: str | None
    seconds: float
    warnings: tuple[str, ...] = ()
    settings: dict[str, Any] = field(default_factory=dict)

    def of(self, name: str) -> ArmResult:
        """The result of an arm."""
        return next(arm for arm in self.arms if arm.name == name)

    def verdict(self) -> str:
        """One sentence: what was kept, how good it is, and whether it is above BM25."""
        best, words = self.of(self.chosen), self.of(YARDSTICK)
        test = paired_bootstrap(best.per_query, words.per_query)
        ahead = "above" if test.low > 0 else "below" if test.high < 0 else "level with"
        return (
            f"{self.chosen}: nDCG@10 {best.score:.3f} (± {best.error:.3f}), {ahead} BM25 with {words.score:.3f} "
            f"(difference {test.difference:+.3f}, 95% interval {test.low:+.3f} to {test.high:+.3f})"
        )

    def to_dict(self) -> dict[str, Any]:
        """JSON values; the keys are stable."""
        return asdict(self) | {"arms": [arm.to_dict() for arm in self.arms], "verdict": self.verdict()}

    def __str__(self) -> str:
        width = max(len(arm.name) for arm in self.arms)
        lines = [f"{self.documents:,} documents, {self.language}, script {self.script}; measured on {self.measured_on}"]
        for arm in self.arms:
            mark = "kept" if arm.name == self.chosen else ""
            score = f"{arm.score:.3f} ± {arm.error:.3f}"
            lines.append(f"  {arm.name:<{width}}  {score}  {arm.seconds:6.1f} s  {mark or arm.note}".rstrip())
        return "\n".join([*lines, self.verdict(), *(f"look at: {warning}" for warning in self.warnings)])


def choose(arms: list[ArmResult]) -> str:
    """The arm that measured best on labelled development pairs of every language, or one that is certainly better.

    Questions made of text tell arms apart less well than labels, so that what they say of the default must be clear:
    the 95 % interval of the difference, paired by question, leaves out zero. Arms stand in the order of what they cost.
    """
    made = [arm for arm in arms if arm.name != YARDSTICK]
    best = next((arm for arm in made if arm.name == DEFAULT), made[0])
    for arm in made:
        if paired_bootstrap(arm.per_query, best.per_query).low > 0:
            best = arm
    return best.name


def worth_a_look(arms: list[ArmResult], chosen: str) -> list[str]:
    """What of the scores a person should look at."""
    of = {arm.name: arm for arm in arms}
    if paired_bootstrap(of[chosen].per_query, of[YARDSTICK].per_query).high < 0:
        return [f"BM25 finds these questions certainly better than {chosen}: ask forty of your own (--questions)"]
    if "transferred" in of and paired_bootstrap(of["transferred"].per_query, of["as it is"].per_query).low <= 0:
        return ["the transfer is not certainly better than the English encoder: look at the ten tokens"]
    return []
