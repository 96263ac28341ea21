"""The words and numbers of an audit: a table that fits 80 columns, sentences, and how values are written."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from isthmus.auditing.measures import ENGLISH, METRICS, SMALL

if TYPE_CHECKING:
    from isthmus.auditing.audit_result import AuditResult, PoolInfo, PoolResult
    from isthmus.auditing.own_language import OwnLanguage

MIXED = ("multi", "partly-parallel", "pairs", "english-distractors")
HEADLINE_ORDER = (*MIXED, "mono-cross", "mono-same")
"""Names of pools; what is said in words is about the first of them that was searched."""
COLUMNS = ("pool", "query", "in", "|D|", "|R|", "Max@R", "med.", "norm", "C@10", "nDCG", "EN 1st")
LEGEND = (
    "|D| documents, |R| relevant ones per question. Max@R: mean; med.: its median. norm: Max@R_norm. C@10: "
    "Complete@10. EN 1st: questions with an irrelevant English passage above every relevant one."
)
NOTHING = "–"
_SHARES = ("english_first", "language_preference")
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
            _number(result.max_rank_median, ".1f"),
            _number(result["max@r_norm"], ".1f"),
            _number(result["complete@10"], ".1f"),
            _number(result["ndcg@10"], ".3f"),
            _percent(result["english_first"]),
        ]
        for result in results
    ]


def shares(results: Sequence[PoolResult]) -> list[str]:
    """Languages of the first 10 hits, a line for the mixed pools of each name; ``results`` are those of one model."""
    said: dict[str, list[str]] = {}
    for found in results:
        if len(found.pool.languages) > 1:
            mix = ", ".join(f"{code} {_percent(share)}" for code, share in found.language_share.items())
            said.setdefault(found.pool.name, []).append(f"{found.pool.query_language}: {mix}")
    return [f"First 10 hits of {name}, asked in {'; in '.join(parts)}." for name, parts in said.items()]


def leading_pool(result: AuditResult) -> str:
    """Name of the pools that say most about languages that compete, of those that were searched."""
    searched = [pool.name for pool in result.pools]
    return next((name for name in HEADLINE_ORDER if name in searched), searched[0])


def sentences(result: AuditResult) -> list[str]:
    """What each model reads, what the leading pools say of each language but English, and how the models differ."""
    pools = [pool for pool in result.pools if pool.name == leading_pool(result)]
    asked = [pool.query_language for pool in pools]
    if len(set(asked)) < len(asked) and ENGLISH in result.languages:
        # Of the many pools of many languages, those that set one against English.
        pools = [pool for pool in pools if ENGLISH in (pool.query_language, *pool.languages)]
    said = [text for model in result.models for pool in pools for text in _about(result, result.of(model, pool))]
    return [*_read(result), *said, *_compared(result, pools)]


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
    """Tables, sentences and rules as plain text."""
    lines = [headline(result)]
    for model in result.models:
        results = [found for found in result.results if found.model == model]
        rows = [list(COLUMNS), *table(results)]
        widths = [max(len(row[column]) for row in rows) for column in range(len(COLUMNS))]
        lines.append(model)
        for row in rows:
            cells = [row[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(row[1:], widths[1:], strict=True))]
            lines.append("  ".join(cells))
        lines += shares(results)
    return "\n".join([*lines, *sentences(result), LEGEND, *rules(result)])


def headline(result: AuditResult) -> str:
    """Collection, number of questions and languages, and whether copies are kept."""
    copies = "; a copy of its passage for each" if result.pools[0].keep_copies else ""
    small = f"; a small sample, below {SMALL}" if result.small else ""
    asked = f"{len(result.query_ids)} questions in each of {', '.join(result.languages)}"
    return f"{result.collection}: {asked}{copies}{small}"


def joined(parts: Sequence[str]) -> str:
    """Parts in a row: "a, b and c"."""
    return " and ".join(part for part in (", ".join(parts[:-1]), parts[-1]) if part)


def language_list(codes: Sequence[str]) -> str:
    """Names of languages in a row: "English, Arabic and Korean"."""
    return joined([language_name(code) for code in codes])


def amount(metric: str, value: float | None) -> str:
    """A value of a metric, in the digits that suit it."""
    if value is None or not math.isfinite(value):
        return NOTHING
    if metric in _SHARES:
        return percent(value)
    return f"{value:.3f}" if METRICS[metric].top == 1.0 else f"{value:.1f}"


def signed(metric: str, difference: float) -> str:
    """A difference of two values of a metric, with its sign; shares in percentage points."""
    value, digits = (100 * difference, 0) if metric in _SHARES else (difference, 3 if METRICS[metric].top == 1.0 else 1)
    text = f"{value:+.{digits}f}"
    # A difference that rounds to nothing has no sign.
    return text.lstrip("+-") if float(text) == 0 else text.replace("-", "−")


def percent(share: float) -> str:
    """A share as a whole percentage."""
    return f"{100 * share:.0f}%"


def outcome(metric: str, low: float, high: float) -> str:
    """What an interval of a difference says: "better", "worse", "more", "less", or nothing where it holds zero."""
    if low <= 0 <= high:
        return ""
    better = METRICS[metric].higher_is_better
    if better is None:
        return "more" if low > 0 else "less"
    return "better" if better == (low > 0) else "worse"


def p_value(value: float) -> str:
    """A p value in three digits, never as 0."""
    return "p < 0.001" if value < 0.001 else f"p {value:.3f}"


def setting(value: Any) -> str:
    """A setting as text."""
    if value is None:
        return "not set"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float) and math.isinf(value):
        return "no limit"
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {setting(part)}" for key, part in value.items()) or "none"
    return str(value)


def settings_of(result: AuditResult) -> Iterator[tuple[str, str]]:
    """Name and text of every setting that does not belong to one model."""
    for key, value in result.settings.items():
        if key not in ("models", "versions"):
            yield key.replace("_", " "), setting(value)


def reads(languages: Sequence[OwnLanguage]) -> str:
    """Which of some languages a model reads, in a few words: "Reads English; hardly reads Korean"."""
    read = [language_name(found.language) for found in languages if found.reads]
    hardly = [language_name(found.language) for found in languages if not found.reads]
    text = "; ".join(f"{verb} {joined(named)}" for verb, named in (("reads", read), ("hardly reads", hardly)) if named)
    return text[:1].upper() + text[1:]


def _read(result: AuditResult) -> Iterator[str]:
    """What each model reads, with its nDCG@10 and that of BM25 in each language alone."""
    for model in result.models:
        languages = [found for found in result.own_languages if found.model == model]
        if languages:
            said = [f"{language_name(own.language)} {own.ndcg:.3f} (BM25 {own.bm25:.3f})" for own in languages]
            prefix = f"{model}: " if len(result.models) > 1 else ""
            yield f"{prefix}{reads(languages)}. nDCG@10 in each language alone: {', '.join(said)}."


def _about(result: AuditResult, found: PoolResult) -> Iterator[str]:
    prefix = f"{found.model}: " if len(result.models) > 1 else ""
    name, pool = language_name(found.pool.query_language), _named(result, found.pool)
    english, gap = result.in_english(found), found.gaps.get("complete@10")
    said = []
    # Of a language that a model hardly reads, it says nothing that English does not stand first.
    told = result.tells_preference(found)
    if told and found["english_first"] is not None:
        beside = "" if english is None else f" (English questions: {_percent(english['english_first'])})"
        said.append(
            "an irrelevant English passage comes before every relevant one in "
            f"{_percent(found['english_first'])}{beside}"
        )
    if told and found["language_preference"] is not None:
        said.append(f"the first relevant passage is {name} in {_percent(found['language_preference'])}")
    if said and found.pool.query_language != ENGLISH:
        yield f"{prefix}{name} questions in the pool {pool}: {'; '.join(said)}."
    if english is not None and gap is not None:
        yield (
            f"{prefix}In the pool {pool}, every relevant passage is among the first 10 for "
            f"{_number(english['complete@10'], '.1f')}% of the English and {_number(found['complete@10'], '.1f')}% of "
            f"the {name} questions; English minus {name} is {gap.difference:+.1f} points (95% interval {gap.low:+.1f} "
            f"to {gap.high:+.1f})."
        )


def _compared(result: AuditResult, pools: Sequence[PoolInfo]) -> Iterator[str]:
    keys = {pool.key for pool in pools}
    for found in result.comparisons:
        if found.pool.key in keys and found.metric == "complete@10":
            test = found.test
            yield (
                f"{found.model} against {found.baseline}, {language_name(found.pool.query_language)} questions in the "
                f"pool {_named(result, found.pool)}: Complete@10 {test.difference:+.1f} points (95% interval "
                f"{test.low:+.1f} to {test.high:+.1f})."
            )


def _named(result: AuditResult, pool: PoolInfo) -> str:
    """Name of a pool, with its languages where questions of its language search several of that name."""
    alike = [other for other in result.pools if (other.name, other.query_language) == (pool.name, pool.query_language)]
    return f"{pool.name} ({'+'.join(pool.languages)})" if len(alike) > 1 else pool.name


def _joined(languages: Sequence[str]) -> str:
    return "+".join(languages) if len(languages) < 4 else f"{len(languages)} langs"


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def _percent(value: float | None) -> str:
    return "-" if value is None else percent(value)
