"""``isthmus methods``: what can make the rows of new tokens."""

from __future__ import annotations

from dataclasses import fields
from typing import Annotated

import typer

from isthmus.cli._output import print_json, print_table


def command(json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False) -> None:
    """List the initialisation methods, what they need and their options."""
    from isthmus.initializers import INITIALIZERS

    rows = [
        {
            "method": name,
            "summary": method.summary,
            "needs_bridge": method.needs_bridge,
            "options": {option.name: option.default for option in fields(method)},
        }
        for name, method in sorted(INITIALIZERS.items())
    ]
    if json:
        print_json(rows)
        return
    print_table(
        ["method", "bridge", "options", "summary"],
        [
            [
                row["method"],
                "yes" if row["needs_bridge"] else "no",
                " ".join(f"{key}={value}" for key, value in row["options"].items()),
                row["summary"],
            ]
            for row in rows
        ],
    )
