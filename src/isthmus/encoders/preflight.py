"""A look at a stored model before anything is loaded: what is wrong with its files, without torch or transformers.

Every command looks before the libraries load, and every function that opens a model by name does.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from isthmus.encoders.faults import AGAIN, Fault, file_fault, folder_fault, read_json
from isthmus.encoders.tokenizer_files import missing_packages, package_fault, tokenizer_faults
from isthmus.encoders.weights import PICKLE, SAFETENSORS, foreign_fault, stored_fault, weight_faults
from isthmus.errors import EncoderError, NotFoundError, TokenizerError
from isthmus.reading.shape import is_inside

Kind = Literal["encoder", "tokenizer"]

ADAPTER = "adapter_config.json"
_ENTRIES = ("modules.json", "config.json", ADAPTER)
_SETTINGS = ("config_sentence_transformers.json",)
# Modules of sentence-transformers that hold tensors of their own, and those without any file.
_WITH_WEIGHTS = ("Dense", "StaticEmbedding", "SparseStaticEmbedding", "LSTM", "CNN", "WeightedLayerPooling")
_WITHOUT_FILES = ("Normalize", "Dropout")
_TRANSFORMERS = ("Transformer", "MLMTransformer")
_PART = re.compile(r"\d+_\w+|onnx|openvino|\..*")
_ADDRESS = re.compile(r"https?://(?:www\.)?(?:huggingface\.co|hf\.co)/([\w.-]+/[\w.-]+)")
MERGE = (
    "merge it into its base: PeftModel.from_pretrained(base, FOLDER).merge_and_unload().save_pretrained(NEW), and save "
    "the tokenizer beside it"
)


def check_stored(name: str | Path, argument: str = "encoder", kind: Kind = "encoder") -> None:
    """Refuse a folder that cannot be opened, without loading it; hub ids pass.

    Args:
        name: A built-in name, a folder or a hub id.
        argument: What the caller calls ``name``, for messages.
        kind: What it has to be.

    Raises:
        NotFoundError: If ``name`` is a path that does not exist, or the address of a web page.
        EncoderError: If it is a folder with a fault.
        TokenizerError: Likewise, of a tokenizer.
    """
    path = stored_path(name, argument)
    if path is None:
        return
    faults = find_faults(path, kind)
    if faults:
        raise refusal(argument, path, faults[0], kind)


def stored_path(name: str | Path, argument: str = "encoder") -> Path | None:
    """What exists on this machine under a name, a file too; None for a hub id.

    Raises:
        NotFoundError: If ``name`` is a path that does not exist, or the address of a web page.
        UnknownNameError: If ``name`` starts with ``isthmus/`` and is not built in.
    """
    from isthmus.assets import resolve_model

    address = _ADDRESS.match(str(name))
    if address is not None:
        raise NotFoundError(f"{argument} must be a hub id, got the address {name}; give {address[1]}")
    path = Path(resolve_model(name))
    return path if path.exists() else None


def refusal(argument: str, name: str | Path, fault: Fault, kind: Kind) -> EncoderError | TokenizerError:
    """The error that says what is wrong with a stored model."""
    error = EncoderError if kind == "encoder" else TokenizerError
    what = "a folder" if Path(name).exists() else "a model" if kind == "encoder" else "a tokenizer"
    return error(f"{argument} must be {what} that transformers opens, got {name} ({fault.message}); {fault.remedy}")


def find_faults(path: Path, kind: Kind = "encoder") -> list[Fault]:
    """What is wrong with a stored model or tokenizer, in the order in which it is read; empty where nothing is seen."""
    fault = folder_fault(path)
    if fault is not None:
        return [fault]
    try:
        if kind == "tokenizer":
            return _tokenizer(path)
        return [*_objects(path, _SETTINGS), *(_modules(path) if (path / "modules.json").exists() else _bare(path))]
    except PermissionError as error:
        return [Fault("files", f"{error.filename} may not be read by this user", f"run: chmod -R u+rX {path}")]


def is_adapter(path: Path) -> bool:
    """Whether a folder holds a LoRA adapter or another one of peft."""
    return (path / ADAPTER).is_file()


def _tokenizer(path: Path) -> list[Fault]:
    faults = tokenizer_faults(path)
    inside = _inside(path, ("tokenizer.json", "tokenizer_config.json")) if faults else None
    if inside is not None and faults[0].check == "tokenizer":
        return [Fault("folder", f"no tokenizer lies in it, but one in {inside.name}", f"give {inside}")]
    # The config of a model beside it is read too.
    return faults or list(_objects(path, ("config.json",)))


def _bare(path: Path) -> list[Fault]:
    """Without modules.json: a transformers model, an adapter, or no model."""
    if not any((path / name).exists() for name in _ENTRIES):
        inside = _inside(path, _ENTRIES)
        if inside is not None:
            there = inside.relative_to(path)
            return [Fault("folder", f"no model lies in it, but one in {there}", f"give {path / there}")]
        foreign = foreign_fault(path)
        if foreign is not None:
            return [foreign]
        what = "a tokenizer alone" if any(path.glob("tokenizer*")) else "neither modules.json nor config.json"
        return [
            Fault("folder", f"it holds {what}", "name the folder that the model was saved to, or download it again")
        ]
    return _transformer(path, "")


def _objects(path: Path, names: tuple[str, ...], where: str = "") -> Iterator[Fault]:
    for name in names:
        if (path / name).is_file():
            fault = read_json(path / name, where + name)[1]
            if fault is not None:
                yield fault


def _transformer(path: Path, where: str) -> list[Fault]:
    """A transformers model with its tokenizer."""
    if is_adapter(path):
        return _adapter(path, where)
    if not (path / "config.json").exists() and not (path / "config.json").is_symlink():
        return [Fault("config", f"{where}config.json is missing", AGAIN)]
    config, fault = read_json(path / "config.json", f"{where}config.json")
    if fault is not None:
        return [fault]
    settings = _objects(path, ("sentence_bert_config.json",), where)
    return [*settings, *weight_faults(path, config, where), *tokenizer_faults(path, where)]


def _adapter(path: Path, where: str) -> list[Fault]:
    settings, fault = read_json(path / ADAPTER, where + ADAPTER)
    if fault is not None:
        return [fault]
    base = str(settings.get("base_model_name_or_path") or "a model that it does not name")
    missing = missing_packages(("peft",))
    if missing:
        found = package_fault(missing, f"it is a LoRA adapter of {base} and")
        return [Fault(found.check, found.message, f"{found.remedy}, or {MERGE}")]
    if base.startswith(("/", ".", "~")) and not Path(base).expanduser().exists():
        message = f"it is a LoRA adapter of {base}, which is not there"
        return [Fault("files", message, f"set base_model_name_or_path in {where}{ADAPTER} to where its base is")]
    stored = ["adapter_model.safetensors", "adapter_model.bin"]
    there = next((name for name in stored if (path / name).is_file()), None)
    if there is None:
        return [Fault("weights", f"{where}adapter_model.safetensors is missing", AGAIN)]
    fault = stored_fault(path / there, where + there)
    return [*([] if fault is None else [fault]), *tokenizer_faults(path, where)]


def _modules(path: Path) -> list[Fault]:
    """The modules that a modules.json names, those inside a Router too."""
    fault = file_fault(path / "modules.json", "modules.json")
    if fault is not None:
        return [fault]
    modules, fault = _read_list(path / "modules.json")
    if fault is not None:
        return [fault]
    return [fault for module in modules for fault in _module(path, str(module["path"]), str(module["type"]))]


def _read_list(path: Path) -> tuple[list[dict[str, Any]], Fault | None]:
    import json

    try:
        modules = json.loads(path.read_text(encoding="utf-8"))
        named = [(str(module["path"]), module["type"]) for module in modules]
    except json.JSONDecodeError as error:
        message = f"{path.name} is no valid JSON (line {error.lineno}: {error.msg})"
        return [], Fault("files", message, f"mend that line, or {AGAIN}")
    except (UnicodeDecodeError, TypeError, KeyError, AttributeError):
        return [], Fault("files", f"{path.name} is no list of modules with type and path", AGAIN)
    outside = [place for place, _ in named if not is_inside(place)]
    if outside:
        return [], Fault("files", f"{path.name} names {outside[0]!r:.80}, which lies outside of the folder", AGAIN)
    return modules, None


def _module(path: Path, place: str, kind: str) -> list[Fault]:
    folder, name, where = path / place, kind.rpartition(".")[2], f"{place}/" if place else ""
    if name in _WITHOUT_FILES:
        return []
    if not folder.is_dir() or not any(folder.iterdir()):
        return [Fault("files", f"the folder {place} of its module {name} is missing", AGAIN)]
    if name in _TRANSFORMERS:
        return _transformer(folder, where)
    if name in ("Router", "Asym"):
        return _router(path, place)
    faults = []
    if (folder / "config.json").is_file():
        faults += [read_json(folder / "config.json", f"{where}config.json")[1]]
    elif name in ("Pooling", "SpladePooling", "Dense"):
        faults += [Fault("files", f"{where}config.json of its module {name} is missing", AGAIN)]
    weights = [file for file in (SAFETENSORS, PICKLE) if (folder / file).exists() or (folder / file).is_symlink()]
    if weights:
        faults += [stored_fault(folder / weights[0], where + weights[0])]
    elif name in _WITH_WEIGHTS and kind.startswith("sentence_transformers."):
        faults += weight_faults(folder, {}, where)
    if "StaticEmbedding" in name or (folder / "tokenizer.json").exists():
        faults += tokenizer_faults(folder, where)
    return [fault for fault in faults if fault is not None]


def _router(path: Path, place: str) -> list[Fault]:
    where = f"{place}/" if place else ""
    name = next((name for name in ("router_config.json", "config.json") if (path / place / name).is_file()), None)
    if name is None:
        return [Fault("files", f"{where}router_config.json is missing", AGAIN)]
    settings, fault = read_json(path / place / name, where + name)
    if fault is not None:
        return [fault]
    types = settings.get("types") or {}
    return [fault for part, kind in types.items() for fault in _module(path, where + str(part), str(kind))]


def _inside(path: Path, names: tuple[str, ...]) -> Path | None:
    """A folder below that holds what was looked for: the one that a hub's cache names, or the last by number."""
    pattern = "snapshots/*" if (path / "snapshots").is_dir() else "*"
    found = [folder for folder in path.glob(pattern) if folder.is_dir() and not _PART.fullmatch(folder.name)]
    found = [folder for folder in found if any((folder / name).is_file() for name in names)]
    main = path / "refs" / "main"
    if main.is_file():
        named = main.read_text(encoding="utf-8", errors="replace").strip()
        found = [folder for folder in found if folder.name == named] or found

    def order(folder: Path) -> tuple[int, str]:
        number = re.search(r"(\d+)$", folder.name)
        return (int(number[1]) if number and "checkpoint" in folder.name else -1, folder.name)

    return max(found, key=order, default=None)
