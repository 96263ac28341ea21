"""What the libraries say when a model cannot be opened, turned into one line with a remedy."""

from __future__ import annotations

import re
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from isthmus.encoders.faults import AGAIN, Fault, read_json
from isthmus.encoders.preflight import Kind
from isthmus.encoders.tokenizer_files import package_fault
from isthmus.encoders.weights import CONVERT, read_shapes, size_fault

OWN_CODE = "brings its own code"
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_PACKAGES = (
    re.compile(r"not found in your environment: ([\w, -]+)\. Run"),
    re.compile(r"install (?:the )?[`']?([\w-]+)[`']? (?:package|to use)"),
    re.compile(r"requires (?:the )?([\w-]+) (?:library|package) but it was not found"),
    re.compile(r"[`']?([\w-]+)[`']? is required to read"),
    re.compile(r"The (\w+) dictionary is not installed"),
    re.compile(r"No module named '([\w-]+)"),
)
_MODEL_TYPE = re.compile(r"model type [`'](.+?)[`'] but Transformers does not recognize")
_SEVERAL = "config and weights are of different models: take both from one place"
# Words of the libraries, and what they mean; the first that stands in the message.
_MEANINGS: tuple[tuple[tuple[str, ...], Fault], ...] = (
    (
        ("trust_remote_code=True", "custom code which must be executed", "contains custom code"),
        Fault("opening", OWN_CODE, "read it, then pass trust_remote_code=True"),
    ),
    (
        ("Weights only load failed", "UnpicklingError"),
        Fault("weights", "its weights are a pickle that holds more than tensors, or a damaged one", CONVERT),
    ),
    (
        ("ignore_mismatched_sizes", "size mismatch for"),
        Fault("sizes", "its weights are of other sizes than its config.json says", _SEVERAL),
    ),
    (
        ("out of memory", "can't allocate memory", "not enough memory", "MemoryError"),
        Fault("opening", "it does not fit into memory", "take a smaller model, or a machine with more memory"),
    ),
    (
        ("Couldn't instantiate the backend tokenizer", "Unrecognized processing class", "Unrecognized tokenizer"),
        Fault(
            "tokenizer",
            "no tokenizer.json, and none can be made of the files beside it",
            "save it where it opens: AutoTokenizer.from_pretrained(...).save_pretrained(FOLDER)",
        ),
    ),
    (
        ("does not define a",),
        Fault(
            "config",
            "it names a class that the installed libraries lack",
            "upgrade sentence-transformers and transformers",
        ),
    ),
    (
        ("Unrecognized model in",),
        Fault("config", "config.json names no model_type", f"add it, for example 'bert', or {AGAIN}"),
    ),
    (
        ("does not appear to have a file named", "Error no file named"),
        Fault("weights", "it has no weights for PyTorch", "take a folder or repository with model.safetensors"),
    ),
)
_OF_HUB = (
    "RepositoryNotFoundError", "LocalEntryNotFoundError", "OfflineModeIsEnabled", "HFValidationError", "HfHubHTTPError",
    "ConnectError", "ConnectionError", "ReadTimeout", "ConnectTimeout",
)  # fmt: skip
_HUB_SIGNS = ("couldn't connect to", "is not a valid model identifier", "not a local folder", "offline mode")
_SHOWN = 200


def explain(error: Exception, folder: Path | None, kind: Kind = "encoder") -> Fault:
    """What an error of the libraries means.

    Args:
        error: What they raised.
        folder: Where the files lie; None where that is not known.
        kind: What was opened.
    """
    text = " ".join(_COLOURS.sub("", f"{error}").split())
    return replace(_special(error, text, folder, kind) or _plain(error, text), cause=error)


