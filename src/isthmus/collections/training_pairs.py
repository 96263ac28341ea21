"""Rows for alignment training from parallel files: the same query and passage in a pivot language and another."""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from isthmus.errors import InputError
from isthmus.options import RunOptions, option
from isthmus.reading.records import kind_of, read_records

TEXTS = ("query", "passage", "pivot_query", "pivot_passage")
# Carried through as they are, where a file has them.
CARRIED = ("translated_by", "source", "doc")
HUMAN = "human"
UNKNOWN = "unknown"
NEGATIVE = re.compile(r"negative_(.+?)(_\d+)?")
FORMATS = (".jsonl", ".tsv")


@dataclass
class TrainingPairs:
    """Rows for :func:`isthmus.training.align`, and what was left out of them.

    Attributes:
        rows: ``language``, ``pivot_language``, the four texts, their hard negatives as ``negative_pivot_passage_1`` and
            so on, and of ``CARRIED`` what the file has.
        left_out: Number of rows by reason, and of negatives whose column does not say what they are negatives of.
    """

    rows: list[dict[str, str]]
    left_out: Counter[str] = field(default_factory=Counter)

    def counts(self) -> dict[str, dict[str, int]]:
        """Rows by language, and of each by who translated them; "unknown" where a file does not say."""
        found: dict[str, Counter[str]] = {}
        for row in self.rows:
            found.setdefault(row["language"], Counter())[row.get("translated_by", UNKNOWN)] += 1
        return {language: dict(counts.most_common()) for language, counts in found.items()}


@dataclass(frozen=True)
class ParallelOptions(RunOptions):
    """Which rows are taken from parallel files; the seed is that of the draw.

    Attributes:
        pivot: Code of the pivot language.
        limit: Most rows in all, drawn at random and spread evenly over the languages; None takes all.
        human_only: Leave out rows whose ``translated_by`` is not ``human``.
    """

    pivot: str = option("en", help="Code of the pivot language.")
    limit: int | None = option(
        None, help="Most rows in all, spread evenly over the languages.", at_least=1, shown="all"
    )
    human_only: bool = option(False, help="Only rows that say translated_by human.")


def build_pairs(files: Sequence[str | Path], options: ParallelOptions | None = None, **changes: Any) -> TrainingPairs:
    """Read parallel files into one list of rows; nothing is translated.

    Within a language, a row is left out when one of its four texts was there before in the same column (letter case and
    white space aside), for it would be another row's negative and its own positive at once, and when its passage is
    equal to the pivot passage, for then it was not translated.

    Hard negatives are carried through where their column says what they are negatives of, by the file's own name or by
    that of the result: ``negative_passage_PIVOT_1`` is ``negative_pivot_passage_1``. Others are counted.

    Args:
        files: JSONL or TSV with a header (also ``.gz``, ``.xz``), each as a path or as ``LANGUAGE=PATH``. Columns are
            ``query_PIVOT``, ``passage_PIVOT``, ``query`` or ``query_LANGUAGE``, ``passage`` or ``passage_LANGUAGE``;
            without ``LANGUAGE=`` the language is that of the column ``language`` or of a file name like
            ``en-ko.jsonl``.
        options: Which rows to take; None takes the defaults.
        **changes: Fields of ``options`` to replace.

    Raises:
        NotFoundError: If a file is not there.
        CollectionError: If a line is not JSON.
        InputError: If a column is missing, a negative is no text or there twice, a language is not known, or no row is
            left.

    Example:
        >>> build_pairs(["ko=en-ko.jsonl"], limit=1000).counts()  # doctest: +SKIP
        {'ko': {'human': 1000}}
    """
    options = ParallelOptions.of(options, **changes)
    if not files:
        raise InputError("files must be at least one parallel file, got none")
    found = TrainingPairs([])
    seen: dict[str, set[tuple[str, str]]] = {}
    by_language: dict[str, list[dict[str, str]]] = {}
    for file in files:
        for row in _read(str(file), options.pivot, found.left_out):
            texts = {(column, " ".join(row[column].casefold().split())) for column in TEXTS}
            before = seen.setdefault(row["language"], set())
            if options.human_only and row.get("translated_by") != HUMAN:
                found.left_out["not by a human translator"] += 1
            elif ("passage", dict(texts)["pivot_passage"]) in texts:
                found.left_out["not translated"] += 1
            elif texts & before:
                found.left_out["duplicate"] += 1
            else:
                before |= texts
                by_language.setdefault(row["language"], []).append(row)
    if not by_language:
        reasons = ", ".join(f"{number} {reason}" for reason, number in found.left_out.items()) or "empty files"
        raise InputError(f"files must hold at least one row to train on, got none ({reasons}); give others")
    found.rows = _drawn(by_language, options.limit, options.seed)
    found.left_out["over the limit"] = sum(map(len, by_language.values())) - len(found.rows)
    found.left_out += Counter()  # drops zeros
    return found


