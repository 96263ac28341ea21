"""The page of an audit: one HTML file that needs nothing beside it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from isthmus.auditing import charts, downloads, verdict, wording
from isthmus.auditing.accents import accents
from isthmus.auditing.audit_result import AuditResult, Comparison, HardQuery, PoolInfo, PoolResult, RankedPassage
from isthmus.auditing.measures import HARDLY, METRICS, MIX_DEPTH, SMALL, SPLIT
from isthmus.auditing.wording import language_name
from isthmus.reading.storage import atomic_write
from isthmus.reading.templates import templates_of

if TYPE_CHECKING:
    from jinja2 import Environment

GAP_METRICS = ("max@r_norm", "complete@10")
"""What the gap is drawn in; its table holds every metric."""
HARD_QUERIES, HARD_QUERIES_OF_PAGE = 5, 120
TEXT_LENGTH = 280
PREFERENCES = ("english_first", "language_preference")
"""Metrics that are no merit of a model that hardly reads a language."""
UNTOLD = "Tells nothing: the model hardly reads one of the languages."
_TITLES = {
    "multi": "All languages in one pool",
    "partly-parallel": "Partly parallel pool",
    "pairs": "The question’s language and one other",
    "english-distractors": "English distractors",
    "mono-same": "Only the question’s language",
    "mono-cross": "Only one other language",
}


@dataclass(frozen=True)
class Group:
    """The pools of one name.

    Attributes:
        name: Name of the pools.
        title: What they are, in a few words.
        mixed: Whether documents of several languages compete in them.
        pools: By query language.
        results: Of all models.
        scale: Share that fills a row of :func:`isthmus.auditing.charts.rank_chart`.
    """

    name: str
    title: str
    mixed: bool
    pools: dict[str, tuple[PoolInfo, ...]]
    results: tuple[PoolResult, ...]
    scale: float

    def of(self, model: str, query_language: str | None = None) -> list[PoolResult]:
        """Results of one model, and of one query language if given."""
        return [
            found
            for found in self.results
            if found.model == model and query_language in (None, found.pool.query_language)
        ]

    def gaps(self, model: str) -> list[PoolResult]:
        """Results of one model that have an English counterpart."""
        return [found for found in self.of(model) if found.gaps]

    def split(self, model: str) -> list[PoolResult]:
        """Results of one model where the first hits of some question can be split."""
        return [found for found in self.of(model) if found.split]

    @property
    def rule(self) -> str:
        """What the pools are made of, one sentence."""
        return self.results[0].pool.rule

    @property
    def most(self) -> int:
        """Largest number of pools that a query language searches."""
        return max(len(pools) for pools in self.pools.values())

    def numbered(self, place: int) -> dict[str, tuple[PoolInfo, ...]]:
        """Pool number ``place`` of each query language that has so many."""
        return {code: (pools[place],) for code, pools in self.pools.items() if place < len(pools)}


def write_audit_report(result: AuditResult, path: str | Path) -> None:
    """Write an audit as one HTML page, whole or not at all.

    The page loads nothing and runs nothing; its content policy forbids both, whatever names, questions and passages
    hold.

    Args:
        result: What :func:`isthmus.auditing.audits.audit` found.
        path: The file to write.

    Raises:
        OutputError: If it cannot be written.
    """
    # JSON may hold lone surrogates, which have no UTF-8 form.
    atomic_write(Path(path), render_audit(result).encode("utf-8", "replace"))


def render_audit(result: AuditResult) -> str:
    """The page of an audit as HTML."""
    groups = _groups(result)
    mixed = [group for group in groups if group.mixed]
    gapped = [group for group in groups if group.gaps(result.models[0])]
    shown = HARD_QUERIES_OF_PAGE // max(1, sum(len(group.results) for group in mixed))
    return _environment().get_template("audit.html.j2").render(
        audit=result,
        groups=groups,
        mixed=mixed,
        verdicts=verdict.verdicts(result),
        titles=_TITLES,
        deciding=verdict.DECIDING,
        material=verdict.MATERIAL,
        keeps=verdict.KEEPS,
        depth=MIX_DEPTH,
        gap_metrics=GAP_METRICS,
        # Headings of panels stand below that of their pool, which only several mixed pools have.
        level=4 if len(mixed) > 1 else 3,
        gapped=[group for group in gapped if group.mixed] or gapped,
        divided=[group for group in mixed if group.split(result.models[0])],
        has_hard_queries=any(found.hardest for found in result.results),
        hard_queries=min(HARD_QUERIES, max(1, shown)),
        accents=accents(result.languages),
        files=downloads.links(result),
        unread=any(not own.reads for own in result.own_languages),
        judged=lambda metric, found: _judged(result, metric, found),
        pools=[pool for group in groups for pools in group.pools.values() for pool in pools],
        comparisons=_comparisons(result),
        settings=list(wording.settings_of(result)),
    )  # fmt: skip


def _groups(result: AuditResult) -> list[Group]:
    """Pools by name, those where languages compete first."""
    names = list(dict.fromkeys(pool.name for pool in result.pools))
    groups = []
    for name in names:
        pools = [pool for pool in result.pools if pool.name == name]
        found = tuple(r for r in result.results if r.pool.name == name)
        groups.append(
            Group(
                name=name,
                title=_TITLES.get(name, name),
                mixed=any(len(pool.languages) > 1 for pool in pools),
                pools={
                    code: tuple(pool for pool in pools if pool.query_language == code)
                    for code in dict.fromkeys(pool.query_language for pool in pools)
                },
                results=found,
                scale=charts.peak(found),
            )
        )
    return sorted(groups, key=lambda group: not group.mixed)


def _comparisons(result: AuditResult) -> dict[str, dict[Any, dict[str, Comparison]]]:
    """What was found of each model beside the first, by model, pool and metric."""
    found: dict[str, dict[Any, dict[str, Comparison]]] = {}
    for one in result.comparisons:
        found.setdefault(one.model, {}).setdefault(one.pool.key, {})[one.metric] = one
    return found


def _judged(result: AuditResult, metric: str, found: PoolResult) -> bool:
    """Whether a difference from the first model is one for better or worse; a preference is where both can read."""
    both = (found, result.of(result.models[0], found.pool))
    return metric not in PREFERENCES or all(result.tells_preference(one) for one in both)


def _further_down(query: HardQuery) -> list[RankedPassage]:
    """Relevant documents behind the hits that are shown."""
    return [gold for gold in query.golds if gold.rank > len(query.hits)]


def _clipped(text: str) -> str:
    return text if len(text) <= TEXT_LENGTH else text[: TEXT_LENGTH - 1].rstrip() + "…"


def _environment() -> Environment:
    environment = templates_of("isthmus.auditing")
    environment.globals |= {
        "METRICS": METRICS,
        "SPLIT": SPLIT,
        "SPLIT_NAMES": charts.SPLIT_NAMES,
        "charts": charts,
        "LEVELS": verdict.LEVELS,
        "preferences": PREFERENCES,
        "untold_because": UNTOLD,
        "hardly": HARDLY,
        "small": SMALL,
        "known": lambda results, metric: any(metric in found.per_query for found in results),
        "amount": wording.amount,
        "signed": wording.signed,
        "outcome": wording.outcome,
        "p_value": wording.p_value,
        "further_down": _further_down,
    }
    environment.filters |= {
        "language": language_name,
        "languages": wording.language_list,
        "percent": wording.percent,
        "setting": wording.setting,
        "clipped": _clipped,
    }
    return environment
