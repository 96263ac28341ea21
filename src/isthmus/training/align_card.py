"""What the model card of an aligned encoder says about how it was made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

NAMES = {
    "clear": "CLEAR (arXiv 2604.05821)",
    "proximity": "semantic proximity (arXiv 2604.05684)",
    "infonce": "InfoNCE",
}


def public_name(model: str) -> str:
    """What a model card calls a model: a hub id or built-in name in full, of a folder its own name and its parent's.

    The rest of a local path is nobody else's business.
    """
    path = Path(model)
    if path.exists():
        path = path.resolve()
    return "/".join(path.relative_to(path.anchor).parts[-2:])


def describe(report: dict[str, Any]) -> str:
    """A section of Markdown, from the values of a training report.

    Args:
        report: As :meth:`isthmus.training.TrainingReport.to_dict` gives it.
    """
    data, settings = report["data"], report["settings"]
    lines = [
        "## How this model was aligned",
        "",
        f"`isthmus align` trained {public_name(report['model'])} for {report['kept_step']} steps with "
        f"{NAMES[settings['loss']]} on {data['rows']} rows of {Path(data['name']).name}.",
        "",
        f"- Columns: {', '.join(data['columns'])}",
    ]
    for name, counts in data["counts"].items():
        rows = ", ".join(f"{value} {number}" for value, number in counts.items())
        lines.append(f"- Rows by {name.replace('_', ' ')}: {rows}")
    for positive, mean in data["mined"].items():
        lines.append(
            f"- Negatives of {positive}: mined with the model as it was before, {mean:.1f} per row (skip "
            f"{settings['skip']}, {_last_rank(settings)}max_score {settings['max_score']})"
        )
    rows = report["rows_per_step"]
    mean = "" if rows is None else f"{rows:.1f} rows in the mean, "
    lines.append(
        f"- Batches: {mean}at most {settings['batch_size']}; no two with a text in common, no negative that is a text "
        "of a row there"
    )
    lines.append(f"- Settings: {', '.join(f'{name} {value}' for name, value in _stated(settings).items())}")
    return "\n".join([*lines, ""])


def _last_rank(settings: dict[str, Any]) -> str:
    return "" if settings["last_rank"] is None else f"last_rank {settings['last_rank']}, "


def _stated(settings: dict[str, Any]) -> dict[str, Any]:
    return {name: "none" if value == "" else value for name, value in settings.items() if value is not None}
