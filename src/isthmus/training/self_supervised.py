"""A training run on unlabelled text, over the same trainers and folders as :mod:`isthmus.training.recipe`."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

from isthmus.encoders.load import kept_tokens
from isthmus.errors import InputError
from isthmus.evaluation import BM25
from isthmus.training.align_card import public_name
from isthmus.training.data import TrainingData
from isthmus.training.mine_options import MineOptions
from isthmus.training.mining import find_negatives
from isthmus.training.objective import Chosen, choose_loss, training_task
from isthmus.training.options import TrainOptions
from isthmus.training.output import check_start, weights_digest
from isthmus.training.recipe import resolve_bf16, run_task
from isthmus.training.run_report import TrainingReport
from isthmus.training.task import Prepared, Task
from isthmus.training.teacher import check_stored, check_student, load_teacher, with_scores
from isthmus.training.text_options import LEAST_FOR_SNIPPET, TAUGHT, PairOptions, check_teacher
from isthmus.training.unlabelled import TextPairs, pairs_from_text

# Of most tokenizers in their own language, a little below two.
TOKENS_PER_WORD = 2


def train_self_supervised(
    model: str | Path,
    corpus: Any,
    folder: str | Path,
    options: TrainOptions | None = None,
    pairs: PairOptions | None = None,
    *,
    teacher: str | Path | None = None,
    **changes: Any,
) -> TrainingReport:
    """Train a sparse or dense encoder on unlabelled text and write the result to a folder.

    Pairs are made from the text by its structure, see :func:`isthmus.training.pairs_from_text`; everything else is as
    for :func:`isthmus.training.train`. The seed of the options also decides which pairs are made. With a teacher, the
    encoder learns its scores: ``echo``, the encoder itself with its words given back (``isthmus.lexical.add_lexical``),
    teaches exact matching to the rows, so that a plain encoder carries some of it.

    Args:
        model: Built-in name, folder or hub id of a SparseEncoder or SentenceTransformer.
        corpus: As for :func:`isthmus.training.pairs_from_text`.
        folder: Where the result goes.
        options: How to train; None takes the defaults. The loss must be ``auto`` or ``contrastive`` without a teacher,
            ``auto``, ``margin-mse`` or ``kl`` with one.
        pairs: Which pairs to make; None takes the defaults, with a teacher snippets alone, left in their passages, and
            two negatives.
        teacher: ``echo`` or ``hybrid``, the encoder as it is before training with that lexical part; or the built-in
            name, folder or hub id of another encoder. For sparse encoders. None trains without one.
        **changes: Fields of ``options`` to replace.

    Returns:
        What was done, as it is also written to ``training_report.json``; ``data`` counts the pairs of each kind.

    Raises:
        NotFoundError: If the model, the corpus or the collection is not there.
        CollectionError: If the corpus is malformed; names the line.
        InputError: If too few pairs come of the corpus, or options or checkpoints do not fit.
        EncoderError: If the model is none, or cannot learn from the teacher.
        OutputError: If the folder holds something else, or cannot be written.
        TokenMapError: If the model is to teach itself and its token map is damaged.
        TrainingError: If the loss or the vectors break down, or the rows do not last for the steps.
        MissingExtraError: If a package is not installed.

    Example:
        >>> train_self_supervised("splade-ko", "docs", "splade-ko-docs", teacher="echo", steps=50)  # doctest: +SKIP
    """
    options = TrainOptions.of(options, **changes)
    check_start(folder, overwrite=options.overwrite)
    pairs = pairs or (PairOptions() if teacher is None else TAUGHT)
    _check_loss(options, pairs, teacher)
    if teacher is not None:
        check_teacher(teacher)
        check_stored(model)
    options = replace(options, bf16=resolve_bf16(options.bf16))
    if pairs.passage_words is None and options.max_length is not None:
        # What is longer is not read, and a snippet of it would not be found.
        pairs = replace(pairs, passage_words=max(LEAST_FOR_SNIPPET, options.max_length // TOKENS_PER_WORD))
    found = pairs_from_text(corpus, pairs, seed=options.seed, show_progress_bar=options.show_progress_bar)
    return run_task(model, text_task(found, options, pairs, teacher, model=model), folder, options)


def _check_loss(options: TrainOptions, pairs: PairOptions, teacher: str | Path | None) -> None:
    if options.limit_rows is not None:
        raise InputError(
            f"limit_rows must be left out for unlabelled text, got {options.limit_rows}; max_pairs draws from all pairs"
        )
    if teacher is None and options.loss not in ("auto", "contrastive"):
        raise InputError(
            f"loss must be auto or contrastive without labels or a teacher, got {options.loss!r}; name a teacher"
        )
    if teacher is not None and options.loss == "contrastive":
        raise InputError("loss must be auto, margin-mse or kl with a teacher, got 'contrastive'; leave one out")
    if teacher is not None and pairs.negatives < 1:
        raise InputError(
            f"negatives must be 1 or more with a teacher, got {pairs.negatives}; it scores how far each positive is "
            "ahead of its negatives"
        )


def text_task(
    found: TextPairs,
    options: TrainOptions,
    pairs: PairOptions,
    teacher: str | Path | None,
    *,
    model: str | Path,
) -> Task:
    """The task of :func:`train_self_supervised`.

    Args:
        found: The pairs.
        options: How to train, ``bf16`` decided.
        pairs: How the pairs were made, and how many negatives they get.
        teacher: Who scores them, if anyone.
        model: Name of the encoder, beside which a transfer may have left a token map.
    """
    if pairs.negatives == 0:
        # Refuses batches in which a positive would be alone.
        choose_loss(options, found.data)
    loaded = None if teacher is None else load_teacher(teacher, trust_remote_code=options.trust_remote_code)
    chosen: Chosen = "contrastive"
    chosen_settings: dict[str, Any] = {"pairs": pairs.to_dict()}
    if loaded is not None:
        chosen = "margin-mse" if options.loss == "auto" else options.loss
        own = isinstance(loaded, str)
        chosen_settings |= {"teacher": loaded if own else {"name": str(teacher), "weights": weights_digest(loaded)}}

    def prepare(encoder: Any) -> Prepared:
        if loaded is not None:
            # Before anything is mined, which takes longer.
            check_student(encoder, loaded)
        data, drawn = found.data, 0
        if pairs.negatives:
            data, drawn = with_negatives(
                found,
                encoder.tokenizer,
                pairs.negatives,
                seed=options.seed,
                show_progress_bar=options.show_progress_bar,
            )
        stated = found.stated() | {"negatives": pairs.negatives * len(data), "negatives_drawn": drawn}
        if loaded is not None:
            data = with_scores(
                data,
                loaded,
                encoder,
                known=kept_tokens(model) if isinstance(loaded, str) else (),
                max_length=options.max_length,
                dtype="bfloat16" if options.bf16 else "float32",
                seed=options.seed,
                show_progress_bar=options.show_progress_bar,
            )
        return replace(training_task(data, chosen, options).prepare(encoder), stated={"unlabelled": stated})

    return Task(
        found.data.name,
        found.data.digest,
        settings={"loss": chosen, **chosen_settings},
        prepare=prepare,
        tags=("isthmus", "self-supervised"),
        describe=describe,
    )


def with_negatives(
    found: TextPairs, tokenizer: Any, negatives: int, *, seed: int = 0, show_progress_bar: bool | None = None
) -> tuple[TrainingData, int]:
    """Give every pair the passages of others that BM25 ranks high.

    What scores nearly like the pair's own passage is no negative, see :func:`isthmus.training.mine`. Where too few are
    left, others are drawn, so that no pair is lost.

    Args:
        found: The pairs.
        tokenizer: Tokenizer whose subwords BM25 goes by.
        negatives: Number per pair.
        seed: Of the draw.
        show_progress_bar: None shows it on a terminal.

    Returns:
        The rows, and how many of their negatives were drawn.

    Raises:
        InputError: If there are not as many other passages.
    """
    queries, positives = found.data.texts["query"], found.data.texts["positive"]
    passages = list(dict.fromkeys(positives))
    if negatives >= len(passages):
        raise InputError(
            f"negatives must be fewer than the {len(passages)} passages of {found.data.name}, got {negatives}; lower "
            "them, or add documents"
        )
    options = MineOptions(negatives=negatives, show_progress_bar=show_progress_bar)
    hard = find_negatives(BM25(tokenizer), queries, positives, passages, options)
    generator, drawn = random.Random(seed), 0
    columns: list[list[str]] = [[] for _ in range(negatives)]
    for query, positive in zip(queries, positives, strict=True):
        own = list(hard[query])
        while len(own) < negatives:
            text = generator.choice(passages)
            if text != positive and text not in own:
                own.append(text)
                drawn += 1
        for column, text in zip(columns, own, strict=True):
            column.append(text)
    texts = found.data.texts | {f"negative_{number}": column for number, column in enumerate(columns, start=1)}
    return replace(found.data, texts=texts), drawn


def describe(report: dict[str, Any]) -> str:
    """A section of Markdown for the model card, from the values of a training report."""
    data, settings = report["data"], report["settings"]
    made, pairs = data["unlabelled"], settings["pairs"]
    names = {"title": "titles", "heading": "headings", "snippet": "snippets"}
    counts = ", ".join(f"{number} {names[kind]}" for kind, number in made["pairs"].items())
    lines = [
        "## How this model was trained",
        "",
        f"`isthmus train --self-supervised` trained {public_name(report['model'])} for {report['kept_step']} steps on "
        f"{data['rows']} pairs that were made from the unlabelled text of {Path(data['name']).name}; nobody labelled "
        "any of them.",
        "",
        f"- Queries: {counts}, of {made['documents']} documents",
    ]
    if "snippet" in made["pairs"]:
        lines.append(
            f"- Snippets left in their passages: {made['snippets_kept']} (probability {pairs['keep_snippet']:g})"
        )
    if pairs["negatives"]:
        lines.append(
            f"- Negatives: {pairs['negatives']} per pair, ranked high by BM25; {made['negatives_drawn']} of "
            f"{made['negatives']} drawn for want of such"
        )
    if "teacher" in settings:
        own, other = isinstance(settings["teacher"], str), settings["teacher"]
        name = f"its own lexical {other}, before training" if own else public_name(other["name"])
        lines.append(f"- Teacher: {name}, by {settings['loss']}, on the scale of the model's own scores")
    if made["left_out"]:
        lines.append(f"- Left out: {', '.join(f'{number} {reason}' for reason, number in made['left_out'].items())}")
    stated = [name for name in ("learning_rate", "batch_size", "max_length", "seed") if settings[name] is not None]
    lines.append(f"- Settings: {', '.join(f'{name} {settings[name]}' for name in stated)}")
    return "\n".join([*lines, ""])
