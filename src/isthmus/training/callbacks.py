"""What looks on while a model trains: the guard, the steering of sparsity, and the early stop."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

from sentence_transformers.base.evaluation import BaseEvaluator
from transformers import TrainerCallback, TrainerState

from isthmus.collections import Collection
from isthmus.errors import InputError, TrainingError
from isthmus.evaluation import evaluate_model
from isthmus.reading.disk import put_through, put_through_all, writing
from isthmus.reading.storage import atomic_write, read_json
from isthmus.training.objective import Window
from isthmus.training.output import WHOLE

METRIC = "ndcg@10"
CONTROLLER_FILE = "document_regularizer.json"


class Monitor(TrainerCallback):  # type: ignore[misc]
    """Stops a run that cannot come to anything, and notes active dimensions in every log entry.

    Args:
        loss: A SpladeLoss over :class:`CountedFlops`; None for dense encoders, whose loss alone is looked at.
        max_active_share: Share of active columns that is too much once ``warmup`` is over; 1 allows all.
        warmup: Share of the steps in which vectors may be dense still.
    """

    def __init__(self, loss: Any, *, max_active_share: float, warmup: float) -> None:
        self.loss = loss
        self.max_active_share = max_active_share
        self.warmup = warmup
        self.windows: dict[str, Window] = {}
        if loss is not None:
            self.windows["query"] = loss.query_regularizer.window()
            self.windows["document"] = loss.document_regularizer.window()

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        """Look at a log entry of training; entries of evaluations pass.

        Raises:
            TrainingError: If the loss is not finite, all vectors are zero, or they are dense.
        """
        if not logs or "loss" not in logs:
            return
        step = state.global_step
        if not math.isfinite(logs["loss"]):
            raise TrainingError(
                f"the loss must be finite, got {logs['loss']} at step {step}; lower the learning rate, or turn bf16 off"
            )
        for role, window in self.windows.items():
            mean = window.take()
            if mean is None:
                continue
            state.log_history[-1][f"{role}_active_dims"] = round(mean, 2)
            self._check(role, mean, window.columns, state)
        if self.loss is not None:
            state.log_history[-1]["document_regularizer_weight"] = self.loss.document_regularizer_weight

    def _check(self, role: str, mean: float, columns: int, state: Any) -> None:
        if mean == 0:
            raise TrainingError(
                f"{role} vectors must have active dimensions, got none at step {state.global_step}: the encoder has "
                f"died; lower {role}_regularizer_weight or the learning rate"
            )
        warm = state.global_step > self.warmup * state.max_steps
        if warm and self.max_active_share < 1 and mean > self.max_active_share * columns:
            raise TrainingError(
                f"{role} vectors must have at most {self.max_active_share:.0%} of {columns} columns active, got "
                f"{mean:.0f} at step {state.global_step}; raise {role}_regularizer_weight, or allow it with "
                "max_active_share"
            )


class ActiveDimsController(TrainerCallback):  # type: ignore[misc]
    """Steers the document regulariser so that documents have ``target`` active dimensions on average.

    A proportional-integral controller of the logarithm of the weight, after every step once the weights are warm. With
    d the active dimensions of the step's documents, smoothed, and e = log(d / target) clipped to [-LIMIT, LIMIT]:
    weight *= exp(INTEGRAL * e + PROPORTIONAL * (e - previous e)). While there are too many dimensions, the weight
    grows; as their number falls already, the second term slows that, because a weight that overshoots kills
    dimensions which do not come back.

    Args:
        loss: A SpladeLoss over :class:`CountedFlops`.
        scheduler: The callback that warms its weights up; its maximum is what is steered.
        target: Active dimensions to approach.
        resume: Checkpoint folder to take the weight from, or None.
    """

    INTEGRAL = 0.05
    PROPORTIONAL = 1.0
    SMOOTHING = 0.3
    LIMIT = math.log(4.0)

    def __init__(self, loss: Any, scheduler: Any, target: int, resume: Path | None) -> None:
        self.scheduler = scheduler
        self.target = target
        self.window: Window = loss.document_regularizer.window()
        self.dims: float | None = None
        self.error: float | None = None
        if resume is not None and (resume / CONTROLLER_FILE).exists():
            saved = read_json(resume / CONTROLLER_FILE)
            try:
                self.scheduler.max_document_regularizer_weight = float(saved["weight"])
                self.dims, self.error = (None if saved[n] is None else float(saved[n]) for n in ("dims", "error"))
            except (KeyError, TypeError, ValueError, OverflowError) as error:
                raise InputError(
                    f"{resume / CONTROLLER_FILE} is damaged ({error!r:.80}); start over with --overwrite"
                ) from error

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Multiply the weight."""
        seen = self.window.take()
        if seen is None:
            return
        self.dims = seen if self.dims is None else self.dims + self.SMOOTHING * (seen - self.dims)
        if state.global_step < (self.scheduler.warmup_steps or 0):
            return
        ratio = math.log(max(self.dims, 1e-6) / self.target)
        error = max(-self.LIMIT, min(self.LIMIT, ratio))
        change = self.INTEGRAL * error
        if self.error is not None:
            change += self.PROPORTIONAL * (error - self.error)
        self.error = error
        self.scheduler.max_document_regularizer_weight *= math.exp(change)

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Keep the weight beside the checkpoint, so that a resumed run steers on."""
        if state.is_world_process_zero:
            weight = self.scheduler.max_document_regularizer_weight
            record = {"weight": weight, "dims": self.dims, "error": self.error}
            folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
            atomic_write(folder / CONTROLLER_FILE, json.dumps(record).encode())


class Checkpoints(TrainerCallback):  # type: ignore[misc]
    """Finishes every checkpoint: on the disk, then marked as whole, and only then those before it go.

    The trainer would remove them earlier, and a power cut could leave none. The best one stays.
    """

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Finish the checkpoint of this step."""
        if not state.is_world_process_zero:
            return
        folder = Path(args.output_dir)
        written = folder / f"checkpoint-{state.global_step}"
        with writing(folder):
            put_through_all(written)
            put_through(folder)
            atomic_write(written / WHOLE, b"")
            kept = {written.name, Path(state.best_model_checkpoint or written).name}
            for old in folder.glob("checkpoint-*"):
                if old.name not in kept:
                    # Half of one must not pass for a whole.
                    (old / WHOLE).unlink(missing_ok=True)
                    put_through(old)
                    shutil.rmtree(old, ignore_errors=True)


