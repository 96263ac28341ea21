"""Charts of an audit as inline SVG.

Colours come from the style sheet: every part of a language carries the class ``l0`` to ``l7``, so that one drawing
serves light, dark and paper. Every chart states its numbers in its label, tells each value where a pointer rests, and
none depends on colour alone. All are 360 units wide, so that their text is about its nominal size on a phone.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence

from markupsafe import Markup

from isthmus.auditing.audit_result import PoolInfo, PoolResult
from isthmus.auditing.measures import DEPTH, ENGLISH, METRICS, SPLIT
from isthmus.auditing.wording import language_name, percent, signed

WIDTH = 360
LEFT = 72
SPLIT_NAMES = {
    "right": "relevant, own language",
    "language_failure": "relevant, other language",
    "semantic_failure": "irrelevant, own language",
    "both_failures": "irrelevant, other language",
}
"""What the first hit is in each kind of :data:`isthmus.auditing.measures.SPLIT`."""
_LABEL_LENGTH = 12
_TALL_ROWS = 3


def octaves(ranks: Sequence[int], count: int) -> list[float]:
    """Share of ranks 1, 2..3, 4..7, ...: columns of equal width on a logarithmic axis.

    Args:
        ranks: Ranks from 1.
        count: Number of columns.

    Returns:
        Shares that add up to 1, shape (count,); ranks beyond the last column are counted in it.
    """
    counts = [0] * count
    for rank in ranks:
        counts[min(rank.bit_length(), count) - 1] += 1
    return [number / len(ranks) for number in counts]


def peak(results: Iterable[PoolResult]) -> float:
    """Largest share of any column that :func:`rank_chart` draws for these results."""
    return max(
        (
            share
            for found in results
            for language in found.pool.languages
            if (ranks := found.ranks_of(language))
            for share in octaves(ranks, _columns([found]))
        ),
        default=1.0,
    )


def rank_chart(results: Sequence[PoolResult], accents: Mapping[str, int], top: float) -> Markup:
    """Where the relevant passages of each language land: a histogram each over a logarithmic rank axis.

    Args:
        results: One model's results on the pools of one name, for one query language.
        accents: Class number of each language.
        top: Share that fills the height of a row, the same for charts that are compared.
    """
    rows = [(found, language) for found in results for language in found.pool.languages if found.ranks_of(language)]
    columns = _columns(results)
    row, head, right = 36 if len(rows) > _TALL_ROWS else 46, 18, 280
    step = (right - LEFT - 8) / columns
    bottom = head + row * len(rows)
    ten = LEFT + step * min(columns, math.log2(DEPTH + 1))
    parts = [
        _shape("rect", "band", x=LEFT, y=head - 2, width=ten - LEFT, height=bottom - head + 2),
        _text(WIDTH - 46, 10, "first 10", "small end"),
        _text(WIDTH, 10, "median", "small end"),
    ]
    said = []
    for place, (found, language) in enumerate(rows):
        ranks = found.ranks_of(language)
        base = head + row * (place + 1)
        shares = octaves(ranks, columns)
        heights = [min(1.0, share / top) * (row - 9) for share in shares]
        path = "".join(
            _box(LEFT + step * i + 0.75, base - tall, step - 1.5, tall) for i, tall in enumerate(heights) if tall
        )
        name = f"relevant {language_name(language)}"
        near = percent(sum(rank <= DEPTH for rank in ranks) / len(ranks))
        median = f"{statistics.median(ranks):g}"
        several = len(results) > 1 and len(found.pool.languages) > 1
        parts += [
            _text(0, base - (15 if several else 4), _short(language_name(language)), "name"),
            _text(0, base - 3, f"in {'+'.join(found.pool.languages)}", "small") if several else Markup(""),
            _shape("path", f"l{accents[language]}", d=path),
            _shape("path", "axis", d=f"M{LEFT} {base}H{right - 8}"),
            _text(WIDTH - 46, base - 4, near, "end"),
            _text(WIDTH, base - 4, median, "end"),
            *(
                _hover(LEFT + step * i, base - row + 9, step, row - 9, f"{_octave(i)}: {_share(share)} of {name}")
                for i, share in enumerate(shares)
            ),
        ]
        said.append(f"{language_name(language)}: median rank {median}, {near} in the first 10")
    for power in range(len(str(2**columns))):
        x = LEFT + step * math.log2(10**power)
        if x <= right - 8:
            parts.append(_shape("path", "axis", d=f"M{_n(x)} {bottom}v4"))
            parts.append(_text(x, bottom + 15, f"{10**power:,}".replace(",", " "), "small middle"))
    return _svg(bottom + 19, "Ranks of relevant passages. " + "; ".join(said), "ranks", parts)


def mix_chart(result: PoolResult, accents: Mapping[str, int]) -> Markup:
    """Languages of the hits at rank 1, 2, ...: stacked columns, relevant part solid, with the pool's own mix beside."""
    languages = result.pool.languages
    ranks = len(next(iter(result.language_mix.values())))
    left, plot, height, head = 34, 224, 150, 6
    step = plot / ranks
    composition = _composition(result.pool)
    beside = left + plot + 12
    solid: dict[str, str] = dict.fromkeys(languages, "")
    pale: dict[str, str] = dict.fromkeys(languages, "")
    for rank in range(ranks):
        y = float(head + height)
        for language in languages:
            share = float(result.language_mix[language][rank])
            relevant = min(share, float(result.relevant_mix[language][rank]))
            for drawn, part in ((solid, relevant), (pale, share - relevant)):
                if part > 0:
                    y -= part * height
                    drawn[language] += _box(left + step * rank + 0.5, y, step - 1, part * height)
    parts = []
    for share in (0.0, 0.5, 1.0):
        y = head + height * (1 - share)
        parts.append(_text(left - 5, y + 4, percent(share), "small end"))
        parts.append(_shape("path", "axis", d=f"M{left} {_n(y)}h{plot}"))
    y, middles = float(head + height), []
    for language in languages:
        tall = composition[language] * height
        y -= tall
        pale[language] += _box(beside, y, 14, tall)
        middles.append(y + tall / 2 + 4)
    for language, middle in zip(languages, _spread(middles, 13), strict=True):
        accent = f"l{accents[language]}"
        parts += [
            _shape("path", f"{accent} pale", d=pale[language]),
            _shape("path", accent, d=solid[language]),
            _shape("rect", accent, x=beside + 19, y=middle - 8, width=3, height=9),
            _text(beside + 26, middle, _short(language_name(language)), "name"),
        ]
    shown = sorted({1, *range(5, ranks + 1, 5)})
    parts += [_text(left + step * (rank - 0.5), head + height + 14, str(rank), "small middle") for rank in shown]
    parts += [_hover(left + step * i, head, step, height, _at_rank(result, i)) for i in range(ranks)]
    said = ", ".join(f"{language_name(code)} {percent(share)}" for code, share in composition.items())
    parts.append(_hover(beside, head, 14, height, f"The pool: {said}"))
    parts.append(_text(beside + 7, head + height + 14, "pool", "small middle"))
    said = ", ".join(f"{language_name(code)} {percent(share)}" for code, share in result.language_share.items())
    return _svg(head + height + 20, f"Languages by rank; in the first 10 {said}", "mix", parts)


