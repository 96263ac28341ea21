"""Tokenizers on disk: whether their files are there and whole, and which packages they need."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from isthmus.encoders.faults import AGAIN, Fault, file_fault, read_json

# Any one of these holds a vocabulary.
_VOCABULARIES = ("tokenizer.json", "vocab*", "*.model", "*.tiktoken", "tekken.json", "*.codes", "*.spm", "*.vocab")
_OBJECTS = ("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")
# They read characters or bytes and have no file.
_WITHOUT_FILE = ("ByT5", "Canine", "Perceiver", "Reformer", "MyT5")
_MECAB_DICTIONARIES = {"ipadic": "ipadic", "unidic_lite": "unidic-lite", "unidic": "unidic"}
_BY_CLASS = {
    "RoFormer": ("rjieba",), "Cpm": ("rjieba",), "CpmAnt": ("rjieba",), "Flaubert": ("sacremoses",),
    "XLM": ("sacremoses",), "FSMT": ("sacremoses",), "BioGpt": ("sacremoses",),
    "Siglip": ("sentencepiece", "protobuf"), "Marian": ("sentencepiece",),
}  # fmt: skip
# Where the name to import is another than the name to install.
_IMPORTS = {"protobuf": "google.protobuf", "mistral-common": "mistral_common", "unidic-lite": "unidic_lite"}
# What a package also needs once it is installed.
_FURTHER = {"unidic": " and: python -m unidic download"}
# Of a vocabulary of BertJapaneseTokenizer with WordPiece, without the program that finds words.
SPLIT_BEFORE = (
    "make a tokenizer.json of its vocabulary for text that is split into words beforehand, as what the encoder reads "
    "must be then: transformers.BertTokenizer('FOLDER/vocab.txt', do_lower_case=False, "
    "tokenize_chinese_chars=False).save_pretrained('NEW')"
)
ONE_LINE = "AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER)"


def tokenizer_faults(folder: Path, where: str = "") -> list[Fault]:
    """What is wrong with the tokenizer in a folder.

    Args:
        folder: The folder.
        where: Put before names of files in messages.
    """
    settings: dict[str, Any] = {}
    faults: list[Fault] = []
    for name in _OBJECTS:
        if (folder / name).is_file():
            value, fault = read_json(folder / name, where + name)
            faults += [] if fault is None else [fault]
            settings = value if name == _OBJECTS[0] else settings
    kind = str(settings.get("tokenizer_class") or "").removesuffix("Fast").removesuffix("Tokenizer")
    found = sorted({path for pattern in _VOCABULARIES for path in folder.glob(pattern) if not path.is_dir()})
    faults += [fault for path in found if (fault := file_fault(path, where + path.name)) is not None]
    fast = folder / "tokenizer.json"
    if fast in found and not faults:
        faults += [fault for fault in [_cut_off(fast, where)] if fault is not None]
    if not found and kind not in _WITHOUT_FILE and "auto_map" not in settings:
        place = where.rstrip("/") or "the folder"
        message = f"{place} holds no tokenizer: neither tokenizer.json nor a vocabulary"
        faults.append(Fault("tokenizer", message, f"copy the tokenizer's files there, or {AGAIN}"))
    names = {path.name for path in found}
    spelled = any(path.suffix in (".model", ".spm") for path in found)
    if "vocab.json" in names and fast not in found and not spelled and not (folder / "merges.txt").is_file():
        faults.append(Fault("tokenizer", f"{where}merges.txt, which belongs to {where}vocab.json, is missing", AGAIN))
    if faults:
        return faults
    return list(_packages(kind, settings, found, fast in found))


def missing_packages(names: Iterator[str] | tuple[str, ...]) -> list[str]:
    """Those of some packages, by their names on PyPI, that are not installed."""
    return [name for name in dict.fromkeys(names) if not _installed(_IMPORTS.get(name, name))]


def package_fault(names: list[str], what: str) -> Fault:
    """Packages that are not installed, and the line that installs them."""
    further = "".join(_FURTHER.get(name, "") for name in names)
    command = f"pip install {' '.join(names)}{further}"
    return Fault("packages", f"{what} needs {' and '.join(names)}, not installed", f"run: {command}")


def _installed(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:
        # The package around it is not there.
        return False


def _cut_off(path: Path, where: str) -> Fault | None:
    """Large files are not parsed: a whole object begins and ends with a brace."""
    with path.open("rb") as file:
        start = file.read(16).lstrip()
        file.seek(max(0, path.stat().st_size - 16))
        end = file.read().rstrip()
    if start.startswith(b"{") and end.endswith(b"}"):
        return None
    return read_json(path, where + path.name)[1]


def _packages(kind: str, settings: Mapping[str, Any], files: list[Path], fast: bool) -> Iterator[Fault]:
    needed: list[str] = []
    if kind == "BertJapanese":
        needed += _japanese(settings)
    elif not fast or kind in ("RoFormer", "Cpm"):
        needed += _BY_CLASS.get(kind, ())
    if not fast and kind not in ("BertJapanese", *_BY_CLASS):
        for path in files:
            if path.suffix in (".model", ".spm"):
                # A SentencePiece model is a protocol buffer; tiktoken's files are lines of text.
                with path.open("rb") as file:
                    needed += ["sentencepiece", "protobuf"] if file.read(1) == b"\n" else ["tiktoken"]
            elif path.suffix == ".tiktoken":
                needed.append("tiktoken")
            elif path.name == "tekken.json":
                needed.append("mistral-common")
    missing = missing_packages(tuple(needed))
    if missing:
        fault = package_fault(missing, f"the tokenizer{f' ({kind})' if kind else ''}")
        convertible = {"sentencepiece", "protobuf", "tiktoken"}.issuperset(missing)
        instead = f"; or make a tokenizer.json where they are installed: {ONE_LINE}" if convertible else ""
        if kind == "BertJapanese" and settings.get("subword_tokenizer_type", "wordpiece") == "wordpiece":
            instead = f"; as a target, {SPLIT_BEFORE}"
        yield Fault(fault.check, fault.message, fault.remedy + instead)


def _japanese(settings: Mapping[str, Any]) -> Iterator[str]:
    """Packages of BertJapaneseTokenizer, whose words MeCab, Sudachi or Juman++ find."""
    words = settings.get("word_tokenizer_type")
    if words == "mecab":
        yield "fugashi"
        dictionary = (settings.get("mecab_kwargs") or {}).get("mecab_dic", "unidic_lite")
        if dictionary in _MECAB_DICTIONARIES:
            yield _MECAB_DICTIONARIES[dictionary]
    elif words == "sudachi":
        yield from ("sudachipy", "sudachidict_core")
    elif words == "jumanpp":
        yield "rhoknp"
    if settings.get("subword_tokenizer_type") == "sentencepiece":
        yield "sentencepiece"
