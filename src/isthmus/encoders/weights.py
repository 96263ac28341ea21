"""Weights on disk: whether they are there and whole, and whether they fit the config; reads headers alone."""

from __future__ import annotations

import json
import re
import struct
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from isthmus.encoders.faults import AGAIN, PARTIAL, Fault, file_fault, read_json
from isthmus.reading.shape import is_inside

Shapes = dict[str, tuple[int, ...]]

SAFETENSORS, PICKLE = "model.safetensors", "pytorch_model.bin"
# In the order in which transformers looks for them.
_WEIGHTS = (SAFETENSORS, f"{SAFETENSORS}.index.json", PICKLE, f"{PICKLE}.index.json")
CONVERT = (
    "have it saved as model.safetensors: by who made it (model.save_pretrained), or for a hub repository by "
    "https://huggingface.co/spaces/safetensors/convert"
)
_SOURCE = "take the repository that it was made from, with model.safetensors"
# What else may lie in a folder: glob patterns, what it is, what to do.
_FOREIGN = (
    (("*.onnx", "onnx/*.onnx"), "only ONNX weights", _SOURCE),
    (("*.gguf", "*.ggml"), "only GGUF weights, which llama.cpp reads", _SOURCE),
    (("openvino_model.*", "openvino/*.xml"), "only OpenVINO weights", _SOURCE),
    (
        ("*.mlmodel", "*.mlpackage", "coreml/**/*.mlmodel", "*.tflite"),
        "only exported weights",
        _SOURCE,
    ),
    (
        ("tf_model.h5", "tf_model*.h5", "flax_model*.msgpack", "model.ckpt.*", "saved_model.pb"),
        "only TensorFlow or Flax weights",
        "save it for PyTorch with transformers 4: AutoModel.from_pretrained(FOLDER, from_tf=True), or from_flax=True, "
        "and save_pretrained(NEW)",
    ),
    (("*.safetensors",), "weights of another name", "name the file model.safetensors, if it is the model"),
    (("*.pkl", "*.pickle", "*.joblib", "*.pt", "*.pth", "*.ckpt", "*.bin"), "only a pickle", CONVERT),
)
_TABLES = ("word_embeddings.weight", "tok_embeddings.weight")
_BIASES = ("predictions.bias", "predictions.decoder.bias", "lm_head.bias", "vocab_projector.bias")
_LAYER = re.compile(r"(?:^|\.)layers?\.(\d+)\.")
# In them every layer has weights of its own, and the embeddings are as wide as the config says.
_FAMILIES = (
    "bert",
    "roberta",
    "xlm-roberta",
    "distilbert",
    "electra",
    "camembert",
    "mpnet",
    "modernbert",
    "deberta-v2",
)
_MAX_HEADER = 100_000_000


def weight_faults(folder: Path, config: Mapping[str, Any], where: str = "") -> list[Fault]:
    """What is wrong with the weights of a transformers model.

    Args:
        folder: Folder of its config.
        config: What the config says.
        where: Put before names of files in messages: the folder's path inside the model.
    """
    name = next((name for name in _WEIGHTS if (folder / name).is_file() or (folder / name).is_symlink()), None)
    if name is None:
        place = where.rstrip("/") or "the folder"
        absent = Fault("weights", f"{place} holds no weights: model.safetensors is missing", AGAIN)
        return [foreign_fault(folder, where) or absent]
    files = [name]
    if name.endswith(".json"):
        index, broken = read_json(folder / name, where + name)
        if broken is not None:
            return [broken]
        named = index.get("weight_map") or {}
        files = sorted(set(map(str, named.values()))) if isinstance(named, dict) else []
        if not files or not all(map(is_inside, files)):
            return [Fault("weights", f"{where}{name} names no files of weights beside it", AGAIN)]
        missing = [file for file in files if not (folder / file).is_file() and not (folder / file).is_symlink()]
        if missing:
            found = f"{where}{missing[0]} is missing, {len(missing)} of the {len(files)} parts that {name} names are"
            return [Fault("weights", found, AGAIN)]
    faults = [fault for file in files if (fault := stored_fault(folder / file, where + file)) is not None]
    if faults or not files[0].endswith(".safetensors"):
        return faults
    shapes: Shapes = {}
    for file in files:
        shapes |= read_shapes(folder / file)
    return list(_misfits(shapes, config))


