"""Flags made from option classes, and help that shows them by panel."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

import typer
from typer.core import TyperCommand, TyperOption

from isthmus.cli._completion import completing
from isthmus.options import Flag, Options, flag_of, kinds_of

PANELS = ("Common", "Method", "Ablation", "Output")
CONTEXT = "context"

Json = Annotated[
    bool, typer.Option("--json", help="Print the outcome as JSON, one object a line.", rich_help_panel="Output")
]

Folder = Annotated[
    Path, typer.Option("--folder", "-o", help="Folder to write to.", rich_help_panel="Output", show_default=False)
]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace what is in the output folder.", rich_help_panel="Output")
]


def flags(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command a flag for every option of its parameters that are annotated with an option class.

    The command receives the object; a parameter annotated ``Annotated[dict, OptionClass]`` receives only what the
    command line said, by name of field, with files that take long unread, see :func:`read_late`. With ``--json``
    nothing shows its progress.
    """
    signature = inspect.signature(command, eval_str=True)
    bundles = {name: found for name, made in signature.parameters.items() if (found := _class_of(made.annotation))}
    parameters = [inspect.Parameter(CONTEXT, inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context)]
    for name, parameter in signature.parameters.items():
        if name in bundles:
            parameters += [_parameter(entry, flag, bundles[name]) for entry, flag in _flags_of(bundles[name])]
        elif name != CONTEXT:
            parameters.append(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY))

    @functools.wraps(command)
    def run(**values: Any) -> None:
        context = values[CONTEXT]
        if CONTEXT not in signature.parameters:
            values.pop(CONTEXT)
        for name, options in bundles.items():
            taken = [(entry.name, flag, values.pop(entry.name)) for entry, flag in _flags_of(options)]
            late = _is_given(signature.parameters[name].annotation)
            given = {
                field: _value(flag, value, late=late)
                for field, flag, value in taken
                if context.get_parameter_source(field).name != "DEFAULT"
            }
            if values.get("json") and "show_progress_bar" in kinds_of(options):
                given["show_progress_bar"] = False
            values[name] = given if late else options(**given)
        command(**values)

    del run.__wrapped__
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run


def read_late(given: Mapping[str, Any], *bundles: type[Options]) -> dict[str, Any]:
    """Read the files that were only looked for when the command line was parsed.

    Args:
        given: What a command was given, by name of field.
        *bundles: Classes of these fields.
    """
    late = {entry.name: flag.read for cls in bundles for entry, flag in _flags_of(cls) if flag.check and flag.read}
    return {name: late[name](value) if name in late else value for name, value in given.items()}


class PanelCommand(TyperCommand):
    """A command whose help has a section for every panel, without boxes, which cut option names off at 80 columns."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the arguments, and then the options by panel."""
        sections: dict[str, list[tuple[str, str]]] = {"Arguments": [], **{panel: [] for panel in PANELS}}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None:
                panel = parameter.rich_help_panel or PANELS[0] if isinstance(parameter, TyperOption) else "Arguments"
                sections[panel].append(record)
        sections["Output"] += sections["Common"][-1:]
        del sections["Common"][-1:]
        named = [title for title, records in sections.items() if records and title != "Arguments"]
        for title, records in sections.items():
            if records:
                with formatter.section("Options" if named == [title] else title):
                    formatter.write_dl(records)


def _value(flag: Flag, value: Any, *, late: bool) -> Any:
    """The field's value of the flag's, which stays as it is where it is read later."""
    if flag.check is not None:
        flag.check(value)
        if late:
            return value
    return value if flag.read is None else flag.read(value)


def _flags_of(options: Any) -> list[tuple[Field[Any], Flag]]:
    """Fields with a flag, those of the class itself before those of the bundles it takes."""
    own = [name for cls in options.__mro__ for name in vars(cls).get("__annotations__", ())]
    entries = sorted(fields(options), key=lambda entry: own.index(entry.name))
    return [(entry, flag) for entry in entries if (flag := flag_of(entry)) is not None]


def _class_of(annotation: Any) -> type[Options] | None:
    found = get_args(annotation)[1] if _is_given(annotation) else annotation
    return found if isinstance(found, type) and issubclass(found, Options) else None


def _is_given(annotation: Any) -> bool:
    arguments = get_args(annotation) if hasattr(annotation, "__metadata__") else ()
    return bool(arguments) and (get_origin(arguments[0]) or arguments[0]) is dict


def _parameter(entry: Field[Any], flag: Flag, options: type[Options]) -> inspect.Parameter:
    kind = flag.kind or kinds_of(options)[entry.name]
    name = entry.name.replace("_", "-")
    # A second name gives way to an option that has it as its own: --split of evaluate chooses judgements.
    names = tuple(name for name in flag.names if name not in {f"--{other.name}" for other in fields(options)})
    if not names and kind is bool:
        # A switch that is on needs another one that turns it off.
        names = (f"--{name}/--no-{name}" if entry.default is True else f"--{name}",)
    info = typer.Option(
        *(names or (f"--{name}",)),
        # Told and not handed on: the class says it better than Typer, which leaves the value out.
        help=f"{flag.help.removesuffix('.')} ({flag.range()})." if flag.range() else flag.help,
        rich_help_panel=flag.panel,
        show_default=flag.shown or entry.default not in (None, MISSING),
        metavar=flag.metavar,
        autocompletion=None if flag.complete is None else completing(flag.complete),
    )
    default = None if flag.kind is not None else entry.default
    if entry.default is MISSING:
        default = inspect.Parameter.empty if entry.default_factory is MISSING else None
    elif flag.kind is not None:
        kind = kind | None
    return inspect.Parameter(
        entry.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, info]
    )
