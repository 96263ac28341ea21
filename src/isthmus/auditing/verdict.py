"""What an audit found about each model, in a few words."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from isthmus.auditing.audit_result import AuditResult, PoolResult
from isthmus.auditing.measures import METRICS
from isthmus.auditing.own_language import OwnLanguage
from isthmus.auditing.wording import MIXED, amount, joined, language_name, leading_pool, reads, signed

DECIDING = "max@r_norm"
"""The metric whose English gap decides what the head line says."""
MATERIAL = 1.0
"""Points of that metric below which a difference, however certain, is no lean."""
KEEPS = 0.9
"""Share of the first 10 in the question's language from which a model is said to keep to it."""
GLANCE = {
    "complete@10": "All relevant passages in the first 10",
    "english_first": "Irrelevant English before any of them",
    "language_preference": "Own language before the others",
}
"""Metrics that a verdict shows, and what they say of a question."""
LEVELS = {
    "better": "reads it better than BM25",
    "alike": "reads it about as well as BM25",
    "worse": "reads it, less well than BM25",
    "hardly": "hardly reads it",
}
"""What is said of :attr:`isthmus.auditing.own_language.OwnLanguage.level`."""
_SPELLED_OUT = 3


@dataclass(frozen=True)
class Verdict:
    """What an audit found about one model: first what it reads, then what it prefers.

    Attributes:
        model: Name of the model.
        headline: Which languages it reads, in a few words; empty where that was not measured.
        languages: How it reads each language.
        preference: What it prefers where languages compete, in a few words.
        detail: The numbers behind that, one sentence.
        results: What it rests on, one or more for each query language.
        told: Those of ``results`` that tell a preference.
        commands: What to do next: a sentence and a command line each.
    """

    model: str
    headline: str
    languages: tuple[OwnLanguage, ...]
    preference: str
    detail: str
    results: tuple[PoolResult, ...]
    told: tuple[PoolResult, ...]
    commands: tuple[tuple[str, str], ...]

    @property
    def glance(self) -> dict[str, str]:
        """Those of :data:`GLANCE` that say something about the pool."""
        return {name: text for name, text in GLANCE.items() if any(name in found.per_query for found in self.results)}


def verdicts(result: AuditResult) -> list[Verdict]:
    """One verdict per model, from the pool that says most about languages that compete.

    A model hardly reads a language in which its nDCG@10 is below the share
    :data:`isthmus.auditing.measures.HARDLY` of BM25's. What it prefers is told of the languages that it reads: one that
    cannot read Korean never puts English before Korean for a Korean question, which is no merit. It leans to English
    where the same questions reach a Max@R_norm higher by at least :data:`MATERIAL` in English and the 95% interval of
    the difference leaves out zero. It keeps to the question's language where :data:`KEEPS` of the first 10 are in it
    for every query language of a mixed pool.
    """
    return [_verdict(result, model) for model in result.models]


def _verdict(result: AuditResult, model: str) -> Verdict:
    main = leading_pool(result)
    results = tuple(found for found in result.results if found.model == model and found.pool.name == main)
    languages = tuple(found for found in result.own_languages if found.model == model)
    told = tuple(found for found in results if main not in MIXED or result.tells_preference(found))
    compared = [found for found in told if DECIDING in found.gaps]
    blocked = [found for found in told if found["english_first"] is not None]
    if not told:
        preference = "What it prefers cannot be told"
        detail = (
            "A preference shows between languages that a model reads. Whoever does not read a language never puts "
            "another one before it, and never finds its passages."
        )
    elif compared:
        preference, detail = _lean(compared, told), _gap_sentence(compared)
    elif blocked:
        said = [f"{amount('english_first', r['english_first'])} of {_label(r, blocked)} questions" for r in blocked]
        preference = f"English stands in the way of {joined(said)}"
        detail = "There an irrelevant English passage comes before every relevant one."
    else:
        preference, detail = _extremes(told)
    leans = any(gap.low > 0 and gap.difference >= MATERIAL for f in compared for gap in [f.gaps[DECIDING]])
    commands = tuple(_next(result, model, languages, leans=leans))
    return Verdict(model, reads(languages), languages, preference, detail, results, told, commands)