def gap_chart(results: Sequence[PoolResult], metric: str, accents: Mapping[str, int]) -> Markup:
    """A metric for English questions (ring) and for the same questions in each language (dot), with the difference.

    Args:
        results: One model's results with a gap in ``metric``.
        metric: A key of METRICS whose largest value is known.
        accents: Class number of each language.
    """
    top = METRICS[metric].top or 1.0
    row, head, right = 38, 20, 262
    bottom = head + row * len(results)

    def at(value: float) -> float:
        return LEFT + 6 + (right - LEFT - 12) * value / top

    parts = [_shape("path", "grid", d="".join(f"M{_n(at(top * i / 4))} {head}V{bottom}" for i in range(5)))]
    parts += [_text(at(top * i / 4), bottom + 15, f"{top * i / 4:g}", "small middle") for i in range(5)]
    parts.append(_text(WIDTH, 10, "gap, 95% interval", "small end"))
    said = []
    for place, found in enumerate(results):
        gap, own = found.gaps[metric], found[metric] or 0.0
        english, y = own + gap.difference, head + row * place + row / 2
        code = found.pool.query_language
        several = found.pool.name in ("pairs", "mono-cross")
        interval = f"{signed(metric, gap.low)} to {signed(metric, gap.high)}"
        parts += [
            _text(0, y + (-2 if several else 4), _short(language_name(code)), "name"),
            _text(0, y + 11, f"in {'+'.join(found.pool.languages)}", "small") if several else Markup(""),
            _shape("path", f"l{accents[code]} link", d=f"M{_n(at(own))} {_n(y)}H{_n(at(english))}"),
            _shape("circle", f"l{accents.get(ENGLISH, 0)} ring", cx=at(english), cy=y, r=5),
            _shape("circle", f"l{accents[code]}", cx=at(own), cy=y, r=5),
            _text(WIDTH, y - 1, signed(metric, gap.difference), "strong end"),
            _text(WIDTH, y + 12, interval, "small end"),
        ]
        words = f"{METRICS[metric].label}: English {english:.3g}, {language_name(code)} {own:.3g}; difference "
        words += f"{signed(metric, gap.difference)}, 95% interval {interval}"
        parts.append(_hover(LEFT, y - row / 2, WIDTH - LEFT, row, words))
        said.append(f"{language_name(code)} {own:.3g}, English {english:.3g}, gap {interval}")
    return _svg(bottom + 19, f"{METRICS[metric].label}. " + "; ".join(said), "gap", parts)


