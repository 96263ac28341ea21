"""Write the reference of the commands from the commands themselves, when the site is built."""

from __future__ import annotations

from typing import Any

MARK = "<!-- commands -->"


def commands() -> str:
    """Every command with its help, its arguments and its options, as Markdown."""
    import typer

    from isthmus.cli import COMMANDS, app

    group: Any = typer.main.get_command(app)
    sections = []
    for name in COMMANDS:
        context = typer.Context(group, info_name="isthmus")
        command = group.get_command(context, name)
        context = typer.Context(command, info_name=f"isthmus {name}")
        lines = [f"## {name}", "", command.help or "", "", "```text", command.get_usage(context), "```", ""]
        for parameter in command.get_params(context):
            record = parameter.get_help_record(context)
            if record is not None:
                lines.append(f"- `{record[0]}`: {_escaped(record[1])}")
        sections.append("\n".join(lines))
    return "\n\n".join(sections)


def _escaped(text: str) -> str:
    return text.replace("<", "&lt;").replace("*", "\\*").replace("_", "\\_").replace("[", "\\[")


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Called by MkDocs for every page."""
    return markdown.replace(MARK, commands()) if MARK in markdown else markdown
