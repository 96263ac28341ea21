"""Opening what a transfer starts from: built-in names, folders, hub ids."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from isthmus.errors import EncoderError, NotFoundError, TokenizerError
from isthmus.token_map import FILES, Fate, TokenMap

# What a transfer writes beside an encoder; it stays true of a trained one.
TRANSFER_FILES = (*FILES, "transfer_report.json")


def local_folder(name: str | Path) -> Path | None:
    """The folder that a built-in name or path stands for; None for a hub id.

    Raises:
        NotFoundError: If ``name`` is a path that does not exist.
        UnknownNameError: If ``name`` starts with ``isthmus/`` and is not built in.
    """
    from isthmus.assets import resolve_model

    path = Path(resolve_model(name))
    return path if path.is_dir() else None


def transfer_folder(name: str | Path) -> Path | None:
    """The folder with what a transfer left beside an encoder: its own, or the hub's cache with these files downloaded.

    Args:
        name: As for :func:`load_encoder`, which has opened it.

    Returns:
        The folder; None for a hub id without a token map.

    Raises:
        NotFoundError: If ``name`` is a path that does not exist.
    """
    folder = local_folder(name)
    if folder is not None:
        return folder
    from huggingface_hub.errors import RepositoryNotFoundError
    from sentence_transformers.util import load_file_path

    try:
        record, *_ = [load_file_path(str(name), file) for file in TRANSFER_FILES]
    except RepositoryNotFoundError:
        # A short name, see stored_as_sparse.
        return None
    return None if record is None else Path(record).parent


def carry_transfer(source: Path | None, folder: Path) -> None:
    """Copy what a transfer left in ``source``, as :func:`transfer_folder` gives it, to another folder."""
    for name in TRANSFER_FILES:
        if source is not None and (source / name).is_file():
            shutil.copyfile(source / name, folder / name)


def kept_tokens(name: str | Path) -> list[int]:
    """Ids of the tokens that the transfer to an encoder kept, for :func:`isthmus.lexical.add_lexical`.

    Args:
        name: As for :func:`load_encoder`, which has opened it.

    Returns:
        The ids, ascending; none where there is no token map.

    Raises:
        NotFoundError: If ``name`` is a path that does not exist.
        TokenMapError: If its token map is damaged.
    """
    found = TokenMap.find(transfer_folder(name))
    return [] if found is None else [int(row) for row in found.rows(Fate.KEPT)]


def load_encoder(
    name: str | Path, *, trust_remote_code: bool = False, argument: str = "encoder", besides: str = ""
) -> Any:
    """Open a SparseEncoder or a SentenceTransformer, whichever is stored.

    Args:
        name: A built-in name, a folder or a hub id.
        trust_remote_code: Run code that comes with the model.
        argument: What the caller calls ``name``, for messages.
        besides: What else the caller takes there, for messages, with a comma behind it.

    Raises:
        NotFoundError: If it is neither there nor can be downloaded.
        EncoderError: If it is there but is no model.
    """
    from sentence_transformers import SentenceTransformer, SparseEncoder

    folder = local_folder(name)
    path = str(folder or name)
    try:
        kind = SparseEncoder if stored_as_sparse(path) else SentenceTransformer
        # A local model needs nothing from the hub, unless its own code lives there.
        return kind._load_with_module_classes(
            path,
            _own_classes(),
            trust_remote_code=trust_remote_code,
            local_files_only=folder is not None and not trust_remote_code,
        )
    except (OSError, ValueError, KeyError) as error:
        raise _explain(argument, name, folder, error, EncoderError, besides) from error


def _own_classes() -> dict[str, Any]:
    """Modules of Isthmus that a model may name; sentence-transformers takes all but its own for foreign code."""
    from isthmus.modules.column_scale import ColumnScale
    from isthmus.modules.lexical import Lexical
    from isthmus.modules.trim import Trim

    return {f"{module.__module__}.{module.__qualname__}": module for module in (ColumnScale, Trim, Lexical)}


def stored_as_sparse(path: str) -> bool:
    """Whether a folder or hub repository holds a SparseEncoder, or a bare masked language model to make one of."""
    from huggingface_hub.errors import RepositoryNotFoundError
    from sentence_transformers.util import load_file_path

    try:
        own = load_file_path(path, "config_sentence_transformers.json")
    except RepositoryNotFoundError:
        # SentenceTransformer alone knows short names (all-MiniLM-L6-v2), and says what is wrong with the others.
        return False
    if own is not None:
        return bool(json.loads(Path(own).read_text(encoding="utf-8")).get("model_type") == "SparseEncoder")
    if load_file_path(path, "modules.json") is not None:
        return False
    bare = load_file_path(path, "config.json")
    architectures = json.loads(Path(bare).read_text(encoding="utf-8")).get("architectures") if bare else None
    return any(architecture.endswith("ForMaskedLM") for architecture in architectures or ())


def load_tokenizer(name: str | Path, *, trust_remote_code: bool = False) -> Any:
    """Open a tokenizer; arguments as for :func:`load_encoder`.

    Raises:
        NotFoundError: If it is neither there nor can be downloaded.
        TokenizerError: If it is there but is no tokenizer.
    """
    from transformers import AutoTokenizer

    folder = local_folder(name)
    try:
        return AutoTokenizer.from_pretrained(
            str(folder or name),
            trust_remote_code=trust_remote_code,
            local_files_only=folder is not None and not trust_remote_code,
        )
    except (OSError, ValueError, KeyError) as error:
        raise _explain("target_tokenizer", name, folder, error, TokenizerError) from error


def _explain(
    argument: str,
    name: str | Path,
    folder: Path | None,
    error: Exception,
    damaged: type[EncoderError | TokenizerError],
    besides: str = "",
) -> Exception:
    # transformers appends advice by the paragraph; the first sentence says what happened.
    reason = " ".join(str(error).split()).split(". ")[0]
    if "trust_remote_code" in reason:
        return damaged(f"{argument} {str(name)!r} brings its own code; read it, then pass trust_remote_code=True")
    if folder is not None:
        return damaged(f"{argument} must be a folder that transformers opens, got {folder} ({reason}); save it again")
    return NotFoundError(
        f"{argument} must be {besides}a built-in name, a folder or a hub id, got {str(name)!r}, which is no folder and "
        f"could not be downloaded ({reason}); check the name and the network, or give the path of a downloaded copy"
    )
