"""Training an encoder, start to finish, with the trainers of sentence-transformers."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from isthmus._progress import wanted
from isthmus.collections import Collection
from isthmus.collections import load as load_collection
from isthmus.encoders.cards import read_license
from isthmus.encoders.load import load_encoder, local_folder, transfer_folder
from isthmus.errors import InputError, MissingExtraError, TrainingError
from isthmus.evaluation.results import versions
from isthmus.training import output
from isthmus.training.data import read_training_data
from isthmus.training.freeze import frozen
from isthmus.training.paper_recipes import describe, find_recipe
from isthmus.training.run_report import TrainingReport
from isthmus.training.settings import TrainingSettings
from isthmus.training.task import Prepared, Task


def train(
    model: str | Path,
    train_data: str | Path,
    folder: str | Path,
    settings: TrainingSettings | None = None,
    *,
    development: str | Path | Collection | None = None,
    language: str | None = None,
    overwrite: bool = False,
    trust_remote_code: bool = False,
    show_progress_bar: bool | None = None,
) -> TrainingReport:
    """Train a sparse or dense encoder and write the result to a folder.

    A run that was interrupted goes on from its last checkpoint when it is called again with the same arguments. Under
    ``torchrun`` every process calls this, and the first one writes.

    Args:
        model: Built-in name, folder or hub id of a SparseEncoder or SentenceTransformer.
        train_data: File or hub id, as for :func:`read_training_data`.
        folder: Where the result goes, a plain encoder folder; checkpoints stand in it until then.
        settings: How to train; None takes the defaults.
        development: Collection, as for :func:`isthmus.load_collection`, on which nDCG@10 is measured before training
            and every ``save_steps``; the best checkpoint is kept and the run stops early without progress.
        language: ISO 639-1 code of that collection.
        overwrite: Replace the encoder in ``folder``, and checkpoints there that were made with other settings.
        trust_remote_code: Run code that comes with the model.
        show_progress_bar: None shows it on a terminal.

    Returns:
        What was done, as it is also written to ``training_report.json``.

    Raises:
        NotFoundError: If the model, the data or the collection is not there.
        InputError: If data, settings or checkpoints do not fit.
        EncoderError: If the model is none.
        OutputError: If the folder holds something else, or cannot be written.
        TrainingError: If the loss or the vectors break down, or the rows do not last for the steps.
        MissingExtraError: If ``accelerate`` or ``datasets`` is not installed.
    """
    check_start(folder, overwrite=overwrite)
    from isthmus.training.objective import choose_loss, training_task

    settings = settings or TrainingSettings()
    data = read_training_data(train_data, limit=settings.limit_rows)
    task = training_task(data, choose_loss(settings, data), settings)
    return run_task(
        model,
        task,
        folder,
        settings,
        development=development,
        language=language,
        overwrite=overwrite,
        trust_remote_code=trust_remote_code,
        show_progress_bar=show_progress_bar,
    )


def check_start(folder: str | Path, *, overwrite: bool) -> None:
    """Refuse before anything is read what a run would fail of at its end.

    Raises:
        MissingExtraError: If ``accelerate`` or ``datasets`` is not installed.
        OutputError: If the folder holds something else, or cannot be written.
    """
    for package in ("accelerate", "datasets"):
        if find_spec(package) is None:
            raise MissingExtraError(package, "train")
    output.check_output(Path(folder), overwrite=overwrite)


def run_task(
    model: str | Path,
    task: Task,
    folder: str | Path,
    settings: TrainingSettings,
    *,
    development: str | Path | Collection | None,
    language: str | None,
    overwrite: bool,
    trust_remote_code: bool,
    show_progress_bar: bool | None,
) -> TrainingReport:
    """Load an encoder, train it on a task and write it; arguments and errors as for :func:`train`."""
    folder = Path(folder)
    settings = replace(settings, bf16=resolve_bf16(settings.bf16))
    if development is not None and not isinstance(development, Collection):
        development = load_collection(development, language=language)
    encoder = load_encoder(model, trust_remote_code=trust_remote_code, whole=True).float()
    _check_encoder(encoder, settings)
    warned = _lexical_warnings(encoder)
    if is_first_process():
        for warning in warned:
            # At once as well as in the report, which comes after hours.
            warnings.warn(warning, stacklevel=3)
    source, processes = transfer_folder(model), int(os.environ.get("WORLD_SIZE", "1"))
    card = encoder.model_card_data
    card.license = read_license(encoder, local_folder(model))
    # The trainer would draw texts of the training data for the head of the model card.
    card.set_widget_examples = lambda dataset: None
    card.add_tags(list(task.tags))
    identity = {
        **settings.identity(),
        **task.settings,
        "model": output.weights_digest(encoder),
        "train_data": task.digest,
        "development": None if development is None else development.name,
        "processes": processes,
    }
    goes_on = output.check_settings(folder, identity, overwrite=overwrite)
    data = task.prepare(encoder)
    with frozen(encoder, settings.freeze, source) as trainable, _fused(encoder, settings):
        heads = _count_fused(encoder)
        begins = None if goes_on else identity
        run = _run(encoder, data, development, settings, folder, begins, show_progress_bar)
    stated = settings.to_dict() | task.settings
    recipe = None if settings.recipe is None else find_recipe(settings.recipe).stated(stated)
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


def is_first_process() -> bool:
    """Whether this process is the one that writes and prints; always, without ``torchrun``."""
    return os.environ.get("RANK", "0") == "0"


def _run(
    encoder: Any,
    data: Prepared,
    development: Collection | None,
    settings: TrainingSettings,
    folder: Path,
    begins: dict[str, Any] | None,
    show_progress_bar: bool | None,
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
        return output.last_checkpoint(folder)

    show = wanted(show_progress_bar) and is_first_process()
    trainer, checkpoint = build_trainer(encoder, data, development, settings, folder, prepare, show=show)
    started = time.perf_counter()
    state = None if checkpoint is None else finished(checkpoint, settings.patience)
    if checkpoint is None or state is None:
        trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
        state = trainer.state
    else:
        # The trainer would take one more step before it notices.
        best = state.best_model_checkpoint if development is not None else None
        weights = checkpoint if best is None else folder / output.CHECKPOINTS / Path(best).name
        encoder.load_state_dict(load_encoder(weights, trust_remote_code=encoder.trust_remote_code).state_dict())
    seconds = time.perf_counter() - started
    stopped_early = state.global_step < state.max_steps and stalled(state.log_history, settings.patience)
    if state.global_step < state.max_steps and not stopped_early:
        raise TrainingError(
            f"the run must take {state.max_steps} steps, got {state.global_step}: too few of {len(data)} rows have "
            f"texts of their own for batches of {settings.batch_size} in every process; lower batch_size or the number "
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


def _check_encoder(encoder: Any, settings: TrainingSettings) -> None:
    from sentence_transformers import SparseEncoder

    if settings.target_active_dims is not None and not isinstance(encoder, SparseEncoder):
        raise InputError(
            f"target_active_dims must be left out for a dense encoder, got {settings.target_active_dims}; all of its "
            "dimensions are active"
        )
    own = encoder.max_seq_length
    if settings.max_length is not None and own is not None and settings.max_length > own:
        raise InputError(f"max_length must be at most the encoder's own {own}, got {settings.max_length}")


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
def _fused(encoder: Any, settings: TrainingSettings) -> Iterator[None]:
    from sentence_transformers import SparseEncoder

    from isthmus.modules.fuse import fuse_head, unfuse_head

    if settings.stock_head or not isinstance(encoder, SparseEncoder):
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
