"""The page of an adaptation: what was tried, what each arm was worth, what a person should look at."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from isthmus.adapting.outcome import Adaptation
from isthmus.adapting.questions import ERROR
from isthmus.collections import Collection
from isthmus.diagnostics.model_card import made_of
from isthmus.reading.storage import atomic_write
from isthmus.reading.templates import templates_of
from isthmus.token_map import TokenMap

SEARCHES = 10
HITS = 3
CHARACTERS = 160


def write_page(found: Adaptation, folder: Path, questions: Collection, index: Any) -> None:
    """Write ``report.html``, one file that needs nothing beside it.

    Args:
        found: What the adaptation found.
        folder: Where it goes.
        questions: What was measured on, some of which are searched for.
        index: An open index, or None.

    Raises:
        OutputError: If it cannot be written.
    """
    environment = templates_of("isthmus.adapting")
    token_map = TokenMap.find(folder / "encoder")
    top = max(arm.score for arm in found.arms) or 1.0
    html = environment.get_template("adapt.html.j2").render(
        found=found,
        top=top,
        error=ERROR,
        tokens=[] if token_map is None else made_of(token_map),
        searches=[] if index is None else _searches(index, questions),
    )
    atomic_write(folder / "report.html", html.encode())


def _searches(index: Any, questions: Collection) -> list[tuple[str, list[tuple[str, str]]]]:
    """Some of the questions, evenly over all, with their first hits in the index."""
    texts = list(questions.queries.values())
    chosen = texts if len(texts) <= SEARCHES else [texts[len(texts) * place // SEARCHES] for place in range(SEARCHES)]
    return [(text, [(hit.id, _cut(hit.document.content)) for hit in index.search(text, top_k=HITS)]) for text in chosen]


def _cut(text: str) -> str:
    return text if len(text) <= CHARACTERS else text[: CHARACTERS - 1].rstrip() + "…"
