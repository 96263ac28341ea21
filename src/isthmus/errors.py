"""Every exception that Isthmus raises on purpose.

::

    IsthmusError
    ├── InputError (ValueError)            an argument or a file's content does not fit
    │   ├── TokenizerError                 a tokenizer that cannot be a source or a target
    │   ├── EncoderError                   an encoder that cannot be transferred or evaluated
    │   ├── BridgeError                    bridge vectors that do not fit the vocabularies
    │   ├── TokenMapError                  a token map that does not fit, or a damaged file of one
    │   ├── CollectionError                a collection that is malformed; names file and line
    │   └── UnknownNameError               a method, metric or asset nobody knows; lists those that exist
    ├── NotFoundError (FileNotFoundError)  a path, collection or model that is not there
    ├── OutputError (OSError)              a result that cannot be written; nothing half-written is left
    └── MissingExtraError (ImportError)    an optional package is not installed; names the pip line

Messages name the argument, the value and the remedy: "X must ..., got Y; do Z".
"""

from __future__ import annotations

from collections.abc import Iterable


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


class UnknownNameError(InputError):
    """A name is not in a registry.

    Args:
        what: What was looked up, in the singular ("method").
        name: The name that was given.
        known: The names that exist.
    """

    def __init__(self, what: str, name: str, known: Iterable[str]) -> None:
        super().__init__(f"{what} must be one of {', '.join(sorted(known))}; got {name!r}")


class NotFoundError(IsthmusError, FileNotFoundError):
    """A path, collection or model is not there."""


class OutputError(IsthmusError, OSError):
    """A result cannot be written."""


class MissingExtraError(IsthmusError, ImportError):
    """An optional package is not installed.

    Args:
        package: The import name that failed.
        extra: The extra of this package that brings it.
    """

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(f"{package} is not installed; run: pip install 'isthmus[{extra}]'")
