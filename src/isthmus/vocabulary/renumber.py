"""A tokenizer over other ids: its own tokens, and beside them names that no text gives.

So an encoder can read one tokenizer's tokens and write another's columns with one vocabulary, as transformers wants it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus._lookup import UNREAD
from isthmus.errors import TokenizerError
from isthmus.vocabulary.overlap import Overlap
from isthmus.vocabulary.spelling import pipeline_of, wrap_backend
from isthmus.vocabulary.token import Vocabulary


@dataclass(frozen=True, eq=False)
class Renumbered:
    """A target tokenizer whose tokens stand behind the source's.

    Attributes:
        tokenizer: Splits text as the target tokenizer does. The ids of the source are in its vocabulary too, under
            their tokens' names with a space before them where no token of the target stands for them.
        ids: New id of every target id, shape (target size,); -1 at holes.
        names: Token of every new id; those of the source come first, under the ids they had.
        roles: New id of each special role.
    """

    tokenizer: Any
    ids: NDArray[np.int64]
    names: tuple[str, ...]
    roles: Mapping[str, int]


def renumber(tokenizer: Any, target: Vocabulary, source: Vocabulary, overlap: Overlap) -> Renumbered:
    """Put a tokenizer's tokens behind those of a source vocabulary.

    A token that copies a source token of the very same name has the id of that one, and so has the special token of
    each role: positions that count from the pad id stay, and configs keep the ids they have.

    Args:
        tokenizer: The target tokenizer, of any family; it is not changed.
        target: What was read from it.
        source: The source's vocabulary.
        overlap: What the target tokens copy.

    Raises:
        TokenizerError: If the tokenizer gives a name of the source, because it does not split text at spaces.
    """
    raws, target_raws = source.raw_tokens(), target.raw_tokens()
    ids = np.full(target.size, -1, dtype=np.int64)
    taken: dict[int, str] = {}
    special = [id for id in target.roles.values() if overlap.source_ids[id] in source.roles.values()]
    same = [token.id for token in target.tokens if raws[overlap.source_ids[token.id]] == token.raw]
    for id in (*special, *same):
        if overlap.source_ids[id] >= 0 and ids[id] < 0 and int(overlap.source_ids[id]) not in taken:
            ids[id] = overlap.source_ids[id]
            taken[int(ids[id])] = target_raws[id]
    own = [token.id for token in target.tokens if ids[token.id] < 0]
    ids[own] = np.arange(source.size, source.size + len(own))
    known = set(target_raws)
    names = [
        taken.get(id) or _unread(raw or f"[unused{id}]", known) for id, raw in enumerate(raws)
    ] + [target_raws[id] for id in own]  # fmt: skip
    backend = _rebuilt(pipeline_of(tokenizer), ids, names)
    unread = [id for id in range(source.size) if id not in taken]
    given = backend.encode_batch([names[id] for id in unread], add_special_tokens=False)
    found = [id for id, encoding in zip(unread, given, strict=True) if id in encoding.ids]
    if found:
        raise TokenizerError(
            f"target tokenizer must split text at spaces where the source's vocabulary is written, got one that gives "
            f"{names[found[0]]!r} as one token; transfer without output, which replaces the vocabulary"
        )
    roles = {role: int(ids[id]) for role, id in target.roles.items()}
    return Renumbered(wrap_backend(backend, tokenizer), ids, tuple(names), roles)


def _unread(raw: str, known: set[str]) -> str:
    name = UNREAD + raw
    while name in known:
        name = UNREAD + name
    return name


def _rebuilt(pipeline: dict[str, Any], ids: NDArray[np.int64], names: Sequence[str]) -> Any:
    from tokenizers import Tokenizer

    model = pipeline["model"]
    if isinstance(model["vocab"], dict):
        # Added tokens that the model does not have would be renumbered to come after the model's.
        model["vocab"] = {name: id for id, name in enumerate(names)}
    else:
        scores = dict(model["vocab"])
        # What an unknown character costs depends on the lowest score, which therefore stays.
        lowest = min(scores.values())
        model["vocab"] = [[name, scores.get(name, lowest)] for name in names]
        if model["unk_id"] is not None:
            model["unk_id"] = int(ids[model["unk_id"]])
    added = [entry | {"id": int(ids[entry["id"]])} for entry in pipeline.get("added_tokens") or ()]
    pipeline["added_tokens"] = sorted(added, key=lambda entry: entry["id"])
    _renumber_template(pipeline.get("post_processor"), ids)
    return Tokenizer.from_str(json.dumps(pipeline | {"padding": None, "truncation": None}))


def _renumber_template(step: dict[str, Any] | None, ids: NDArray[np.int64]) -> None:
    """Put the new ids into the step that adds special tokens, in place."""
    if step is None:
        return
    for part in step.get("processors") or ():
        _renumber_template(part, ids)
    if step["type"] == "TemplateProcessing":
        for entry in step["special_tokens"].values():
            entry["ids"] = [int(ids[id]) for id in entry["ids"]]
    elif step["type"] in ("BertProcessing", "RobertaProcessing"):
        for name in ("sep", "cls"):
            step[name] = [step[name][0], int(ids[step[name][1]])]