def _drawn(by_language: dict[str, list[dict[str, str]]], limit: int | None, seed: int) -> list[dict[str, str]]:
    """Rows of every language in their order, as even shares of ``limit`` as their numbers allow."""
    shares = {language: len(rows) for language, rows in by_language.items()}
    if limit is not None:
        left = limit
        # The shortest first, so that what they leave goes to the others.
        for place, language in enumerate(sorted(shares, key=lambda name: (shares[name], name))):
            shares[language] = min(shares[language], left // (len(shares) - place))
            left -= shares[language]
    rows = []
    for language, own in by_language.items():
        chosen = random.Random(f"{seed}:{language}").sample(range(len(own)), shares[language])
        rows += [own[index] for index in sorted(chosen)]
    return rows


def _read(file: str, pivot: str, left_out: Counter[str]) -> Iterator[dict[str, str]]:
    language, path = _language_and_path(file)
    for where, row in read_records(path):
        own = language or row.get("language") or _from_name(path, pivot)
        if not isinstance(own, str) or not own:
            raise InputError(f"{where}: must have a column 'language', or be given as LANGUAGE={path}")
        if own == pivot:
            raise InputError(f"{where}: the language must be another than the pivot, got {own!r}; choose --pivot")
        names = {
            "pivot_query": (f"query_{pivot}",),
            "pivot_passage": (f"passage_{pivot}",),
            "query": (f"query_{own}", "query"),
            "passage": (f"passage_{own}", "passage"),
        }
        kept = {"language": own, "pivot_language": pivot}
        kept |= {column: _text(row, names[column], where) for column in TEXTS}
        kept |= _negatives(row, names, where, left_out)
        yield kept | {name: str(row[name]) for name in CARRIED if row.get(name)}


def _negatives(
    row: dict[str, Any], names: dict[str, tuple[str, ...]], where: str, left_out: Counter[str]
) -> dict[str, str]:
    """The hard negatives of a row under the names that ``isthmus align`` knows; what has none is counted."""
    roles = {name: role for role, own in names.items() for name in (role, *own)}
    found: dict[str, str] = {}
    for column, value in row.items():
        if not column.startswith("negative") or not value:
            continue
        match = NEGATIVE.fullmatch(column)
        if match is None or match[1] not in roles:
            left_out["negatives without a known role"] += 1
            continue
        if not isinstance(value, str):
            raise InputError(
                f"{where}: {column!r} must be a text, or empty where there is no negative, got {value!r:.60}; give "
                "every negative a column of its own"
            )
        name = f"negative_{roles[match[1]]}{match[2] or '_1'}"
        if name in found:
            raise InputError(f"{where}: must have {name!r} once, got {column!r} as well; rename one")
        if value.strip():
            found[name] = value
    return found


def _language_and_path(file: str) -> tuple[str | None, Path]:
    match = re.fullmatch(r"([a-z]{2,3}(?:[-_]\w+)?)=(.+)", file, flags=re.DOTALL)
    language, path = (None, Path(file)) if match is None else (match[1], Path(match[2]))
    if kind_of(path) not in FORMATS:
        raise InputError(
            f"files must be parallel files of {', '.join(FORMATS)} (also .gz, .xz), got {path}; collections for "
            "evaluation, such as SQuAD files, are not to be trained on"
        )
    return language, path


def _from_name(path: Path, pivot: str) -> str | None:
    match = re.search(rf"(?:^|[._]){re.escape(pivot)}-([a-z]{{2,3}})\.", path.name)
    return None if match is None else match[1]


def _text(row: dict[str, Any], names: tuple[str, ...], where: str) -> str:
    value = next((row[name] for name in names if name in row), None)
    if not isinstance(value, str) or not value.strip():
        found = ", ".join(map(repr, row)) if value is None else repr(value)
        raise InputError(f"{where}: must have a text in {' or '.join(map(repr, names))}, got {found:.200}")
    return value
