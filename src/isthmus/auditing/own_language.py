"""Whether a model reads a language at all: how it searches that language alone, beside BM25."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from isthmus.auditing.measures import HARDLY
from isthmus.evaluation.bootstrap import PairedBootstrap


@dataclass(frozen=True)
class OwnLanguage:
    """One model on the passages of one language, asked in that language: the pool ``mono-same``.

    Attributes:
        model: Name of the model.
        language: Language of the questions and of every passage.
        ndcg: Its nDCG@10.
        bm25: That of BM25 over the same passages.
        test: The model minus BM25, paired by question.
    """

    model: str
    language: str
    ndcg: float
    bm25: float
    test: PairedBootstrap

    @property
    def level(self) -> str:
        """``hardly`` below the share :data:`HARDLY` of BM25; else ``better``, ``alike`` or ``worse``, by the interval.

        A model that cannot read a language still finds names and numbers in it, so nothing stands for "not at all".
        """
        if self.ndcg < HARDLY * self.bm25:
            return "hardly"
        return "better" if self.test.low > 0 else "worse" if self.test.high < 0 else "alike"

    @property
    def reads(self) -> bool:
        """Whether what the model prefers tells something about this language."""
        return self.level != "hardly"

    def to_dict(self) -> dict[str, Any]:
        """JSON values under stable keys."""
        return {
            "ndcg@10": self.ndcg,
            "bm25_ndcg@10": self.bm25,
            "vs_bm25": self.test.to_dict(),
            "level": self.level,
        }


def read_languages(found: Mapping[tuple[str, str], OwnLanguage], model: str, languages: tuple[str, ...]) -> list[str]:
    """Those of some languages that a model reads; what was not measured counts as read."""
    return [code for code in languages if (model, code) not in found or found[model, code].reads]
