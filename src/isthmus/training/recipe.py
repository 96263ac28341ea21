"""A training run, start to finish, with the trainers of sentence-transformers."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from isthmus._progress import wanted
from isthmus.collections import Collection
from isthmus.collections import load as load_collection
from isthmus.encoders.cards import read_license
from isthmus.encoders.load import load_encoder, local_folder, transfer_folder
from isthmus.errors import InputError, TrainingError
from isthmus.evaluation.results import versions
from isthmus.training import output
from isthmus.training.data import read_training_data
from isthmus.training.freeze import frozen
from isthmus.training.options import TrainerOptions, TrainOptions
from isthmus.training.paper_recipes import describe, find_recipe
from isthmus.training.run_report import TrainingReport
from isthmus.training.task import Prepared, Task, is_first_process


def train(
    model: str | Path,
    train_data: str | Path,
    folder: str | Path,
    options: TrainOptions | None = None,
    **changes: Any,
) -> TrainingReport:
    """Train a sparse or dense encoder and write the result to a folder.

    A run that was interrupted goes on from its last checkpoint when it is called again with the same arguments. Under
    ``torchrun`` every process calls this, and the first one writes.

    Args:
        model: Built-in name, folder or hub id of a SparseEncoder or SentenceTransformer.
        train_data: File or hub id, as for :func:`read_training_data`.
        folder: Where the result goes, a plain encoder folder; checkpoints stand in it until then.
        options: How to train; None takes the defaults.
        **changes: Fields of ``options`` to replace.

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
        >>> report = train("splade-ko", "pairs.jsonl", "splade-ko-ft", steps=60)  # doctest: +SKIP
    """
    options = TrainOptions.of(options, **changes)
    output.check_start(folder, overwrite=options.overwrite)
    from isthmus.training.objective import choose_loss, training_task

    data = read_training_data(train_data, limit=options.limit_rows)
    return run_task(model, training_task(data, choose_loss(options, data), options), folder, options)


def run_task(model: str | Path, task: Task, folder: str | Path, options: TrainerOptions) -> TrainingReport:
    """Load an encoder, train it on a task and write it; arguments and errors as for :func:`train`."""
    with output.reserved_output(Path(folder), overwrite=options.overwrite):
        return _run_reserved(model, task, Path(folder), options)


def _run_reserved(model: str | Path, task: Task, folder: Path, options: TrainerOptions) -> TrainingReport:
    development = options.development
    if development is not None and not isinstance(development, Collection):
        development = load_collection(development, language=options.language)
    options = replace(options, bf16=resolve_bf16(options.bf16), development=development)
    encoder = load_encoder(model, trust_remote_code=options.trust_remote_code, whole=True).float()
    _check_encoder(encoder, options)
    warned = _lexical_warnings(encoder)
    if is_first_process():
        for warning in warned:
            # At once as well as in the report, which comes after hours.
            warnings.warn(warning, stacklevel=4)
    source, processes = transfer_folder(model), int(os.environ.get("WORLD_SIZE", "1"))
    card = encoder.model_card_data
    card.license = read_license(encoder, local_folder(model))
    # The trainer would draw texts of the training data for the head of the model card.
    card.set_widget_examples = lambda dataset: None
    card.add_tags(list(task.tags))
    identity = {
        **options.identity(),
        **task.settings,
        "model": output.weights_digest(encoder),
        "train_data": task.digest,
        "development": None if development is None else development.name,
        "processes": processes,
    }
    goes_on = output.check_settings(folder, identity, overwrite=options.overwrite)
    data = task.prepare(encoder)
    with frozen(encoder, options.freeze, source) as trainable, _fused(encoder, options):
        heads = _count_fused(encoder)
        run = _run(encoder, data, options, folder, None if goes_on else identity)
    stated = options.to_dict() | task.settings
    recipe = None if options.recipe is None else find_recipe(options.recipe).stated(stated)
    report = TrainingReport(
        model=str(model),
        data={"name": task.name, "rows": len(data), "columns": list(data.texts), "hash": task.digest, **data.stated},
        settings=stated,
        processes=processes,
        trainable=trainable,
        fused_heads=heads,
        versions=versions() | {name: version(name) for name in ("accelerate", "datasets")},
        warnings=warned,
        recipe=recipe,
        **run,
    )
    if is_first_process():
        sections = [task.describe(report.to_dict()), "" if recipe is None else describe(recipe)]
        output.write_result(encoder, report, folder, source, "\n".join(filter(None, sections)))
    _wait_for_all()
    return report


def _run(
    encoder: Any, data: Prepared, options: TrainerOptions, folder: Path, begins: dict[str, Any] | None
) -> dict[str, Any]:
    """Train in place; ``begins`` is the identity of a run that starts anew, None for one that goes on."""
    from isthmus.training.callbacks import evaluations, finished, stalled
    from isthmus.training.trainer import build_trainer

    def prepare() -> Path | None:
        """Once all processes have come up, so that none looks while the first one cleans."""
        _wait_for_all()
        if begins is not None and is_first_process():
            output.begin(folder, begins)
        _wait_for_all()
        found = output.last_checkpoint(folder)
        if found is None and begins is None and is_first_process():
            warnings.warn(
                f"the run in {folder} was stopped before its first checkpoint was whole; it starts from the beginning",
                stacklevel=6,
            )
        return found

    development: Collection | None = options.development
    show = wanted(options.show_progress_bar) and is_first_process()
    trainer, checkpoint = build_trainer(encoder, data, options, folder, prepare, show=show)
    started = time.perf_counter()
    state = None if checkpoint is None else finished(checkpoint, options.patience)
    if checkpoint is None or state is None:
        trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
        state = trainer.state
    else:
        # The trainer would take one more step before it notices.
        best = state.best_model_checkpoint if development is not None else None
        weights = checkpoint if best is None else folder / output.CHECKPOINTS / Path(best).name
        encoder.load_state_dict(load_encoder(weights, trust_remote_code=encoder.trust_remote_code).state_dict())
    seconds = time.perf_counter() - started
    stopped_early = state.global_step < state.max_steps and stalled(state.log_history, options.patience)
    if state.global_step < state.max_steps and not stopped_early:
        raise TrainingError(
            f"the run must take {state.max_steps} steps, got {state.global_step}: too few of {len(data)} rows have "
            f"texts of their own for batches of {options.batch_size} in every process; lower batch_size or the number "
            "of processes, or add rows"
        )
    found = evaluations(state.log_history)
    kept = state.global_step
    if found and state.best_global_step:
        kept = state.best_global_step
    return {
        "steps": state.global_step,
        "resumed_from": None if checkpoint is None else int(checkpoint.name.rpartition("-")[2]),
        "stopped_early": stopped_early,
        "kept_step": kept,
        "log": [entry for entry in state.log_history if "loss" in entry],
        "development": _development(development, found) if development is not None else None,
        "seconds": seconds,
    }


def _development(collection: Collection, found: list[tuple[int, float]]) -> dict[str, Any]:
    return {
        "collection": collection.name,
        "before": found[0][1],
        "best": max((score for step, score in found if step > 0), default=found[0][1]),
        "evaluations": [{"step": step, "ndcg@10": score} for step, score in found],
    }


def _check_encoder(encoder: Any, options: TrainerOptions) -> None:
    from sentence_transformers import SparseEncoder

    if options.target_active_dims is not None and not isinstance(encoder, SparseEncoder):
        raise InputError(
            f"target_active_dims must be left out for a dense encoder, got {options.target_active_dims}; all of its "
            "dimensions are active"
        )
    own = encoder.max_seq_length
    if options.max_length is not None and own is not None and options.max_length > own:
        raise InputError(f"max_length must be at most the encoder's own {own}, got {options.max_length}")


def _lexical_warnings(encoder: Any) -> tuple[str, ...]:
    """A warning where a part without parameters already scores the words that training would teach."""
    from isthmus.modules.lexical import Lexical

    mode = next((module.mode for module in encoder.modules() if isinstance(module, Lexical)), None)
    if mode is None:
        return ()
    return (
        f"the encoder carries a lexical part ({mode}), which already scores the words that it would learn; train the "
        "encoder that the part was added to, with --teacher echo where it should know words itself, and add the part "
        f"afterwards by isthmus index --lexical {mode}",
    )


@contextmanager
def _fused(encoder: Any, options: TrainerOptions) -> Iterator[None]:
    from sentence_transformers import SparseEncoder

    from isthmus.modules.fuse import fuse_head, unfuse_head

    if options.stock_head or not isinstance(encoder, SparseEncoder):
        yield
        return
    fuse_head(encoder)
    try:
        yield
    finally:
        unfuse_head(encoder)


def _count_fused(encoder: Any) -> int:
    from isthmus.modules.fuse import is_fused

    return sum(is_fused(module) for module in encoder.modules())


def resolve_bf16(asked: bool | None) -> bool:
    """Whether to train in bfloat16; emulated, it is slower than float32."""
    if asked is not None:
        return asked
    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def _wait_for_all() -> None:
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.barrier()
