"""``isthmus methods``: what can make the rows of new tokens."""

from __future__ import annotations

from dataclasses import fields

from isthmus.cli._options import Json
from isthmus.cli._printing import escape, print_json, print_wrapped


def command(json: Json = False) -> None:
    """List the initialisation methods, what they need and their options.

    Example: isthmus methods --json
    """
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
    for row in rows:
        options = " ".join(f"{key}={value}" for key, value in row["options"].items())
        needs = "needs --bridge or --vectors" if row["needs_bridge"] else "needs no bridge"
        print_wrapped(f"[bold]{row['method']}[/]", escape(f"  {options}") if options else "")
        print_wrapped("  ", escape(f"{row['summary']}; {needs}"))
