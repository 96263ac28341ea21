"""Relevance judgements: the columns of BEIR and of TREC, with a header or without."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from isthmus.errors import CollectionError
from isthmus.reading.lines import read_lines
from isthmus.reading.notes import Notes
from isthmus.reading.records import kind_of, read_records, without_quotes

# Where it stands, query id, passage id, and grade.
Judgement = tuple[str, str, str, object]
QUERY = ("query-id", "query_id", "qid", "query", "topic", "topic_id")
PASSAGE = ("corpus-id", "corpus_id", "docid", "doc_id", "doc-id", "pid", "passage-id", "passage_id", "document_id")
GRADE = ("score", "relevance", "rel", "grade", "label")
_RUN_COLUMNS = 6


def read_judgements(path: Path, queries: Container[str], notes: Notes) -> Iterator[Judgement]:
    """Read a file of judgements: three columns of BEIR, or four of TREC, by tabs or spaces; or rows with names.

    Args:
        path: TSV, CSV or text file; or ``.jsonl`` or ``.parquet`` with named columns; or ``.json`` with an object of
            grades by passage for each query.
        queries: Ids that are no header.
        notes: Where delimiters and encodings are noted.

    Raises:
        CollectionError: If a line is malformed; names file and line.
    """
    kind = kind_of(path)
    if kind not in (None, ".tsv", ".csv"):
        for where, row in read_records(path, notes=notes):
            yield from _nested(row, where) if _is_nested(row) else [named_judgement(row, where)]
        return
    delimiter: str | None = None
    order: tuple[int, int, int | None] | None = None
    width = first = 0
    for number, line in read_lines(path, refusal=CollectionError, notes=notes):
        where = f"{path}, line {number}"
        if order is None:
            signs = "\t;," if kind == ".csv" else "\t"
            delimiter = next((sign for sign in signs if sign in line), None)
        fields = [without_quotes(field.strip()) for field in line.rstrip().split(delimiter)]
        if order is None:
            order, width, first = _order(fields, queries, where), len(fields), number
        if len(fields) != width or (width not in (3, 4) and order[2] is not None):
            raise CollectionError(
                f"{where}: must be query id, passage id, grade and tabs between, or TREC's four columns, got "
                f"{line[:60]!r}"
            )
        if number == first and not _is_number(fields[-1]) and fields[0] not in queries:
            continue
        yield where, fields[order[0]], fields[order[1]], 1 if order[2] is None else fields[order[2]]


def parse_qrels(
    judgements: Iterable[Judgement],
    corpus: Container[str],
    queries: Container[str],
    notes: Notes,
    name: str,
) -> dict[str, dict[str, int]]:
    """Grades by query id and passage id.

    A judgement that is there twice is read once. Judgements of passages that are not there stay, because they count in
    the ideal ranking; those of queries that are not there do not. Both are noted.

    Args:
        judgements: As :func:`read_judgements` gives them.
        corpus: Ids of the passages.
        queries: Ids of the queries.
        notes: Where it is noted.
        name: Of the file, for messages.

    Raises:
        CollectionError: If a grade is no whole number, a passage is judged twice in two ways, or no judgement is of a
            query and a passage that are there.
    """
    qrels: dict[str, dict[str, int]] = {}
    fits, first = False, ""
    for where, query, passage, given in judgements:
        grade = _grade(given, where)
        first = first or f"{query!r} and {passage!r}"
        known = qrels.setdefault(query, {})
        if passage in known:
            if known[passage] != grade:
                raise CollectionError(
                    f"{where}: a passage must be judged once per query, got {query!r} {passage!r} again, {grade} after "
                    f"{known[passage]}; remove one of the two"
                )
            notes.take("repeated_judgements", where, f"{query} {passage}")
            continue
        known[passage] = grade
        there = passage in corpus, query in queries
        fits = fits or all(there)
        if not there[1]:
            notes.take("judgements_of_missing_queries", where, query)
        elif not there[0]:
            notes.take("judgements_of_missing_passages", where, passage)
    if first and not fits:
        raise CollectionError(
            f"{name}: judgements must be of the queries and passages of the collection, got none that is (the first is "
            f"of {first}); give the judgements of these queries"
        )
    return {query: grades for query, grades in qrels.items() if query in queries}


def named_judgement(row: Mapping[str, Any], where: str) -> Judgement:
    """A judgement by the names of its columns; without a grade, the passage is relevant."""
    query, passage, grade = (next((name for name in names if name in row), None) for names in (QUERY, PASSAGE, GRADE))
    if query is None or passage is None:
        raise CollectionError(
            f"{where}: must have 'query-id', 'corpus-id' and 'score', got the columns {', '.join(row) or 'none'}; "
            "rename them"
        )
    return where, str(row[query]), str(row[passage]), 1 if grade is None else row[grade]


def _is_nested(row: Mapping[str, Any]) -> bool:
    return bool(row) and all(isinstance(grades, Mapping) for grades in row.values())


def _nested(row: Mapping[str, Any], where: str) -> Iterator[Judgement]:
    for query, grades in row.items():
        for passage, grade in grades.items():
            yield where, query, passage, grade


def _order(fields: list[str], queries: Container[str], where: str) -> tuple[int, int, int | None]:
    """Places of query, passage and grade; by the names of a header that has them."""
    if fields[0] not in queries and not _is_number(fields[-1]):
        lowered = [field.lower() for field in fields]
        query, passage, grade = (
            next((lowered.index(name) for name in names if name in lowered), None) for names in (QUERY, PASSAGE, GRADE)
        )
        if query is not None and passage is not None and (grade is not None or len(fields) == 2):
            return query, passage, grade
    if len(fields) == _RUN_COLUMNS:
        raise CollectionError(
            f"{where}: must be judgements, got six columns, as the results of a search have them; give qrels"
        )
    return (0, 2, 3) if len(fields) == 4 else (0, 1, 2)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _grade(value: object, where: str) -> int:
    """A whole number, which may be written as 1.0.

    Raises:
        CollectionError: If it is another.
    """
    if isinstance(value, (str, int, float)) and not isinstance(value, bool) and _is_number(str(value)):
        number = float(value)
        if number.is_integer():
            return int(number)
        raise CollectionError(
            f"{where}: grade must be a whole number, got {value!r}; the gain of nDCG is the grade itself: "
            "scale or round it"
        )
    raise CollectionError(f"{where}: grade must be a whole number, got {value!r}")