class Development(BaseEvaluator):  # type: ignore[misc]
    """nDCG@10 on a development collection.

    Args:
        collection: What to search.
        batch_size: Texts per encoding step.
    """

    def __init__(self, collection: Collection, *, batch_size: int) -> None:
        super().__init__()
        self.collection = collection
        self.batch_size = batch_size
        self.primary_metric = METRIC

    def __call__(
        self, model: Any, output_path: str | None = None, epoch: int = -1, steps: int = -1, **kwargs: Any
    ) -> dict[str, float]:
        """Evaluate the model as it is now."""
        result = evaluate_model(model, self.collection, batch_size=self.batch_size, show_progress_bar=False)
        found = {METRIC: result[METRIC]}
        if result.document_active_dims is not None:
            found["development_active_dims"] = result.document_active_dims
        return found


class EarlyStop(TrainerCallback):  # type: ignore[misc]
    """Stops when ``patience`` evaluations in a row were no better than the best before them; evaluates the last step.

    Counts in the trainer's log, which checkpoints keep, so that a resumed run counts on.
    """

    def __init__(self, patience: int) -> None:
        self.patience = patience

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Have the last step evaluated even where it is no multiple of the interval."""
        if state.global_step >= state.max_steps:
            control.should_evaluate = True

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Count."""
        if stalled(state.log_history, self.patience):
            control.should_training_stop = True


def evaluations(log_history: list[dict[str, Any]]) -> list[tuple[int, float]]:
    """(step, nDCG@10) of every evaluation in a trainer's log, one per step."""
    return list({entry["step"]: entry[f"eval_{METRIC}"] for entry in log_history if f"eval_{METRIC}" in entry}.items())


def stalled(log_history: list[dict[str, Any]], patience: int) -> bool:
    """Whether the last ``patience`` evaluations were no better than the best before them."""
    scores = [score for _, score in evaluations(log_history)]
    return bool(scores) and len(scores) - 1 - scores.index(max(scores)) >= patience


def finished(checkpoint: Path, patience: int) -> TrainerState | None:
    """The state of a checkpoint after which there is nothing left to train, else None."""
    state = TrainerState.load_from_json(str(checkpoint / "trainer_state.json"))
    return state if state.global_step >= state.max_steps or stalled(state.log_history, patience) else None