def _next(
    result: AuditResult, model: str, languages: Sequence[OwnLanguage], *, leans: bool
) -> Iterator[tuple[str, str]]:
    """Commands that follow from what was found, each with what it is for."""
    if model.lower() == "bm25":
        return
    name = shlex.quote(model)
    sparse = result.settings.get("models", {}).get(model, {}).get("class") == "SparseEncoder"
    hardly = [language_name(found.language) for found in languages if not found.reads]
    if hardly:
        if sparse:
            yield (
                f"Make it read {joined(hardly)}, from your documents alone",
                f"isthmus adapt corpus.jsonl --encoder {name} --bridge MULTILINGUAL_MODEL -o adapted",
            )
        yield f"See what it makes of texts in {joined(hardly)}", f"isthmus doctor {name} --texts texts.txt"
    elif leans:
        yield "Teach it to rank the same content alike", f"isthmus align {name} --train rows.jsonl -o aligned"
    elif sparse:
        yield "Search your documents with it", f"isthmus index {name} corpus.jsonl -o idx"
    else:
        codes = ",".join(result.languages)
        yield (
            "Audit it on questions of your own",
            f"isthmus audit {name} --collection FOLDER --languages {shlex.quote(codes)}",
        )


def _lean(compared: Sequence[PoolResult], results: Sequence[PoolResult]) -> str:
    gaps = [(found, found.gaps[DECIDING]) for found in compared]
    below = _names(found for found, gap in gaps if gap.low > 0 and gap.difference >= MATERIAL)
    above = _names(found for found, gap in gaps if gap.high < 0 and gap.difference <= -MATERIAL)
    mixed = compared[0].pool.name in MIXED
    said = []
    if below and not mixed:
        said.append(f"does better in English than in {joined(below)}")
    elif below:
        everywhere = below == _names(compared)
        said.append("leans to English" + ("" if everywhere else f" when asked in {joined(below)}"))
    if above:
        said.append(f"does better in {joined(above)} than in English")
    if not said:
        said.append("no clear lean to English" if mixed else "no clear difference from English")
    if mixed and all(found.language_share.get(found.pool.query_language, 0.0) >= KEEPS for found in results):
        said.append("keeps to the question’s language")
    text = "; ".join(said)
    return text[0].upper() + text[1:]


def _gap_sentence(compared: Sequence[PoolResult]) -> str:
    opening = f"Asked in English, the same questions have a {METRICS[DECIDING].label}"
    if len(compared) > _SPELLED_OUT:
        ranked = sorted(compared, key=lambda found: found.gaps[DECIDING].difference)
        return f"{opening} from {_lead(ranked[0], compared)} to {_lead(ranked[-1], compared)}."
    said = [
        f"{_lead(found, compared)} (95% interval {signed(DECIDING, gap.low)} to {signed(DECIDING, gap.high)})"
        for found in compared
        for gap in [found.gaps[DECIDING]]
    ]
    return f"{opening} {joined(said)}."


def _lead(found: PoolResult, results: Sequence[PoolResult]) -> str:
    """How far English questions are ahead of those of a result."""
    difference = found.gaps[DECIDING].difference
    return f"{abs(difference):.1f} points {'higher' if difference >= 0 else 'lower'} than in {_label(found, results)}"


def _extremes(results: Sequence[PoolResult]) -> tuple[str, str]:
    """Head line and detail where nothing is compared with English."""
    ranked = sorted(results, key=lambda found: -(found[DECIDING] or 0.0))
    ends = (ranked[0], ranked[-1]) if len(ranked) > 1 else (ranked[0],)
    names = [_label(found, results) for found in ends]
    said = [
        f"{amount(DECIDING, found[DECIDING])} for {name} questions" for found, name in zip(ends, names, strict=True)
    ]
    headline = f"{names[0]} questions do best" + "".join(f", {name} questions worst" for name in names[1:])
    return headline, f"{METRICS[DECIDING].label} is {joined(said)}."


def _names(results: Iterable[PoolResult]) -> list[str]:
    return list(dict.fromkeys(language_name(found.pool.query_language) for found in results))


def _label(found: PoolResult, results: Sequence[PoolResult]) -> str:
    """Query language, with the languages searched where the results hold it more than once."""
    name = language_name(found.pool.query_language)
    several = sum(other.pool.query_language == found.pool.query_language for other in results) > 1
    return f"{name} ({'+'.join(found.pool.languages)})" if several else name
