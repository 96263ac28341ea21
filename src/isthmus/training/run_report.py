"""What a training run did, to print and to keep beside the encoder."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from isthmus.reading.storage import atomic_write

FILE = "training_report.json"


@dataclass(frozen=True)
class TrainingReport:
    """Outcome of a training run.

    Attributes:
        model: What was trained: built-in name, folder or hub id.
        data: Name, rows, columns and hash of the training data; under ``unlabelled`` which pairs were made of
            unlabelled text.
        settings: The settings, with those that were chosen (loss, bf16) filled in.
        steps: Optimiser steps of the run, those before an interruption included.
        resumed_from: Step of the checkpoint that the last start went on from; None for a run in one go.
        stopped_early: Whether the development collection ended it.
        kept_step: Step whose weights are in the result.
        log: Losses, rows per step and active dimensions every ``logging_steps``, in order.
        development: nDCG@10 before training, best of it and every evaluation; None without a collection.
        processes: Processes that trained together.
        trainable: Values that were not frozen.
        fused_heads: Vocabulary heads that were trained through :func:`isthmus.fuse_head`.
        seconds: Wall time of the last start, without loading.
        versions: Versions of the packages that influence the result.
        warnings: What the result may suffer from.
        recipe: The paper's recipe that the settings come from, where each of its values is known from, and what was
            changed; None without one.
    """

    model: str
    data: dict[str, Any]
    settings: dict[str, Any]
    steps: int
    resumed_from: int | None
    stopped_early: bool
    kept_step: int
    log: list[dict[str, Any]]
    development: dict[str, Any] | None
    processes: int
    trainable: int
    fused_heads: int
    seconds: float
    versions: dict[str, str | None]
    warnings: tuple[str, ...] = ()
    recipe: dict[str, Any] | None = None

    def to_dict(self) -> dict[str, Any]:
        """JSON values under stable keys."""
        return asdict(self) | {"rows_per_step": self.rows_per_step, "warnings": list(self.warnings)}

    @property
    def rows_per_step(self) -> float | None:
        """Rows per step in the first process, mean over the log; None where nothing was counted."""
        counted = [entry["rows_per_step"] for entry in self.log if "rows_per_step" in entry]
        return sum(counted) / len(counted) if counted else None

    def save(self, folder: str | Path) -> None:
        """Write ``training_report.json`` into ``folder``, whole or not at all.

        Raises:
            OutputError: If it cannot be written.
        """
        text = json.dumps(self.to_dict(), ensure_ascii=False, indent=2)
        atomic_write(Path(folder) / FILE, (text + "\n").encode())

    def __str__(self) -> str:
        """A headline and a few labelled lines."""
        lines = [f"Trained {self.steps} steps on {self.data['rows']} rows in {self.seconds:.1f} s"]
        if "unlabelled" in self.data:
            lines.append(f"  pairs       {_made(self.data['unlabelled'])}")
        if self.recipe is not None:
            changed = ", ".join(self.recipe["changed"])
            lines.append(f"  recipe      {self.recipe['recipe']}{f'; changed: {changed}' if changed else ''}")
        rows, size = self.rows_per_step, self.settings["batch_size"]
        if rows is not None and rows < size:
            lines.append(f"  rows        {rows:.1f} per step, of a batch size of {size}")
        losses = [entry["loss"] for entry in self.log]
        if losses:
            lines.append(f"  loss        {losses[0]:.4f} to {losses[-1]:.4f} ({self.settings['loss']})")
            last = self.log[-1]
            if "document_active_dims" in last:
                query = last.get("query_active_dims")
                per_query = "" if query is None else f"{query:.0f} per query, "
                weight = f"document weight {last['document_regularizer_weight']:.3g}"
                lines.append(f"  dims        {per_query}{last['document_active_dims']:.0f} per document, {weight}")
        if self.development:
            found = self.development
            end = f"best {found['best']:.3f} at step {self.kept_step}"
            lines.append(f"  ndcg@10     {found['before']:.3f} before, {end}{', stopped' * self.stopped_early}")
        if self.resumed_from is not None:
            lines.append(f"  resumed     from step {self.resumed_from}")
        if self.warnings:
            lines.append(f"  warnings    {'; '.join(self.warnings)}")
        return "\n".join(lines)


def _made(made: dict[str, Any]) -> str:
    """Which pairs came of unlabelled text, and what was left out."""
    kinds = ", ".join(f"{number} by {kind}" for kind, number in made["pairs"].items())
    kept = f" ({made['snippets_kept']} left in)" if "snippet" in made["pairs"] else ""
    left_out = ", ".join(f"{number} {reason}" for reason, number in made["left_out"].items())
    return f"{kinds}{kept}; {made['documents']} unlabelled documents{f'; left out: {left_out}' if left_out else ''}"
