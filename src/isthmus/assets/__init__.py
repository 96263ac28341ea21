"""The mini models, target tokenizers and demo collection that ship with the package and work offline."""

from __future__ import annotations

from pathlib import Path

from isthmus.errors import NotFoundError, UnknownNameError

PREFIX = "isthmus/"
_ROOT = Path(__file__).parent


def names() -> list[str]:
    """Names of all built-in assets, sorted."""
    return sorted(
        PREFIX + folder.name for folder in _ROOT.iterdir() if folder.is_dir() and not folder.name.startswith("_")
    )


def resolve(name: str) -> Path:
    """Return the folder of a built-in asset.

    Args:
        name: As :func:`names` lists them, for example ``isthmus/mini-bridge``.

    Raises:
        UnknownNameError: If there is no such asset; the hub is never asked for ``isthmus/...``.
    """
    if name not in names():
        raise UnknownNameError("built-in asset", name, names())
    return _ROOT / name.removeprefix(PREFIX)


def resolve_model(name: str | Path) -> str:
    """Turn a built-in name, path or hub id into what ``from_pretrained`` takes.

    Built-in names become their folder; anything that looks like a path must exist; the rest is left to the hub.

    Raises:
        UnknownNameError: If ``name`` starts with ``isthmus/`` and is not built in.
        NotFoundError: If ``name`` is a path that does not exist.
    """
    if isinstance(name, str) and name.startswith(PREFIX):
        return str(resolve(name))
    path = Path(name).expanduser()
    if path.exists():
        return str(path)
    text = str(name)
    if isinstance(name, Path) or text.startswith((".", "/", "~")) or text.count("/") > 1:
        raise NotFoundError(f"{text} does not exist; give a folder, a hub id or one of {', '.join(names())}")
    return text
