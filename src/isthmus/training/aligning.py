"""An alignment of languages, over the same trainers and folders as :mod:`isthmus.training.recipe`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from isthmus.encoders.prompts import PROMPT_NAMES, Role
from isthmus.errors import InputError
from isthmus.losses.base import AlignmentLoss
from isthmus.losses.clear import CachedCLEARLoss, CLEARLoss
from isthmus.losses.infonce import CachedInfoNCELoss, InfoNCELoss
from isthmus.losses.options import InfoNCEOptions
from isthmus.losses.proximity import CachedProximityLoss, ProximityLoss
from isthmus.losses.roles import ROLES, is_query
from isthmus.losses.splade import CachedNamedSpladeLoss, NamedSpladeLoss
from isthmus.training.align_card import describe
from isthmus.training.align_data import AlignData, read_align_data
from isthmus.training.mining import find_negatives
from isthmus.training.objective import regularizers
from isthmus.training.options import AlignOptions
from isthmus.training.output import check_start
from isthmus.training.recipe import run_task
from isthmus.training.run_report import TrainingReport
from isthmus.training.task import Prepared, Task

LOSSES: dict[str, tuple[type[AlignmentLoss], type[AlignmentLoss]]] = {
    "clear": (CLEARLoss, CachedCLEARLoss),
    "proximity": (ProximityLoss, CachedProximityLoss),
    "infonce": (InfoNCELoss, CachedInfoNCELoss),
}


def align(
    model: str | Path,
    train_data: str | Path,
    folder: str | Path,
    options: AlignOptions | None = None,
    **changes: Any,
) -> TrainingReport:
    """Align a sparse or dense encoder on parallel rows and write the result to a folder.

    Rows that have a text in common do not meet in a batch, and a negative that is a text of another row there is left
    out of the loss, see :class:`isthmus.training.batching.BatchCollator`. A positive without negatives in the data gets
    those that the encoder itself ranks high, mined before training. Interruptions, checkpoints, several processes and
    early stopping are those of :func:`isthmus.training.train`.

    Args:
        model: Built-in name, folder or hub id of a SparseEncoder or SentenceTransformer.
        train_data: File or hub id, as for :func:`isthmus.training.align_data.read_align_data`.
        folder: Where the result goes.
        options: How to align; None takes the defaults.
        **changes: Fields of ``options`` to replace; ``loss`` may be a name, and options of the loss stand beside it.

    Returns:
        What was done, as it is also written to ``training_report.json``.

    Raises:
        NotFoundError: If the model, the data or the collection is not there.
        InputError: If data, options or checkpoints do not fit.
        EncoderError: If the model is none.
        OutputError: If the folder holds something else, or cannot be written.
        TrainingError: If the loss or the vectors break down, or the rows do not last for the steps.
        MissingExtraError: If ``accelerate`` or ``datasets`` is not installed.

    Example:
        >>> align("BAAI/bge-m3", "rows.jsonl", "bge-m3-ko", loss="clear", alpha=0.3, steps=100)  # doctest: +SKIP
    """
    options = AlignOptions.of(options, **changes)
    check_start(folder, overwrite=options.overwrite)
    positives = [positive for _, positive in find_terms(options)]
    data = read_align_data(
        train_data, _required(options), options.columns, negatives=positives, limit=options.limit_rows
    )
    task = Task(
        data.name,
        data.digest,
        settings={},
        prepare=lambda encoder: prepare(encoder, data, options),
        tags=("isthmus", "alignment"),
        describe=describe,
    )
    return run_task(model, task, folder, options)


def find_terms(options: AlignOptions) -> tuple[tuple[str, str], ...]:
    """(anchor, positive) of every contrastive term of the loss."""
    if isinstance(options.loss, InfoNCEOptions):
        return ((options.loss.anchor, options.loss.positive),)
    return LOSSES[options.loss.name][0].terms


def prepare(encoder: Any, data: AlignData, options: AlignOptions) -> Prepared:
    """Set the prompts, mine what is missing, and put the columns in order.

    Args:
        encoder: What to align; its prompts change where the options have others.
        data: The rows.
        options: How to align.
    """
    for role, prompt in (("query", options.query_prompt), ("document", options.passage_prompt)):
        if prompt is not None:
            # An encoder may have it under another name of the role as well.
            own = [name for name in PROMPT_NAMES[role] if name in encoder.prompts]
            encoder.prompts.update(dict.fromkeys([role, *own], prompt))
    # Refuses what does not fit this encoder before anything is mined.
    build_loss(encoder, _required(options), options)
    negatives: dict[str, dict[int, list[str | None]]] = {}
    mined: dict[str, float] = {}
    for anchor, positive in find_terms(options):
        negatives[positive] = data.negatives[positive]
        if not negatives[positive] and options.mined:
            negatives[positive] = mine_negatives(encoder, data, anchor, positive, options)
            texts = [text for column in negatives[positive].values() for text in column]
            mined[positive] = sum(text is not None for text in texts) / len(data)
        _check_contrast(options, data, positive, negatives[positive])
    columns, labels = _columns(data, negatives, _required(options))
    stated: dict[str, Any] = {"counts": data.counts(), "mined": mined}
    return Prepared(columns, labels, lambda encoder: build_loss(encoder, list(columns), options), True, stated)


def mine_negatives(
    encoder: Any, data: AlignData, anchor: str, positive: str, options: AlignOptions
) -> dict[int, list[str | None]]:
    """Negatives of every row among the positives of the others, by number; None where candidates ran out.

    Texts in the pivot language are looked for among all rows; others among those of the row's own language, because a
    translation of the positive is no negative.
    """
    roles: tuple[Role, Role] = (_role(anchor), _role(positive))
    languages = data.provenance.get("language", [""] * len(data))
    if positive.startswith("pivot_"):
        languages = [""] * len(data)
    found: list[list[str]] = [[] for _ in range(len(data))]
    for language in dict.fromkeys(languages):
        rows = [row for row in range(len(data)) if languages[row] == language]
        anchors, positives = ([data.texts[role][row] for row in rows] for role in (anchor, positive))
        candidates = list(dict.fromkeys(positives))
        by_anchor = find_negatives(encoder, anchors, positives, candidates, options.mining(), roles=roles)
        for row, text in zip(rows, anchors, strict=True):
            found[row] = by_anchor[text]
    most = max(map(len, found))
    return {
        number: [texts[number - 1] if len(texts) >= number else None for texts in found]
        for number in range(1, most + 1)
    }


def build_loss(encoder: Any, columns: list[str], options: AlignOptions) -> Any:
    """The loss over an encoder; for a SparseEncoder inside a :class:`~isthmus.losses.splade.NamedSpladeLoss`."""
    from sentence_transformers import SparseEncoder

    plain, cached = LOSSES[options.loss.name]
    size: dict[str, Any] = {} if options.mini_batch_size is None else {"mini_batch_size": options.mini_batch_size}
    if not isinstance(encoder, SparseEncoder):
        own: Any = cached if size else plain
        return own(encoder, columns, **asdict(options.loss), **size)
    around: Any = CachedNamedSpladeLoss if size else NamedSpladeLoss
    loss = plain(encoder, columns, **asdict(options.loss))
    return around(encoder, loss, **size, **regularizers(encoder, options))


def _required(options: AlignOptions) -> list[str]:
    """Roles that the loss needs, in the order of ``ROLES``."""
    needed = {role for term in find_terms(options) for role in term} | set(LOSSES[options.loss.name][0].other_roles)
    return [role for role in ROLES if role in needed]


def _role(column: str) -> Role:
    return "query" if is_query(column) else "document"


def _check_contrast(
    options: AlignOptions, data: AlignData, positive: str, negatives: Mapping[int, list[str | None]]
) -> None:
    """Refuse a term whose positive would be the only candidate of every batch."""
    size, texts = options.batch_size, len(set(data.texts[positive]))
    if not negatives and min(size, texts) < 2:
        raise InputError(
            f"batch_size and the number of different texts in {positive!r} must be 2 or more without negatives, got "
            f"{size} and {texts}: the other rows of a batch are the negatives"
        )


def _columns(
    data: AlignData, negatives: Mapping[str, Mapping[int, list[str | None]]], required: list[str]
) -> tuple[dict[str, list[str]], dict[str, list[Any]]]:
    """Text columns, and a label per row of the negatives that are there; no labels where no row has any.

    In the place of a missing negative stands the row's own positive, which the label takes out of the loss: an empty
    text would be a document without dimensions to the regulariser of a sparse encoder.
    """
    columns = {role: data.texts[role] for role in required}
    present: list[list[bool]] = []
    for positive, numbered in negatives.items():
        for number, texts in numbered.items():
            columns[f"negative_{positive}_{number}"] = [
                own if text is None else text for text, own in zip(texts, data.texts[positive], strict=True)
            ]
            present.append([text is not None for text in texts])
    if not present:
        return columns, {}
    # Also where all are there, so that one can be taken out of a batch.
    return columns, {"label": [[int(there) for there in row] for row in zip(*present, strict=True)]}