def split_chart(results: Sequence[PoolResult]) -> Markup:
    """What comes first: one bar per result, split into the kinds of SPLIT_NAMES."""
    row, bar = 32, 20
    parts, said = [], []
    for place, found in enumerate(results):
        x, y = float(LEFT), row * place
        several = found.pool.name in ("pairs", "mono-cross")
        name = language_name(found.pool.query_language)
        parts.append(_text(0, y + (10 if several else 15), _short(name), "name"))
        if several:
            parts.append(_text(0, y + 22, f"in {'+'.join(found.pool.languages)}", "small"))
        for number, kind in enumerate(SPLIT):
            width = found.split[kind] * (WIDTH - LEFT)
            if width > 0:
                parts.append(_shape("rect", f"s{number}", x=x, y=y + 1, width=width, height=bar))
                words = f"{SPLIT_NAMES[kind]}: {_share(found.split[kind])}"
                parts.append(_hover(x, y + 1, width, bar, words))
            if width > 26:
                parts.append(_text(x + width / 2, y + 15, percent(found.split[kind]), f"on{number} middle"))
            x += width
        shares = ", ".join(f"{SPLIT_NAMES[kind]} {percent(found.split[kind])}" for kind in SPLIT)
        said.append(f"{name} questions: {shares}")
    return _svg(row * len(results) - 8, "First hits. " + "; ".join(said), "split", parts)


def share_bar(share: float, accent: str) -> Markup:
    """A thin bar of a share of 1, beside a number that says the same."""
    opening = Markup('<svg class="share" viewBox="0 0 100 4" preserveAspectRatio="none" aria-hidden="true">')
    bar = _shape("rect", accent, width=100 * share, height=4)
    return opening + _shape("rect", "track", width=100, height=4) + bar + Markup("</svg>")


def _octave(column: int) -> str:
    """The ranks of a column of :func:`octaves`."""
    return f"Rank {2**column}" + (f" to {2 ** (column + 1) - 1}" if column else "")


def _at_rank(result: PoolResult, place: int) -> str:
    said = [
        f"{language_name(code)} {_share(float(mix[place]))}, relevant {_share(float(result.relevant_mix[code][place]))}"
        for code, mix in result.language_mix.items()
    ]
    return f"Rank {place + 1}: {'; '.join(said)}"


def _share(share: float) -> str:
    return f"{100 * share:.1f}%"


def _composition(pool: PoolInfo) -> dict[str, float]:
    """Share of each language among the documents that a question is ranked against."""
    counts = {language: float(pool.documents_by_language.get(language, 0)) for language in pool.languages}
    if sum(counts.values()) != pool.documents:
        # Every question has a pool of its own, in which only its relevant documents are in its language.
        counts[pool.query_language] = pool.golds
    return {language: count / (sum(counts.values()) or 1.0) for language, count in counts.items()}


def _columns(results: Sequence[PoolResult]) -> int:
    """Columns of an axis that reaches the last rank of every pool."""
    return max(max(found.pool.documents, *(ranks[-1] for ranks in found.gold_ranks)) for found in results).bit_length()


def _spread(middles: Sequence[float], distance: float) -> list[float]:
    """Baselines of labels, from the lowest up, moved apart so that none covers another."""
    placed: list[float] = []
    for middle in middles:
        placed.append(middle if not placed else min(middle, placed[-1] - distance))
    return placed


def _short(text: str) -> str:
    return text if len(text) <= _LABEL_LENGTH else text[: _LABEL_LENGTH - 1] + "…"


def _n(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def _box(x: float, y: float, width: float, height: float) -> str:
    return f"M{_n(x)} {_n(y)}h{_n(width)}v{_n(height)}h-{_n(width)}z"


def _shape(tag: str, kind: str, **attributes: float | str) -> Markup:
    values = ((name, value if isinstance(value, str) else _n(value)) for name, value in attributes.items())
    inside = Markup("").join(Markup(' {}="{}"').format(name, value) for name, value in values)
    return Markup('<{} class="{}"{}/>').format(tag, kind, inside)


def _hover(x: float, y: float, width: float, height: float, text: str) -> Markup:
    """A place over what is drawn that tells a value to a pointer."""
    return Markup('<rect class="hover" x="{}" y="{}" width="{}" height="{}"><title>{}</title></rect>').format(
        _n(x), _n(y), _n(width), _n(height), text
    )


def _text(x: float, y: float, text: str, kind: str) -> Markup:
    return Markup('<text class="{}" x="{}" y="{}">{}</text>').format(kind, _n(x), _n(y), text)


def _svg(height: float, label: str, kind: str, parts: Iterable[Markup]) -> Markup:
    return Markup('<svg class="chart {}" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>').format(
        kind, WIDTH, _n(height), label, Markup("").join(parts)
    )
