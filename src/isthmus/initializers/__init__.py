"""Methods that say which source tokens make each target token: one file and one line here per method."""

from __future__ import annotations

from dataclasses import field, fields, make_dataclass, replace
from typing import Any

from isthmus.errors import InputError, UnknownNameError
from isthmus.initializers.base import Initializer, RowProblem
from isthmus.initializers.focus import Focus
from isthmus.initializers.gaussian import Gaussian
from isthmus.initializers.mean import Mean
from isthmus.initializers.multivariate_gaussian import MultivariateGaussian
from isthmus.initializers.nearest import Nearest
from isthmus.initializers.ofa import OFA
from isthmus.initializers.random import Random
from isthmus.initializers.sembridge import SemBridge
from isthmus.options import Options, flag_of, kinds_of

INITIALIZERS: dict[str, type[Any]] = {
    "sembridge": SemBridge,
    "focus": Focus,
    "ofa": OFA,
    "nearest": Nearest,
    "mean": Mean,
    "gaussian": Gaussian,
    "multivariate-gaussian": MultivariateGaussian,
    "random": Random,
}


def create(method: str, **options: Any) -> Initializer:
    """Make an initializer.

    Args:
        method: A key of ``INITIALIZERS``.
        **options: Fields of that method.

    Raises:
        UnknownNameError: If there is no such method.
        InputError: If the method has no such option, or its value does not fit.

    Example:
        >>> create("nearest", pool="clean")
        Nearest(pool='clean')
    """
    if method not in INITIALIZERS:
        raise UnknownNameError("method", method, INITIALIZERS)
    known = [option.name for option in fields(INITIALIZERS[method])]
    unknown = sorted(options.keys() - set(known))
    if unknown:
        raise InputError(
            f"options of {method} must be among {', '.join(known) or 'none (it has no options)'}, got "
            f"{', '.join(unknown)}; leave them out"
        )
    initializer: Initializer = INITIALIZERS[method](**options)
    return initializer


def _method_options() -> type[Options]:
    """One class of the options of all methods: one flag for each name, whose help says which methods have it."""
    found: dict[str, tuple[Any, Any, Any]] = {}
    owners: dict[str, list[str]] = {}
    for name, method in INITIALIZERS.items():
        for entry in fields(method):
            flag = flag_of(entry)
            if flag is not None:
                owners.setdefault(entry.name, []).append(name)
                text = f"{flag.help} ({', '.join(owners[entry.name])})."
                made = field(default=entry.default, metadata={"flag": replace(flag, help=text)})
                found[entry.name] = (entry.name, kinds_of(method)[entry.name], made)
    return make_dataclass("MethodOptions", found.values(), bases=(Options,), frozen=True)


MethodOptions = _method_options()

__all__ = [
    "INITIALIZERS",
    "OFA",
    "Focus",
    "Gaussian",
    "Initializer",
    "Mean",
    "MethodOptions",
    "MultivariateGaussian",
    "Nearest",
    "Random",
    "RowProblem",
    "SemBridge",
    "create",
]