def stored_fault(path: Path, name: str) -> Fault | None:
    """What is wrong with one file of weights; None where nothing is."""
    fault = file_fault(path, name)
    if fault is not None:
        return fault
    size = path.stat().st_size
    if path.suffix != ".safetensors":
        with path.open("rb") as file:
            # Without the directory at its end, an archive is no archive.
            half = file.read(2) == b"PK" and not zipfile.is_zipfile(path)
        return Fault("weights", f"{name} is cut off after {size:,} bytes", AGAIN) if half else None
    header = _header(path)
    if header is None:
        return Fault("weights", f"{name} is no safetensors file, or cut off in its first lines ({size:,} bytes)", AGAIN)
    length, tensors = header
    whole = 8 + length + max((entry["data_offsets"][1] for entry in tensors.values()), default=0)
    if whole != size:
        what = "is cut off" if size < whole else "has more than it should"
        return Fault("weights", f"{name} {what}: {size:,} of {whole:,} bytes", AGAIN)
    return None


def read_shapes(path: Path) -> Shapes:
    """Shapes by tensor in a safetensors file; empty where it is none."""
    header = _header(path)
    return {} if header is None else {name: tuple(entry["shape"]) for name, entry in header[1].items()}


def _header(path: Path) -> tuple[int, dict[str, Any]] | None:
    """Length of a safetensors header, and its tensors."""
    with path.open("rb") as file:
        start = file.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else _MAX_HEADER + 1
        if length > _MAX_HEADER:
            return None
        raw = file.read(length)
    try:
        tensors = json.loads(raw)
        return length, {
            name: entry for name, entry in tensors.items() if name != "__metadata__" and entry["data_offsets"][1] >= 0
        }
    except (ValueError, AttributeError, TypeError, KeyError, IndexError):
        return None


def foreign_fault(folder: Path, where: str = "") -> Fault | None:
    """What a folder holds instead of weights for PyTorch; None where it holds nothing of the kind."""
    place = where.rstrip("/") or "the folder"
    near = [*folder.glob("*"), *folder.glob(".cache/huggingface/download/*")]
    partial = sorted(path.name for path in near if path.suffix in PARTIAL)
    if partial:
        return Fault("weights", f"{place} holds no model.safetensors but an unfinished {partial[0]}", AGAIN)
    for patterns, what, remedy in _FOREIGN:
        found = sorted(path for pattern in patterns for path in folder.glob(pattern))
        found = [path for path in found if path.name not in ("training_args.bin", "optimizer.pt", "scheduler.pt")]
        if found:
            shown = found[0].relative_to(folder)
            return Fault("weights", f"{place} holds {what} ({shown})", remedy)
    return None


def _misfits(shapes: Shapes, config: Mapping[str, Any]) -> Iterator[Fault]:
    """Sizes that a config and the weights beside it do not share; of other families the libraries tell."""
    if config.get("model_type") not in _FAMILIES:
        return
    vocabulary = config.get("vocab_size")
    width = config.get("embedding_size") or config.get("hidden_size") or config.get("dim")
    for name, shape in shapes.items():
        wanted: tuple[Any, ...] | None = None
        if len(shape) == 2 and name.endswith(_TABLES):
            wanted = (vocabulary or shape[0], width or shape[1])
        elif len(shape) == 1 and name.endswith(_BIASES):
            wanted = (vocabulary or shape[0],)
        if wanted is not None and shape != wanted:
            yield size_fault(name, shape, wanted)
    if not any(name.endswith(_TABLES) for name in shapes):
        message = f"the weights hold no embeddings of a model of type {config['model_type']}: all would be random"
        yield Fault("sizes", message, "take config and weights from one place")
    numbers = [int(found[1]) for name in shapes if (found := _LAYER.search(name)) is not None]
    layers, stored = config.get("num_hidden_layers") or config.get("n_layers"), max(numbers, default=-1) + 1
    if stored and isinstance(layers, int) and layers > stored:
        message = f"config.json says {layers} layers, the weights hold {stored}: the others would be random"
        yield Fault("sizes", message, f"set num_hidden_layers to {stored}, or {AGAIN}")


def size_fault(name: str, stored: tuple[int, ...], wanted: tuple[Any, ...]) -> Fault:
    """A tensor of another size than the config asks for."""
    shown = [" x ".join(map(str, shape)) for shape in (stored, wanted)]
    return Fault(
        "sizes",
        f"the tensor {name} is {shown[0]}, config.json makes it {shown[1]}",
        "config and weights are of different models: take both from one place, or mend the sizes in config.json",
    )
