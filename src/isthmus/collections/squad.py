"""SQuAD-format files (arXiv 1606.05250) turned into retrieval: one passage per distinct context."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from isthmus.collections.collection import Collection
from isthmus.errors import CollectionError
from isthmus.reading.lines import COMPRESSIONS, is_unicode, joined, read_lines

SUFFIXES = tuple(f".json{suffix}" for suffix in COMPRESSIONS)


def is_squad(path: Path) -> bool:
    """Whether the name of ``path`` is that of a JSON file, compressed or not."""
    return path.name.endswith(SUFFIXES)


def read_squad(path: Path, *, language: str | None = None, name: str | None = None) -> Collection:
    """Read a SQuAD-format file: ``data[].paragraphs[].{context, qas[].{id, question}}``.

    Contexts that are equal after stripping are one passage, ``p0``, ``p1``, ... in the order of first appearance; the
    relevant passage of a question is its context. Questions that are blank (published files have a few) or marked
    ``is_impossible`` are left out and counted as dropped.

    Raises:
        NotFoundError: If the file is not there.
        CollectionError: If it is not such a file; names the line, or the place in the JSON.
    """
    lines = read_lines(path, keep_blank=True, refusal=CollectionError)
    text = joined(str(path), (f"{line}\n" for _, line in lines))
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        raise CollectionError(f"{path}, line {error.lineno}: must be JSON, got {error.msg}") from error
    except (ValueError, RecursionError) as error:
        raise CollectionError(f"{path} is damaged ({error}); fetch it again") from error
    return from_questions(_questions(content, path), name=name or _stem(path), language=language)


def from_questions(
    questions: Iterable[tuple[str, str, str | None, str | None]], *, name: str, language: str | None = None
) -> Collection:
    """Build a collection from (place, context, question id, question) rows; a question of None only adds its context.

    Raises:
        CollectionError: If a question id comes twice.
    """
    passages: dict[str, str] = {}
    queries: dict[str, str] = {}
    qrels: dict[str, dict[str, int]] = {}
    dropped = 0
    for place, context, identifier, question in questions:
        passage = passages.setdefault(context.strip(), f"p{len(passages)}")
        if question is None:
            dropped += identifier is not None
            continue
        key = str(identifier)
        if key in queries:
            raise CollectionError(f"{place}: question id must be unique, got {key!r} again")
        queries[key] = question.strip()
        qrels[key] = {passage: 1}
    corpus = {passage: context for context, passage in passages.items()}
    return Collection(name, corpus, queries, qrels, language, dropped)


def _questions(content: Any, path: Path) -> Iterator[tuple[str, str, str | None, str | None]]:
    for i, article in enumerate(_list(content, "data", f"{path}")):
        for j, paragraph in enumerate(_list(article, "paragraphs", f"{path}, data[{i}]")):
            place = f"{path}, data[{i}].paragraphs[{j}]"
            context = _field(paragraph, "context", place)
            if not context.strip():
                raise CollectionError(f"{place}: 'context' must not be empty; remove the paragraph or fill it")
            yield place, context, None, None
            for k, qa in enumerate(_list(paragraph, "qas", place)):
                here = f"{place}.qas[{k}]"
                question, identifier = _field(qa, "question", here), qa.get("id")
                if isinstance(identifier, bool) or not isinstance(identifier, (str, int)) or identifier == "":
                    raise CollectionError(f"{here}: 'id' must be a string that is not empty, got {identifier!r}")
                usable = question.strip() and qa.get("is_impossible") is not True
                yield here, context, str(identifier), question if usable else None


def _list(value: Any, field: str, place: str) -> list[Any]:
    items = value.get(field) if isinstance(value, dict) else None
    if not isinstance(items, list):
        raise CollectionError(f"{place}: {field!r} must be a list, got {type(items).__name__}; is this a SQuAD file?")
    return items


def _field(value: Any, field: str, place: str) -> str:
    text = value.get(field) if isinstance(value, dict) else None
    if not isinstance(text, str) or not is_unicode(text):
        raise CollectionError(f"{place}: {field!r} must be text, got {text!r}")
    return text


def _stem(path: Path) -> str:
    return path.name[: path.name.index(".json")]
