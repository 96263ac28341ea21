"""An audit in words: a table that fits 80 columns, and what it says in sentences."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from isthmus.evaluation.audit_result import AuditResult, PoolResult

COLUMNS = ("pool", "query", "in", "|D|", "|R|", "Max@R", "norm", "C@10", "nDCG", "EN 1st")
LEGEND = (
    "|D| documents, |R| relevant ones per question. norm: Max@R_norm. C@10: Complete@10. EN 1st: questions with an "
    "irrelevant English passage above every relevant one."
)
_NAMES = {
    "ar": "Arabic", "bn": "Bengali", "de": "German", "el": "Greek", "en": "English", "es": "Spanish", "fr": "French",
    "hi": "Hindi", "id": "Indonesian", "it": "Italian", "ja": "Japanese", "ko": "Korean", "pt": "Portuguese",
    "ro": "Romanian", "ru": "Russian", "sw": "Swahili", "te": "Telugu", "th": "Thai", "tr": "Turkish",
    "vi": "Vietnamese", "zh": "Chinese",
}  # fmt: skip


def language_name(code: str) -> str:
    """English name of a language, or its code where it is not a common one."""
    return _NAMES.get(code, code)


def table(results: Sequence[PoolResult]) -> list[list[str]]:
    """Cells of one line per result, under :data:`COLUMNS`."""
    return [
        [
            result.pool.name,
            result.pool.query_language,
            _joined(result.pool.languages),
            str(result.pool.documents),
            f"{result.pool.golds:.3g}",
            _number(result["max@r"], ".1f"),
            _number(result["max@r_norm"], ".1f"),
            _number(result["complete@10"], ".1f"),
            _number(result["ndcg@10"], ".3f"),
            _percent(result["english_first"]),
        ]
        for result in results
    ]


def sentences(result: AuditResult) -> list[str]:
    """What the mixed pools say, a sentence or two for each language other than English, then how the models differ."""
    said = [text for model in result.models for text in _about(result, model)]
    return said + list(_compared(result))


def rules(result: AuditResult) -> list[str]:
    """How the numbers came about: pools, deduplication, ties, what was left out."""
    pools = {pool.name: pool.rule for pool in result.pools}
    first = result.pools[0]
    stated = [f"{name}: {rule}" for name, rule in pools.items()]
    stated += [f"Deduplication: {first.deduplication}", f"Ties: {first.ties}"]
    left_out = [
        f"{result.settings[key]} {what}"
        for key, what in (
            ("dropped_queries", "questions that not every language can ask and answer"),
            ("dropped_passages", "passages that answer no shared question"),
        )
        if result.settings.get(key)
    ]
    return stated + ([f"Left out: {', '.join(left_out)}."] if left_out else [])


def plain(result: AuditResult) -> str:
    """Table and sentences as plain text."""
    lines = [headline(result)]
    for model in result.models:
        rows = [list(COLUMNS), *table([found for found in result.results if found.model == model])]
        widths = [max(len(row[column]) for row in rows) for column in range(len(COLUMNS))]
        lines.append(model)
        for row in rows:
            cells = [row[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(row[1:], widths[1:], strict=True))]
            lines.append("  ".join(cells))
    return "\n".join([*lines, *sentences(result)])


def headline(result: AuditResult) -> str:
    """Collection, number of questions and languages."""
    return f"{result.collection}: {len(result.query_ids)} questions in each of {', '.join(result.languages)}"


def _about(result: AuditResult, model: str) -> Iterator[str]:
    prefix = f"{model}: " if len(result.models) > 1 else ""
    found = {r.pool.query_language: r for r in result.results if r.model == model and r.pool.name == "multi"}
    english = found.get("en")
    for code, mixed in found.items():
        if code == "en":
            continue
        name, said = language_name(code), []
        if english is not None:
            said.append(
                "an irrelevant English passage comes before every relevant one in "
                f"{_percent(mixed['english_first'])} (English questions: {_percent(english['english_first'])})"
            )
        said.append(f"the first relevant passage is {name} in {_percent(mixed['language_preference'])}")
        yield f"{prefix}{name} questions: {'; '.join(said)}."
        if english is not None:
            gap = mixed.gaps["complete@10"]
            yield (
                f"{prefix}Every relevant passage is among the first 10 for {_number(english['complete@10'], '.1f')}% "
                f"of the English and {_number(mixed['complete@10'], '.1f')}% of the {name} questions; English minus "
                f"{name} is {gap.difference:+.1f} points (95% interval {gap.low:+.1f} to {gap.high:+.1f})."
            )


def _compared(result: AuditResult) -> Iterator[str]:
    for found in result.comparisons:
        if found.pool.name == "multi" and found.metric == "complete@10":
            test = found.test
            yield (
                f"{found.model} against {found.baseline}, {language_name(found.pool.query_language)} questions in the "
                f"pool multi: Complete@10 {test.difference:+.1f} points (95% interval {test.low:+.1f} to "
                f"{test.high:+.1f})."
            )


def _joined(languages: Sequence[str]) -> str:
    return "+".join(languages) if len(languages) < 4 else f"{len(languages)} langs"


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.0f}%"
