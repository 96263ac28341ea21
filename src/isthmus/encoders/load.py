"""Opening what a transfer starts from: built-in names, folders, hub ids."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from isthmus.encoders.explain import OWN_CODE, explain, hub_advice
from isthmus.encoders.faults import AGAIN, Fault
from isthmus.encoders.preflight import MERGE, Kind, find_faults, is_adapter, refusal, stored_path
from isthmus.errors import EncoderError, IsthmusError, NotFoundError, TokenizerError
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
    name: str | Path,
    *,
    trust_remote_code: bool = False,
    argument: str = "encoder",
    besides: str = "",
    dense: bool = False,
    whole: bool = False,
) -> Any:
    """Open a SparseEncoder or a SentenceTransformer, whichever is stored.

    Args:
        name: A built-in name, a folder or a hub id.
        trust_remote_code: Run code that comes with the model.
        argument: What the caller calls ``name``, for messages.
        besides: What else the caller takes there, for messages, with a comma behind it.
        dense: Open a SentenceTransformer whatever is stored.
        whole: Refuse a LoRA adapter, whose base would not be saved with it.

    Raises:
        NotFoundError: If it is neither there nor can be downloaded.
        EncoderError: If it is there but is no model.
    """
    encoder, faults = try_encoder(
        name, trust_remote_code=trust_remote_code, argument=argument, besides=besides, dense=dense
    )
    if faults:
        raise _refuse(argument, name, faults[0], "encoder") from faults[0].cause
    if whole:
        check_whole(encoder, name, argument)
    return encoder


def try_encoder(
    name: str | Path,
    *,
    trust_remote_code: bool = False,
    argument: str = "encoder",
    besides: str = "",
    dense: bool = False,
) -> tuple[Any, list[Fault]]:
    """An encoder, or what keeps it from being opened; arguments as for :func:`load_encoder`.

    Raises:
        NotFoundError: If it is neither there nor can be downloaded.
    """
    path = stored_path(name, argument)
    faults = [] if path is None else find_faults(path)
    if faults:
        return None, faults
    from sentence_transformers import SentenceTransformer, SparseEncoder

    place = str(path or name)
    # A local model needs nothing from the hub, unless its own code or its base lives there.
    local = path is not None and not trust_remote_code and not is_adapter(path)
    try:
        kind = SparseEncoder if not dense and stored_as_sparse(place) else SentenceTransformer
        encoder = kind._load_with_module_classes(
            place, _own_classes(), trust_remote_code=trust_remote_code, local_files_only=local
        )
    except Exception as error:  # The libraries raise whatever comes.
        return None, [_explained(argument, name, path, error, "encoder", besides)]
    if path is None or _reads(getattr(encoder, "tokenizer", None)):
        return encoder, []
    return None, [_EMPTY]


def check_whole(encoder: Any, name: str | Path, argument: str = "encoder") -> None:
    """Refuse an encoder that is a LoRA adapter over another one.

    Raises:
        EncoderError: If it is.
    """
    adapted = (
        hasattr(part, "peft_type") or getattr(part, "_hf_peft_config_loaded", False) for part in encoder.modules()
    )
    if any(adapted):
        raise EncoderError(f"{argument} must hold all its weights, got {name}, a LoRA adapter; {MERGE}")


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


def load_tokenizer(name: str | Path, *, trust_remote_code: bool = False, argument: str = "target_tokenizer") -> Any:
    """Open a tokenizer; arguments as for :func:`load_encoder`.

    Raises:
        NotFoundError: If it is neither there nor can be downloaded.
        TokenizerError: If it is there but is no tokenizer.
    """
    tokenizer, faults = try_tokenizer(name, trust_remote_code=trust_remote_code, argument=argument)
    if faults:
        raise _refuse(argument, name, faults[0], "tokenizer") from faults[0].cause
    return tokenizer


def try_tokenizer(
    name: str | Path, *, trust_remote_code: bool = False, argument: str = "target_tokenizer"
) -> tuple[Any, list[Fault]]:
    """A tokenizer, or what keeps it from being opened; arguments as for :func:`load_encoder`.

    Raises:
        NotFoundError: If it is neither there nor can be downloaded.
    """
    path = stored_path(name, argument)
    faults = [] if path is None else find_faults(path, "tokenizer")
    if faults:
        return None, faults
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(
            str(path or name),
            trust_remote_code=trust_remote_code,
            local_files_only=path is not None and not trust_remote_code,
        )
    except Exception as error:  # The libraries raise whatever comes.
        return None, [_explained(argument, name, path, error, "tokenizer")]
    return (tokenizer, []) if _reads(tokenizer) else (None, [_EMPTY])


# transformers makes an empty tokenizer where it finds no vocabulary, in which every word is unknown.
_EMPTY = Fault("tokenizer", "its tokenizer knows special tokens alone", AGAIN)


def _reads(tokenizer: Any) -> bool:
    if not hasattr(tokenizer, "all_special_ids") or not hasattr(tokenizer, "__len__"):
        return True
    return len(tokenizer) > len(tokenizer.all_special_ids)


def _refuse(argument: str, name: str | Path, fault: Fault, kind: Kind) -> EncoderError | TokenizerError:
    if fault.message == OWN_CODE:
        error = EncoderError if kind == "encoder" else TokenizerError
        return error(f"{argument} {str(name)!r} {fault.message}; {fault.remedy}")
    return refusal(argument, stored_path(name) or name, fault, kind)


def _explained(
    argument: str, name: str | Path, folder: Path | None, error: Exception, kind: Kind, besides: str = ""
) -> Fault:
    """What an error means of which the files are to blame.

    Raises:
        NotFoundError: If it is not: the hub did not give the model.
    """
    if isinstance(error, IsthmusError):
        raise error
    fault = explain(error, folder, kind)
    advice = hub_advice(error)
    if folder is not None or advice is None:
        return fault
    raise NotFoundError(
        f"{argument} must be {besides}a built-in name, a folder or a hub id, got {str(name)!r}, which is no folder and "
        f"could not be downloaded ({fault.message}); {advice}"
    ) from error
