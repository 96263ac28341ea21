"""A trainer of sentence-transformers, put together for one run."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from safetensors import SafetensorError
from sentence_transformers import (
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
    SparseEncoder,
    SparseEncoderTrainer,
    SparseEncoderTrainingArguments,
)
from sentence_transformers.base.modules import Router
from sentence_transformers.base.sampler import BatchSamplers
from sentence_transformers.sparse_encoder.callbacks import SpladeRegularizerWeightSchedulerCallback
from transformers import PrinterCallback

from isthmus.encoders.prompts import Role, prompt_name
from isthmus.errors import InputError, OutputError
from isthmus.losses.roles import is_query
from isthmus.training.batching import BatchCollator, OwnTextsBatchSampler, RowCount
from isthmus.training.callbacks import METRIC, ActiveDimsController, Checkpoints, Development, EarlyStop, Monitor
from isthmus.training.options import TrainerOptions
from isthmus.training.output import CHECKPOINTS
from isthmus.training.task import Prepared


class _Saving:
    """Says what to do when a checkpoint cannot be written, whatever the libraries that write it raise."""

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        try:
            super()._save_checkpoint(model, trial)  # type: ignore[misc]
        except (OSError, SafetensorError, RuntimeError) as error:
            # What torch raises where a file cannot be written.
            if isinstance(error, RuntimeError) and "inline_container" not in str(error):
                raise
            reason = str(error).splitlines()[0]
            raise OutputError(
                f"{self.args.output_dir} cannot be written ({reason}); free space, then run the command again: it "  # type: ignore[attr-defined]
                "goes on from the last checkpoint"
            ) from error


class _SparseTrainer(_Saving, SparseEncoderTrainer):  # type: ignore[misc]
    pass


class _DenseTrainer(_Saving, SentenceTransformerTrainer):  # type: ignore[misc]
    pass


def build_trainer(
    encoder: Any,
    data: Prepared,
    options: TrainerOptions,
    folder: Path,
    prepare: Callable[[], Path | None],
    *,
    show: bool,
) -> tuple[Any, Path | None]:
    """A trainer that is ready to run, and the checkpoint to go on from.

    Args:
        encoder: What to train, in place.
        data: Rows to train on, and the loss.
        options: How to train, the development collection loaded.
        folder: The run's folder.
        prepare: Called once the processes know each other; gives the checkpoint to go on from, or None.
        show: Show a progress bar.

    Raises:
        InputError: If the processes cannot each have a full batch.
    """
    sparse, development = isinstance(encoder, SparseEncoder), options.development
    arguments: dict[str, Any] = {
        **_arguments(data, options, folder),
        **_roles(encoder, data),
        "disable_tqdm": not show,
    }
    if development is not None:
        arguments |= {
            "eval_strategy": "steps",
            "eval_steps": options.save_steps,
            "load_best_model_at_end": True,
            "metric_for_best_model": f"eval_{METRIC}",
            "greater_is_better": True,
        }
    args_of: Any = SparseEncoderTrainingArguments if sparse else SentenceTransformerTrainingArguments
    trainer_of: Any = _SparseTrainer if sparse else _DenseTrainer
    args = args_of(**arguments)
    # Asking for the device is what brings the process group up.
    _ = args.device
    checkpoint = prepare()
    args.eval_on_start = development is not None and checkpoint is None
    module = data.build_loss(encoder)
    trainer = trainer_of(
        encoder,
        args,
        train_dataset=Dataset.from_dict({**data.texts, **data.labels}),
        loss=module,
        evaluator=None if development is None else Development(development, batch_size=options.batch_size),
        callbacks=_callbacks(module if sparse else None, options, checkpoint, early=development is not None),
    )
    # Here and not on the encoder, so that evaluations and the result keep its own length.
    trainer.data_collator.max_length = options.max_length
    trainer.data_collator = BatchCollator(trainer.data_collator, data)
    trainer.add_callback(RowCount(trainer.data_collator.sizes))
    # It prints every log entry to stdout, which belongs to the report.
    trainer.remove_callback(PrinterCallback)
    return trainer, checkpoint


def _arguments(data: Prepared, options: TrainerOptions, folder: Path) -> dict[str, Any]:
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    at_once = options.batch_size * processes
    # What is left over at the end of an epoch would be filled up with rows that may have a text in common with it.
    drop_last = data.distinct and processes > 1
    if drop_last and len(data) < at_once:
        raise InputError(
            f"batch_size times the number of processes must be at most the number of rows, got {options.batch_size} "
            f"times {processes} for {len(data)} rows; lower batch_size or the number of processes, or add rows"
        )
    per_epoch = len(data) // at_once if drop_last else math.ceil(len(data) / at_once)
    expected = options.steps or max(1, math.floor(per_epoch * options.epochs))
    return {
        "output_dir": str(folder / CHECKPOINTS),
        "max_steps": options.steps or -1,
        "num_train_epochs": options.epochs,
        "per_device_train_batch_size": options.batch_size,
        "learning_rate": options.learning_rate,
        "lr_scheduler_type": options.scheduler,
        "warmup_steps": options.warmup,
        "weight_decay": 0.0,
        "batch_sampler": OwnTextsBatchSampler if data.distinct else BatchSamplers.BATCH_SAMPLER,
        "dataloader_drop_last": drop_last,
        "bf16": options.bf16,
        "use_cpu": not torch.cuda.is_available(),
        "dataloader_pin_memory": torch.cuda.is_available(),
        "save_strategy": "steps",
        "save_steps": options.save_steps,
        "logging_steps": min(options.logging_steps, expected),
        "logging_nan_inf_filter": False,
        "report_to": "none",
        "seed": options.seed,
        "data_seed": options.seed,
    }


def _roles(encoder: Any, data: Any) -> dict[str, Any]:
    """Prompts and routes by column, those that the encoder itself uses for queries and documents."""
    roles: dict[str, Role] = {column: "query" if is_query(column) else "document" for column in data.texts}
    prompts = {}
    for column, role in roles.items():
        name = prompt_name(encoder, role)
        if name is not None and encoder.prompts.get(name):
            prompts[column] = encoder.prompts[name]
    routed = any(isinstance(module, Router) for module in encoder.children())
    return {"prompts": prompts or None, "router_mapping": roles if routed else {}}


def _callbacks(loss: Any, options: TrainerOptions, checkpoint: Path | None, *, early: bool) -> list[Any]:
    warmup = options.regularizer_warmup
    found: list[Any] = [Monitor(loss, max_active_share=options.max_active_share, warmup=warmup)]
    if loss is not None:
        scheduler = SpladeRegularizerWeightSchedulerCallback(loss, warmup_ratio=warmup)
        found.append(scheduler)
        if options.target_active_dims is not None:
            found.append(ActiveDimsController(loss, scheduler, options.target_active_dims, checkpoint))
    if early:
        found.append(EarlyStop(options.patience))
    # Behind those that write to a checkpoint themselves.
    return [*found, Checkpoints()]
