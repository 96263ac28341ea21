"""Stored models as people bring them: whole ones, and every way in which one was seen to be broken."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Transformer
from sentence_transformers.sentence_transformer.modules import Dense, Normalize, Pooling

from tests.tiny_encoders import masked_lm, save_masked_lm, splade

POINTER = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'ab' * 32}\nsize 470641600\n"
WEIGHTS = "model.safetensors"
VOCABULARY = "\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "東", "京", "##都", "水"])
ADAPTER = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["query", "value"]}
# A SentencePiece model begins with the length of its first piece.
SPIECE = b"\n\x0e\n\x05<unk>\x15\0\0\0\0\x18\x02"


class Kind(NamedTuple):
    """One way to be broken.

    Attributes:
        base: What it is made of: sparse, dense, bare, or none.
        change: Breaks a copy of it.
        words: What the message must say, and what it must advise.
    """

    base: str
    change: Callable[[Path], object]
    words: tuple[str, ...]


@pytest.fixture(scope="session")
def stored(tmp_path_factory):
    """A SPLADE encoder, a dense one and a bare masked language model, saved whole."""
    root = tmp_path_factory.mktemp("stored")
    save_masked_lm(root / "bare", *masked_lm("bert"))
    splade(root / "backbone").save_pretrained(str(root / "sparse"))
    modules = [Transformer(str(root / "bare")), Pooling(16, "mean"), Dense(16, 8), Normalize()]
    SentenceTransformer(modules=modules, device="cpu").save_pretrained(str(root / "dense"))
    return root


def make(name, stored, folder):
    """A broken copy, by its key in :data:`KINDS`."""
    kind = KINDS[name]
    if kind.base == "none":
        folder.mkdir()
    else:
        shutil.copytree(stored / kind.base, folder)
    kind.change(folder)
    return folder


def pointer(*names):
    return lambda folder: [(folder / name).write_text(POINTER) for name in names]


def half(name):
    def cut(folder):
        data = (folder / name).read_bytes()
        (folder / name).write_bytes(data[: len(data) // 2])

    return cut


def gone(*names):
    return lambda folder: [(folder / name).unlink() for name in names]


def written(name, data):
    def write(folder):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(data if isinstance(data, bytes) else data.encode())

    return write


def several(*changes):
    return lambda folder: [change(folder) for change in changes]


def config(file="config.json", **changes):
    def change(folder):
        path = folder / file
        values = json.loads(path.read_text()) if path.exists() else {}
        path.write_text(json.dumps(values | changes))

    return change


def instead(name, data=b"?"):
    """Weights of another format where those for PyTorch were."""
    return several(gone(WEIGHTS), written(name, data))


def tensors(change):
    def run(folder):
        values = load_file(folder / WEIGHTS)
        change(values)
        save_file(values, folder / WEIGHTS, metadata={"format": "pt"})

    return run


def pickled(change=None):
    def run(folder):
        values = load_file(folder / WEIGHTS) if change is None else change
        (folder / WEIGHTS).unlink()
        torch.save(values, folder / "pytorch_model.bin")

    return run


def shards(folder):
    values = load_file(folder / WEIGHTS)
    (folder / WEIGHTS).unlink()
    first = dict(list(values.items())[:5])
    save_file(first, folder / "model-00001-of-00002.safetensors", metadata={"format": "pt"})
    parts = {name: f"model-0000{1 if name in first else 2}-of-00002.safetensors" for name in values}
    (folder / f"{WEIGHTS}.index.json").write_text(json.dumps({"metadata": {}, "weight_map": parts}))


def adapter(base="base/model"):
    def run(folder):
        for name in (WEIGHTS, "config.json"):
            (folder / name).unlink()
        (folder / "adapter_config.json").write_text(json.dumps({**ADAPTER, "base_model_name_or_path": base}))
        values = {
            f"base_model.model.encoder.layer.{layer}.attention.self.{part}.lora_{side}.weight": torch.ones(shape)
            for layer in range(2)
            for part in ("query", "value")
            for side, shape in (("A", (4, 16)), ("B", (16, 4)))
        }
        save_file(values, folder / "adapter_model.safetensors", metadata={"format": "pt"})

    return run


def deeper(*names):
    def move(folder):
        for name in names:
            (folder / name).mkdir(parents=True)
            (folder / name / "config.json").write_text("{}")
            (folder / name / "tokenizer.json").write_text("{}")

    return move


def tokenizer(kind, **files):
    """The files of another tokenizer, where ``__`` stands for the dot."""
    settings = {} if kind is None else kind if isinstance(kind, dict) else {"tokenizer_class": kind}
    changes = [written(name.replace("__", "."), data) for name, data in files.items()]
    whole = written("tokenizer_config.json", json.dumps(settings))
    return several(gone("tokenizer.json", "tokenizer_config.json"), *([whole] if settings else []), *changes)


def japanese(**settings):
    kind = {"tokenizer_class": "BertJapaneseTokenizer", "subword_tokenizer_type": "wordpiece", **settings}
    return tokenizer(kind, vocab__txt=VOCABULARY)


def linked(folder):
    (folder / WEIGHTS).unlink()
    (folder / WEIGHTS).symlink_to("../../blobs/abc")


def emptied(values):
    values.clear()
    values["a"] = torch.ones(2)


def replaced(name, old, new):
    return lambda folder: (folder / name).write_text((folder / name).read_text().replace(old, new))


NO_TENSORS = b"\2\0\0\0\0\0\0\0{}"
NEW_CODE = {"AutoConfig": "configuration_new.NewConfig", "AutoModel": "modeling_new.NewModel"}
SAFE = "spaces/safetensors/convert"
LFS = ("is a Git LFS pointer of 134 bytes", "git lfs pull")
# Seen without loading anything.
SEEN = {
    "lfs-weights": Kind("sparse", pointer(WEIGHTS), ("model.safetensors", *LFS)),
    "lfs-tokenizer": Kind("sparse", pointer("tokenizer.json"), ("tokenizer.json", *LFS)),
    "lfs-bin": Kind("sparse", several(gone(WEIGHTS), pointer("pytorch_model.bin")), ("pytorch_model.bin", *LFS)),
    "lfs-config": Kind("sparse", pointer("config.json"), ("config.json", *LFS)),
    "lfs-module": Kind("dense", pointer("2_Dense/model.safetensors"), ("2_Dense/model.safetensors", *LFS)),
    "half-weights": Kind("sparse", half(WEIGHTS), ("model.safetensors is cut off", "of 23,568 bytes", "hf download")),
    "half-header": Kind("sparse", written(WEIGHTS, b"\x10\0\0\0\0\0\0\0{"), ("no safetensors file", "hf download")),
    "half-module": Kind("dense", half("2_Dense/model.safetensors"), ("2_Dense/model.safetensors is cut off",)),
    "half-bin": Kind("sparse", several(pickled(), half("pytorch_model.bin")), ("pytorch_model.bin is cut off",)),
    "half-tokenizer": Kind("sparse", half("tokenizer.json"), ("tokenizer.json is no valid JSON (line",)),
    "half-config": Kind("sparse", half("config.json"), ("config.json is no valid JSON (line",)),
    "half-modules": Kind("sparse", half("modules.json"), ("modules.json is no valid JSON (line",)),
    "half-settings": Kind(
        "sparse", half("config_sentence_transformers.json"), ("config_sentence_transformers.json is no valid JSON",)
    ),
    "half-pooling": Kind("dense", half("1_Pooling/config.json"), ("1_Pooling/config.json is no valid JSON",)),
    "unfinished": Kind(
        "sparse", instead("model.safetensors.incomplete"), ("an unfinished model.safetensors.incomplete", "hf download")
    ),
    "empty-weights": Kind("sparse", written(WEIGHTS, b""), ("model.safetensors is empty",)),
    "web-page": Kind("sparse", written(WEIGHTS, "<!DOCTYPE html><html>"), ("model.safetensors is a web page",)),
    "dead-link": Kind("sparse", linked, ("a link to ../../blobs/abc, which is not there", "cp -rL")),
    "shards": Kind(
        "sparse", shards, ("model-00002-of-00002.safetensors is missing, 1 of the 2 parts", "hf download")
    ),
    "no-weights": Kind("sparse", gone(WEIGHTS), ("model.safetensors is missing",)),
    "no-config": Kind("sparse", gone("config.json"), ("config.json is missing",)),
    "no-tokenizer": Kind("sparse", gone("tokenizer.json", "tokenizer_config.json"), ("holds no tokenizer",)),
    "no-pooling": Kind("dense", lambda folder: shutil.rmtree(folder / "1_Pooling"), ("1_Pooling of its module",)),
    "no-dense": Kind("dense", gone("2_Dense/model.safetensors"), ("2_Dense holds no weights",)),
    "list-config": Kind("sparse", written("config.json", "[]"), ("config.json holds a list, not an object",)),
    "latin-config": Kind("sparse", written("config.json", b"\xff\xfe{}"), ("config.json is no UTF-8 text",)),
    "dict-modules": Kind("sparse", written("modules.json", "{}1"), ("modules.json is no valid JSON",)),
    "bias-short": Kind(
        "sparse",
        tensors(lambda values: values.update({"cls.predictions.bias": values["cls.predictions.bias"][:-5].clone()})),
        ("the tensor cls.predictions.bias is 17, config.json makes it 22", "from one place"),
    ),
    "vocabulary-small": Kind("sparse", config(vocab_size=10), ("is 22 x 16, config.json makes it 10 x 16",)),
    "width": Kind("sparse", config(hidden_size=32), ("is 22 x 16, config.json makes it 22 x 32",)),
    "layers": Kind("sparse", config(num_hidden_layers=4), ("says 4 layers, the weights hold 2", "random")),
    "other-weights": Kind("sparse", tensors(emptied), ("no embeddings of a model of type bert", "random")),
    "empty-index": Kind("sparse", instead("model.safetensors.index.json", "{}"), ("names no files of weights",)),
    "lora": Kind("bare", adapter(), ("a LoRA adapter of base/model and needs peft", "pip install peft")),
    "onnx": Kind("sparse", instead("onnx/model.onnx"), ("only ONNX weights (onnx/model.onnx)", "model.safetensors")),
    "openvino": Kind("sparse", instead("openvino/openvino_model.xml"), ("only OpenVINO weights",)),
    "gguf": Kind("none", written("model-q4.gguf", b"GGUF"), ("only GGUF weights", "llama.cpp")),
    "tensorflow": Kind("sparse", instead("tf_model.h5"), ("only TensorFlow or Flax weights", "from_tf=True")),
    "flax": Kind("sparse", instead("flax_model.msgpack"), ("only TensorFlow or Flax weights", "from_flax=True")),
    "pickle": Kind("sparse", instead("model.pkl"), ("only a pickle (model.pkl)", SAFE)),
    "torch": Kind("none", written("model.pt", b"\x80\x04."), ("only a pickle (model.pt)", SAFE)),
    "renamed": Kind("sparse", instead("model (1).safetensors"), ("weights of another name (model (1).safetensors)",)),
    "empty": Kind("none", lambda folder: None, ("it is empty",)),
    "too-high": Kind("none", deeper("model"), ("no model lies in it, but one in model", "give ")),
    "checkpoints": Kind("none", deeper("checkpoint-100", "checkpoint-90"), ("one in checkpoint-100",)),
    "hub-cache": Kind("none", deeper("snapshots/abc"), ("one in snapshots/abc",)),
    "mecab": Kind(
        "bare", japanese(word_tokenizer_type="mecab"), ("pip install fugashi unidic-lite",)
    ),
    "ipadic": Kind(
        "bare",
        japanese(word_tokenizer_type="mecab", mecab_kwargs={"mecab_dic": "ipadic"}),
        ("pip install fugashi ipadic",),
    ),
    "sudachi": Kind("bare", japanese(word_tokenizer_type="sudachi"), ("pip install sudachipy sudachidict_core",)),
    "juman": Kind("bare", japanese(word_tokenizer_type="jumanpp"), ("pip install rhoknp",)),
    "spiece": Kind("bare", tokenizer("T5Tokenizer", spiece__model=SPIECE), ("pip install sentencepiece",)),
    "sentencepiece": Kind(
        "bare", tokenizer("XLMRobertaTokenizer", sentencepiece__bpe__model=SPIECE), ("pip install sentencepiece",)
    ),
    "tiktoken": Kind("bare", tokenizer(None, tokenizer__model="IQ== 0\nIg== 1\n"), ("pip install tiktoken",)),
    "qwen": Kind("bare", tokenizer("QWenTokenizer", qwen__tiktoken="IQ== 0\n"), ("pip install tiktoken",)),
    "tekken": Kind("bare", tokenizer(None, tekken__json="{}"), ("pip install mistral-common",)),
    "moses": Kind(
        "bare", tokenizer("FlaubertTokenizer", vocab__json="{}", merges__txt="a b"), ("pip install sacremoses",)
    ),
    "jieba": Kind("bare", tokenizer("RoFormerTokenizer", vocab__txt=VOCABULARY), ("pip install rjieba",)),
    "merges": Kind("bare", tokenizer("RobertaTokenizer", vocab__json="{}"), ("merges.txt, which belongs",)),
}  # fmt: skip
# Told by the libraries.
TOLD = {
    "model-type": Kind(
        "sparse", config(model_type="newbert"), ("the model_type 'newbert', which transformers", "upgrade transformers")
    ),
    "no-model-type": Kind(
        "none",
        several(written("config.json", "{}"), written(WEIGHTS, NO_TENSORS), written("vocab.txt", VOCABULARY)),
        ("names no model_type",),
    ),
    "own-code": Kind(
        "sparse", config(model_type="newbert", auto_map=NEW_CODE), ("brings its own code", "trust_remote_code=True")
    ),
    "own-module": Kind(
        "dense",
        replaced("modules.json", "sentence_transformers.sentence_transformer.modules.pooling", "own"),
        ("brings its own code", "trust_remote_code=True"),
    ),
    "pickled-code": Kind("sparse", pickled({"a": Fraction(1, 2)}), ("a pickle that holds more than tensors", SAFE)),
    "late-tokenizer": Kind(
        "sparse",
        replaced("tokenizer.json", '"WordPiece"', '"NewPiece"'),
        ("cannot read its tokenizer.json", "upgrade tokenizers"),
    ),
    "other-sizes": Kind(
        "sparse", config(intermediate_size=64), (".intermediate.dense.", "config.json makes it 64")
    ),
}  # fmt: skip
KINDS = SEEN | TOLD
