"""JSON from outside becomes a frozen dataclass: what does not fit its type is refused, and the field is named."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from pathlib import PurePosixPath, PureWindowsPath
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

Made = TypeVar("Made")
_NAMES = {dict: "an object", tuple: "a list", str: "a string", int: "a whole number", float: "a finite number"}
_NAMES |= {bool: "true or false", NoneType: "null"}


def made(kind: type[Made], content: Any, where: str = "") -> Made:
    """An object of a dataclass from what JSON says, its parts likewise.

    Args:
        kind: The dataclass.
        content: What :func:`dataclasses.asdict` and JSON made of one.
        where: Put before the names of fields.

    Raises:
        ValueError: If a field is missing, unknown or of another type, or the class refuses it; names the field.
    """
    content = _of(content, dict, where or "it")
    lead = f"{where}." if where else ""
    known = {field.name: field for field in fields(kind)}  # type: ignore[arg-type]
    for name in content:
        if name not in known:
            raise ValueError(f"{lead}{name:.40} is no field of it")
    missing = [
        n for n, f in known.items() if n not in content and f.default is MISSING and f.default_factory is MISSING
    ]
    if missing:
        raise ValueError(f"{lead}{missing[0]} is missing")
    kinds = get_type_hints(kind)
    values = {name: checked(kinds[name], value, lead + name) for name, value in content.items()}
    try:
        return kind(**values)
    except ValueError as error:
        raise ValueError(f"{lead}{error}") from error


def checked(kind: Any, value: Any, where: str) -> Any:
    """A value of JSON as the type that is wanted.

    Args:
        kind: A dataclass, a plain type, or a tuple, mapping, choice or union of them.
        value: What JSON says.
        where: Names it.

    Raises:
        ValueError: If it is of another; names it.
    """
    origin, inner = get_origin(kind), get_args(kind)
    if kind is Any:
        return value
    if origin in (Union, UnionType):
        if value is None and NoneType in inner:
            return None
        return checked(next(one for one in inner if one is not NoneType), value, where)
    if origin is Literal:
        if value not in inner:
            raise ValueError(f"{where} must be one of {', '.join(map(repr, inner))}, got {value!r:.40}")
        return value
    if is_dataclass(kind):
        return made(kind, value, where)  # type: ignore[arg-type]
    if origin in (tuple, list):
        listed = [checked(inner[0], one, f"{where}[{place}]") for place, one in enumerate(_of(value, tuple, where))]
        return origin(listed)
    if origin in (dict, Mapping):
        return {name: checked(inner[1], one, f"{where}[{name!r:.40}]") for name, one in _of(value, dict, where).items()}
    return _of(value, kind, where)


def is_inside(name: str) -> bool:
    """Whether a path that a file names stays in the folder of that file, whatever the system; empty is the folder."""
    paths = (PurePosixPath(name), PureWindowsPath(name))
    return not any(path.is_absolute() or path.drive or ".." in path.parts for path in paths) and "\0" not in name


def _of(value: Any, kind: Any, where: str) -> Any:
    taken = {float: (int, float), tuple: (list, tuple)}.get(kind, kind)
    fits = isinstance(value, taken) and (kind is bool or not isinstance(value, bool))
    if not fits or (kind is float and not math.isfinite(value)):
        raise ValueError(f"{where} must be {_NAMES[kind]}, got {value!r:.40}")
    return float(value) if kind is float else value
