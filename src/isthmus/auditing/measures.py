"""The metrics of an audit: how each is named, read and bounded."""

from __future__ import annotations

from dataclasses import dataclass

DEPTH = 10
MIX_DEPTH = 20
ENGLISH = "en"
SMALL = 300
"""Questions below which a sample is small: a difference of a few points is then hardly told from chance."""
HARDLY = 0.5
"""Share of BM25's nDCG@10 in a language below which a model hardly reads it."""


@dataclass(frozen=True)
class Metric:
    """How a metric is named and read.

    Attributes:
        label: Name for people ("Max@R").
        higher_is_better: None where neither end is good in itself.
        top: Largest possible value: 1.0, 100.0, or None for ranks, which end at the size of the pool.
        meaning: One plain sentence.
    """

    label: str
    higher_is_better: bool | None
    top: float | None
    meaning: str


METRICS: dict[str, Metric] = {
    "max@r": Metric("Max@R", False, None, "Rank of the worst-ranked relevant passage, mean over the questions."),
    "max@r_norm": Metric(
        "Max@R norm", True, 100.0, "100 when the relevant passages come first, 0 when one of them comes last."
    ),
    "complete@10": Metric(
        "Complete@10", True, 100.0, "Percentage of questions with every relevant passage among the first 10."
    ),
    "ndcg@10": Metric("nDCG@10", True, 1.0, "Quality of the first 10, whatever language the relevant passages are in."),
    "recall@10": Metric("Recall@10", True, 1.0, "Share of a question's relevant passages that are among the first 10."),
    "english_first": Metric(
        "English first", False, 1.0, "Share of questions with an irrelevant English passage above every relevant one."
    ),
    "language_preference": Metric(
        "Own language first",
        None,
        1.0,
        "Share of questions whose best-ranked relevant passage is in the question's language.",
    ),
    "lang_ndcg@10": Metric(
        "Lang-nDCG@10", True, 1.0, "nDCG@10 with gain 2 for relevant passages in the question's language, 1 for others."
    ),
}
"""Metrics that are means over questions, in the order of tables. Their keys are those of ``PoolResult.per_query``."""

SPLIT = ("right", "language_failure", "semantic_failure", "both_failures")
"""Kinds of first hit: relevant and in the question's language, relevant in another language, irrelevant in the
question's language, irrelevant in another language."""
