"""Rankings that another engine made, in TREC's format, read back against the judgments of a collection."""

from __future__ import annotations

from pathlib import Path

from isthmus.collections import Collection
from isthmus.errors import InputError
from isthmus.evaluation.metrics import DEPTH, score_run
from isthmus.evaluation.results import EvaluationResult, versions
from isthmus.reading.lines import read_lines

_COLUMNS = 6


def read_run(path: str | Path) -> dict[str, list[str]]:
    """Ids of documents by query, best first: by score, equal ones as they stand in the file.

    Args:
        path: Lines of query, ``Q0``, document, rank, score and tag; may be compressed.

    Raises:
        NotFoundError: If there is no such file.
        InputError: If a line is another one, or a query has a document twice.
    """
    scores: dict[str, dict[str, float]] = {}
    for number, line in read_lines(Path(path)):
        columns = line.split()
        if not columns:
            continue
        try:
            query, _, document, _, score, _ = columns
            value = float(score)
        except ValueError as error:
            raise InputError(
                f"{path}, line {number}: a run must have {_COLUMNS} columns, query Q0 document rank score tag, got "
                f"{line.strip()[:80]!r}; write it in TREC's format"
            ) from error
        found = scores.setdefault(query, {})
        if document in found or value != value:
            raise InputError(
                f"{path}, line {number}: a run must have a document once for a query, with a number, got {document!r} "
                f"{'twice' if document in found else 'without one'} for {query!r}; check how it was made"
            )
        found[document] = value
    return {query: sorted(found, key=lambda one: -found[one]) for query, found in scores.items()}


def evaluate_run(path: str | Path, collection: Collection) -> EvaluationResult:
    """Measure a run as :func:`isthmus.evaluate` measures a model.

    Args:
        path: As for :func:`read_run`.
        collection: Where the judgments are; the run is about its queries and passages, by their ids.

    Raises:
        NotFoundError: If there is no such file.
        InputError: If it is no run, or none of its queries or documents is in the collection.

    Example:
        >>> evaluate_run("run.txt", isthmus.load_collection("demo"))["ndcg@10"]  # doctest: +SKIP
    """
    run = read_run(path)
    known = {document for found in run.values() for document in found if document in collection.corpus}
    for what, there in (("queries", run.keys() & collection.queries.keys()), ("documents", known)):
        if not there:
            raise InputError(
                f"{path} must be a run of {collection.name!r}, got none of its {what}; check --collection and its ids"
            )
    # Ranks become strictly decreasing scores, because the evaluator breaks ties by id.
    ranked = {
        query: {document: float(-rank) for rank, document in enumerate(run.get(query, [])[:DEPTH])}
        for query in collection.queries
    }
    query_ids = tuple(collection.queries)
    return EvaluationResult(
        model=Path(path).name,
        collection=collection.name,
        per_query=score_run(ranked, query_ids, collection.qrels),
        query_ids=query_ids,
        documents=len(collection.corpus),
        seconds=0.0,
        settings={
            "language": collection.language,
            "distractors": collection.distractors,
            "dropped_queries": collection.dropped_queries,
            "top_k": DEPTH,
            "queries_without_hits": sum(not run.get(query) for query in query_ids),
            "versions": versions(),
        },
    )
