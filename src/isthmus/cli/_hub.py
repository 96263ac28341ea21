"""Models and tokenizers that are named on the command line: whether they can be opened, before libraries load."""

from __future__ import annotations

import os
import urllib.error
import urllib.request
from collections.abc import Iterable
from pathlib import Path

from isthmus.cli._printing import errors
from isthmus.encoders.preflight import check_stored, stored_path
from isthmus.errors import NotFoundError

TIMEOUT = 10.0


def check_names(
    models: Iterable[str | None],
    tokenizers: Iterable[str | None] = (),
    *,
    argument: str = "model",
    look: Iterable[str] | None = None,
) -> None:
    """Refuse what does not exist or cannot be opened; without a network, leave hub ids to the local cache.

    The hub's library asks for every file of a model six times before it gives up, which takes minutes. It reads
    HF_HUB_OFFLINE when it is imported, so this comes before.

    Args:
        models: Built-in names, folders or hub ids of models.
        tokenizers: The same of tokenizers.
        argument: What messages call a model.
        look: The models whose files are looked at, None for all of them.

    Raises:
        NotFoundError: If a path does not exist, or an id is not in the local cache and the hub cannot be asked.
        UnknownNameError: If a name starts with ``isthmus/`` and is not built in.
        EncoderError: If a folder is no model that can be opened.
        TokenizerError: If a folder is no tokenizer that can be opened.
    """
    models, tokenizers = [[name for name in names if name is not None] for names in (models, tokenizers)]
    remote = [name for name in (*models, *tokenizers) if stored_path(name, argument) is None]
    for name in models if look is None else look:
        check_stored(name, argument)
    for name in tokenizers:
        check_stored(name, "tokenizer", "tokenizer")
    if remote and "HF_HUB_OFFLINE" not in os.environ and not hub_answers():
        errors.print(
            f"the model hub cannot be reached; looking for {', '.join(remote)} among downloaded models",
            soft_wrap=True,
            markup=False,
        )
        os.environ["HF_HUB_OFFLINE"] = "1"
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        _check_downloaded(remote)


def _check_downloaded(names: Iterable[str]) -> None:
    from huggingface_hub import constants

    caches = [os.environ.get("SENTENCE_TRANSFORMERS_HOME"), constants.HF_HUB_CACHE]
    for name in names:
        # Short names are those of the library's own models.
        ids = [name] if "/" in name else [name, f"sentence-transformers/{name}"]
        folders = [Path(cache) / f"models--{one.replace('/', '--')}" for cache in caches if cache for one in ids]
        if not any((folder / "snapshots").is_dir() for folder in folders):
            raise NotFoundError(
                f"{name} does not exist: it is no folder, and not among the models downloaded to "
                f"{constants.HF_HUB_CACHE}; check the name, or go online to download it"
            )


def hub_answers() -> bool:
    """Whether the hub, or its mirror in HF_ENDPOINT, can be connected to; proxies are honoured."""
    address = os.environ.get("HF_ENDPOINT", "https://huggingface.co")
    try:
        with urllib.request.urlopen(urllib.request.Request(address, method="HEAD"), timeout=TIMEOUT):
            return True
    except urllib.error.HTTPError:
        return True
    except OSError as error:
        # Certificates are the library's own affair: it brings others than Python's.
        return "CERTIFICATE" in str(error)
