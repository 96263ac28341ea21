"""Every exception that Isthmus raises on purpose.

::

    IsthmusError
    ├── InputError (ValueError)            an argument or a file's content does not fit
    │   ├── TokenizerError                 a tokenizer that cannot be a source or a target
    │   ├── EncoderError                   an encoder that cannot be transferred or evaluated
    │   ├── BridgeError                    bridge vectors that do not fit the vocabularies
    │   ├── TokenMapError                  a token map that does not fit, or a damaged file of one
    │   ├── CollectionError                a collection that is malformed; names file and line
    │   ├── IndexFileError                 an index or encoding on disk that is damaged or of a later version
    │   └── UnknownNameError               a method, metric or asset nobody knows; lists those that exist
    ├── NotFoundError (FileNotFoundError)  a path, collection or model that is not there
    ├── OutputError (OSError)              a result that cannot be written; nothing half-written is left
    ├── TrainingError                      a model that breaks down while it trains: no finite loss, collapsed vectors
    ├── EngineError                        a search server that does not answer or refuses a request
    │   └── EngineAwayError                a search server that cannot be reached at any of its addresses
    ├── WorkerError                        a process or node that worked for this one died
    └── MissingExtraError (ImportError)    an optional package is not installed; names the pip line

Messages name the argument, the value and the remedy: "X must ..., got Y; do Z".
"""

from __future__ import annotations

import difflib
import shlex
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path


class IsthmusError(Exception):
    """Base of all exceptions raised on purpose."""


class InputError(IsthmusError, ValueError):
    """An argument or a file's content does not fit."""


class TokenizerError(InputError):
    """A tokenizer cannot be used as source or target."""


class EncoderError(InputError):
    """An encoder cannot be transferred or evaluated."""


class BridgeError(InputError):
    """Bridge vectors do not fit the vocabularies."""


class TokenMapError(InputError):
    """A token map does not fit what it is applied to, or its file is damaged."""


class CollectionError(InputError):
    """A collection is malformed."""


class IndexFileError(InputError):
    """An index or an encoding on disk is damaged, or of a later version."""


class UnknownNameError(InputError):
    """A name is not in a registry.

    Args:
        what: What was looked up, in the singular ("method").
        name: The name that was given.
        known: The names that exist.
    """

    def __init__(self, what: str, name: str, known: Iterable[str]) -> None:
        names = sorted(known)
        nearest = difflib.get_close_matches(name, names, n=1)
        hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
        super().__init__(f"{what} must be one of {', '.join(names)}; got {name!r}{hint}")


class NotFoundError(IsthmusError, FileNotFoundError):
    """A path, collection or model is not there."""


class OutputError(IsthmusError, OSError):
    """A result cannot be written."""


class TrainingError(IsthmusError):
    """Training broke down: the loss is not a number, the vectors collapsed, or the rows did not last for the steps."""


class EngineError(IsthmusError):
    """A search server does not answer or refuses a request."""


class EngineAwayError(EngineError):
    """A search server cannot be reached at any of its addresses: connections are refused, or not taken in time."""


class WorkerError(IsthmusError):
    """A process or node that worked for this one died."""


class MissingExtraError(IsthmusError, ImportError):
    """An optional package is not installed.

    Args:
        package: The import name that failed.
        extra: The extra of this package that brings it.
    """

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(f"{package} is not installed; run: {install_command(extra)}")


def install_command(extra: str) -> str:
    """The shell command that adds an extra to the environment that runs this: from a release, or from a checkout."""
    root = Path(__file__).parents[2]
    beside = shutil.which("pip")
    own = beside is not None and Path(beside).parent == Path(sys.executable).parent
    pip = "pip" if own else f"{shlex.quote(sys.executable)} -m pip"
    if not (root / "pyproject.toml").is_file() or not (root / "constraints.txt").is_file():
        return f"{pip} install {shlex.quote(f'isthmus[{extra}]')}"
    here = Path.cwd() == root
    constraints, package = ("constraints.txt", ".") if here else (str(root / "constraints.txt"), str(root))
    return f"{pip} install -c {shlex.quote(constraints)} -e {shlex.quote(f'{package}[{extra}]')}"
