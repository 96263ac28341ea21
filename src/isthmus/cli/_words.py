"""The flags of ``--lexical``: the options that go with it, and where the encoder goes."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

from isthmus.errors import InputError
from isthmus.lexical.options import LexicalOptions

Asked = TypeVar("Asked", bound=LexicalOptions)
_FLAGS = {name: f"--lexical-{name}" for name in ("weight", "trim", "pairs")}


def read_lexical(options: type[Asked], given: dict[str, Any], **others: Any) -> Asked | None:
    """The options that were given; None without ``--lexical``.

    Args:
        options: Their class.
        given: What the command line said, by name of field.
        others: Further options that mean nothing without ``--lexical``, by their names in Python; None where not given.

    Raises:
        InputError: If there are others without ``--lexical``, a number is out of its range, or nothing is left to add.
    """
    if "mode" not in given:
        named = {_FLAGS.get(name, f"--{name.replace('_', '-')}"): value for name, value in (given | others).items()}
        for flag, value in named.items():
            if value is not None:
                flag = "--no-calibrate" if value is False else flag
                raise InputError(f"{flag} must come with --lexical, got it alone; add --lexical echo or hybrid")
        return None
    mode, weight, trim = given["mode"], given.get("weight"), given.get("trim")
    if mode == "none" and given.get("calibrate") is False:
        raise InputError("--lexical none must not come with --no-calibrate: nothing would be added; leave both out")
    if mode == "none" and weight is not None:
        raise InputError(f"--lexical-weight must come with --lexical echo or hybrid, got {weight} with none")
    if weight is not None and not weight > 0:
        raise InputError(f"--lexical-weight must be above 0, got {weight}; --lexical none calibrates alone")
    if trim is not None and min(trim) < 1:
        raise InputError(f"--lexical-trim must be two numbers of 1 or more, got {trim[0]} {trim[1]}; leave it out")
    return options(**given)


def place_for_encoder(output: str, folder: Path | None, corpus: str) -> Path:
    """Where the encoder of an index or an encoding goes.

    Args:
        output: The index or encoding.
        folder: What was asked for; None takes one beside the output.
        corpus: What the encoder is fitted to.

    Raises:
        InputError: If the output is no folder and none is given, or the corpus cannot be read twice.
    """
    from isthmus.engines import is_engine_url
    from isthmus.index.encoded_header import HEADER
    from isthmus.reading.corpus import STDIN

    if folder is None and is_engine_url(output):
        raise InputError(f"--lexical-folder must be given for {output}, got none; name a folder that will be kept")
    if corpus == STDIN:
        raise InputError(
            "CORPUS must be a file with --lexical, got - (stdin): it is read twice; save it to a file first"
        )
    if (Path(corpus) / HEADER).is_file():
        raise InputError(
            f"CORPUS must be text with --lexical, got the encoded folder {corpus}; give --lexical to isthmus encode"
        )
    path = Path(output)
    return folder or path.with_name(f"{path.name}.encoder")