def _special(error: Exception, text: str, folder: Path | None, kind: Kind) -> Fault | None:
    """What takes more than to recognise a sentence."""
    named = _MODEL_TYPE.search(text)
    if named is not None:
        known = f"transformers {version('transformers')} does not know"
        remedy = "upgrade transformers, or take a model of a known type"
        return Fault("config", f"config.json names the model_type {named[1]!r}, which {known}", remedy)
    if "requires:" in text and "is installed" in text:
        return Fault("packages", _first(text), "install what it requires")
    if isinstance(error, ImportError) or "is required to read" in text:
        return _package(error, text)
    if folder is None:
        return None
    if kind == "encoder" and "Unrecognized processing class" in text:
        return _of_tokenizer(folder)
    if "untagged enum" in text or type(error) is Exception:
        return _unread_tokenizer(folder, text)
    if "ignore_mismatched_sizes" in text:
        return next((size_fault(*found) for found in _misfits(folder)), None)
    return None


def _plain(error: Exception, text: str) -> Fault:
    told = f"{type(error).__name__} {text}"
    meant = (fault for signs, fault in _MEANINGS if any(sign in told for sign in signs))
    said = f"the libraries do not know {text}" if isinstance(error, KeyError) else _first(text)
    return next(meant, Fault("opening", said or type(error).__name__, "save it again"))


def _package(error: Exception, text: str) -> Fault | None:
    found = next((found[1] for pattern in _PACKAGES if (found := pattern.search(text)) is not None), None)
    names = found or str(getattr(error, "name", None) or "").partition(".")[0]
    return package_fault([name.strip().replace("_", "-") for name in names.split(",")], "it") if names else None


def hub_advice(error: BaseException | None) -> str | None:
    """What to do where the hub did not give a model; None for an error that has nothing to do with it."""
    advice = None
    while error is not None:
        name, text = type(error).__name__, str(error)
        if name == "GatedRepoError":
            return "accept its terms on its page and log in: hf auth login"
        if name in _OF_HUB or any(sign in text for sign in _HUB_SIGNS):
            advice = "check the name and the network, or give the path of a downloaded copy"
        error = error.__cause__ or error.__context__
    return advice


def _first(text: str) -> str:
    # transformers appends advice by the paragraph; the first sentence says what happened.
    first = text.split(". ")[0].rstrip(".")
    return first if len(first) <= _SHOWN else f"{first[:_SHOWN].rstrip()}..."


def _unread_tokenizer(folder: Path, text: str) -> Fault:
    if (folder / "tokenizer.json").is_file():
        fault = read_json(folder / "tokenizer.json", "tokenizer.json")[1]
        if fault is not None:
            return fault
    return Fault(
        "tokenizer",
        f"tokenizers {version('tokenizers')} cannot read its tokenizer.json: {_first(text)}",
        f"upgrade tokenizers, or {AGAIN}",
    )


def _of_tokenizer(folder: Path) -> Fault:
    """sentence-transformers says of any tokenizer that fails that it does not know its class."""
    from transformers import AutoTokenizer

    try:
        AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
    except Exception as error:  # The libraries raise whatever comes.
        return explain(error, folder, "tokenizer")
    return Fault("opening", "it brings no tokenizer that sentence-transformers knows", AGAIN)


def _misfits(folder: Path) -> list[tuple[str, tuple[int, ...], tuple[int, ...]]]:
    """Name, stored and wanted size of every tensor of another size than the config makes of it."""
    import torch
    from transformers import AutoConfig, AutoModel, AutoModelForMaskedLM

    stored = {name: shape for path in folder.glob("*.safetensors") for name, shape in read_shapes(path).items()}
    wanted: dict[str, Any] = {}
    for family in (AutoModelForMaskedLM, AutoModel):
        try:
            with torch.device("meta"):
                made = family.from_config(AutoConfig.from_pretrained(str(folder), local_files_only=True)).state_dict()
        except Exception:  # Not every architecture has every head.
            continue
        wanted |= {name: tuple(tensor.shape) for name, tensor in made.items()}
    return [(name, shape, wanted[name]) for name, shape in stored.items() if wanted.get(name, shape) != shape]
