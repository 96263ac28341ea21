"""Models and tokenizers that cannot be opened: every kind is one line with the remedy."""

import json
import os
import shutil
import subprocess
import sys

import pytest
import transformers

from isthmus.encoders.load import check_whole, load_encoder, load_tokenizer, try_encoder
from isthmus.encoders.preflight import check_stored, find_faults
from isthmus.encoders.tokenizer_files import SPLIT_BEFORE, missing_packages
from isthmus.errors import EncoderError, IsthmusError, NotFoundError, TokenizerError
from tests.encoders.broken import KINDS, POINTER, SEEN, TOLD, adapter, make, stored, tokenizer

__all__ = ["stored"]
# Packages that would mend a kind, where they are installed.
MENDED_BY = {
    "lora": ("peft",), "mecab": ("fugashi", "unidic-lite"), "ipadic": ("fugashi", "ipadic"),
    "sudachi": ("sudachipy", "sudachidict_core"), "juman": ("rhoknp",), "spiece": ("sentencepiece", "protobuf"),
    "sentencepiece": ("sentencepiece", "protobuf"), "tiktoken": ("tiktoken",), "qwen": ("tiktoken",),
    "tekken": ("mistral-common",), "moses": ("sacremoses",), "jieba": ("rjieba",),
}  # fmt: skip


def skip_if_installed(name):
    if name in MENDED_BY and not missing_packages(MENDED_BY[name]):
        pytest.skip("the packages that it needs are installed")


@pytest.mark.parametrize("base", ["sparse", "dense", "bare"])
def test_whole_models_pass(stored, base):
    assert find_faults(stored / base) == []
    assert find_faults(stored / base, "tokenizer") == []
    check_stored(stored / base)


@pytest.mark.assets
@pytest.mark.parametrize("name", ["isthmus/mini-bridge", "isthmus/mini-splade-en"])
def test_built_in_models_pass(name):
    check_stored(name)
    check_stored(name, "tokenizer", "tokenizer")


@pytest.mark.parametrize("name", SEEN)
def test_what_is_seen_before_loading(name, stored, tmp_path):
    skip_if_installed(name)
    folder = make(name, stored, tmp_path / name)
    with pytest.raises(EncoderError) as caught:
        check_stored(folder, "model")
    message = str(caught.value)
    assert message.startswith(f"model must be a folder that transformers opens, got {folder} (")
    assert all(words in message for words in KINDS[name].words), message
    assert "\n" not in message
    assert "weights_only" not in message


@pytest.mark.parametrize("name", [*TOLD, "lfs-weights", "half-weights", "bias-short", "no-pooling", "spiece", "gguf"])
def test_what_opening_tells(name, stored, tmp_path):
    skip_if_installed(name)
    folder = make(name, stored, tmp_path / name)
    with pytest.raises(EncoderError) as caught:
        load_encoder(folder)
    assert all(words in str(caught.value) for words in KINDS[name].words), caught.value
    assert "\n" not in str(caught.value)
    encoder, faults = try_encoder(folder)
    assert encoder is None
    assert faults[0].remedy


OF_TOKENIZERS = [
    "lfs-tokenizer", "half-tokenizer", "late-tokenizer", "no-tokenizer", "empty", "mecab", "spiece", "tiktoken",
    "merges",
]  # fmt: skip


@pytest.mark.parametrize("name", OF_TOKENIZERS)
def test_tokenizers(name, stored, tmp_path):
    skip_if_installed(name)
    folder = make(name, stored, tmp_path / name)
    with pytest.raises(TokenizerError) as caught:
        load_tokenizer(folder)
    assert str(caught.value).startswith("target_tokenizer must be a folder that transformers opens, got ")
    assert all(words in str(caught.value) for words in KINDS[name].words), caught.value


def test_a_vocabulary_of_words_that_mecab_finds_can_be_read_without_it(stored, tmp_path):
    skip_if_installed("mecab")
    folder = make("mecab", stored, tmp_path / "japanese")
    (folder / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "東京", "##都", "に"]))
    with pytest.raises(TokenizerError, match=r"as a target, make a tokenizer\.json") as caught:
        load_tokenizer(folder)
    assert SPLIT_BEFORE in str(caught.value)
    told = SPLIT_BEFORE.partition(": ")[2].replace("FOLDER", str(folder)).replace("NEW", str(tmp_path / "new"))
    # The remedy itself.
    eval(told, {"transformers": transformers})
    assert load_tokenizer(tmp_path / "new").tokenize("東京都 に") == ["東京", "##都", "に"]


def test_a_tokenizer_without_words_is_none(stored, tmp_path):
    """transformers opens it without a word, and every text is unknown."""
    shutil.copytree(stored / "bare", tmp_path / "bare")
    tokenizer("BertTokenizer", vocab__txt="[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n")(tmp_path / "bare")
    with pytest.raises(TokenizerError, match="knows special tokens alone"):
        load_tokenizer(tmp_path / "bare")
    with pytest.raises(EncoderError, match="knows special tokens alone"):
        load_encoder(tmp_path / "bare")


def test_folders_of_several_faults_tell_all(stored, tmp_path):
    folder = make("lfs-weights", stored, tmp_path / "model")
    (folder / "tokenizer.json").write_text((folder / "model.safetensors").read_text())
    assert [fault.message.split()[0] for fault in find_faults(folder)] == ["model.safetensors", "tokenizer.json"]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("https://huggingface.co/intfloat/multilingual-e5-small", "give intfloat/multilingual-e5-small"),
        ("https://huggingface.co/naver/splade-v3/tree/main", "give naver/splade-v3"),
        ("./nowhere", "nowhere does not exist"),
    ],
)
def test_names_that_lead_nowhere(name, words):
    for refuse in (check_stored, load_encoder, load_tokenizer):
        with pytest.raises(NotFoundError, match=words):
            refuse(name)


def test_a_file_is_no_folder(stored, tmp_path):
    with pytest.raises(EncoderError, match=r"\(it is a file\); give the folder that it lies in$"):
        load_encoder(stored / "sparse" / "model.safetensors")
    (tmp_path / "model.zip").write_bytes(b"PK")
    with pytest.raises(EncoderError, match="give the folder that it lies in, unpacked"):
        load_encoder(tmp_path / "model.zip")


def test_a_tokenizer_alone_is_no_model(stored, tmp_path):
    (tmp_path / "korean").mkdir()
    shutil.copy(stored / "bare" / "tokenizer.json", tmp_path / "korean")
    with pytest.raises(EncoderError, match="it holds a tokenizer alone"):
        load_encoder(tmp_path / "korean")
    assert find_faults(tmp_path / "korean", "tokenizer") == []


def test_permission(stored, tmp_path, monkeypatch):
    folder = make("lfs-weights", stored, tmp_path / "model")
    monkeypatch.setattr(os, "access", lambda *arguments: False)
    with pytest.raises(EncoderError, match=r"may not be read by this user\); give the permission: chmod"):
        load_encoder(folder)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_permission_of_a_file(stored, tmp_path):
    shutil.copytree(stored / "sparse", tmp_path / "model")
    (tmp_path / "model" / "model.safetensors").chmod(0)
    with pytest.raises(EncoderError, match=r"model\.safetensors may not be read by this user"):
        load_encoder(tmp_path / "model")


def test_pickles_of_tensors_still_open(stored, tmp_path):
    """transformers reads them without running code."""
    from tests.encoders.broken import pickled

    shutil.copytree(stored / "sparse", tmp_path / "model")
    pickled()(tmp_path / "model")
    assert load_encoder(tmp_path / "model").encode(["the house"]).shape[0] == 1


def test_what_is_left_out_of_git_is_not_missed(stored, tmp_path):
    """Normalize has no settings, and git keeps no empty folders."""
    shutil.copytree(stored / "dense", tmp_path / "model")
    shutil.rmtree(tmp_path / "model" / "3_Normalize")
    assert load_encoder(tmp_path / "model") is not None


def test_modules_inside_a_router(tmp_path):
    from tests.tiny_encoders import inference_free

    inference_free(tmp_path / "backbone").save_pretrained(str(tmp_path / "router"))
    assert find_faults(tmp_path / "router") == []
    for part in ("document_0_Transformer", "query_0_SparseStaticEmbedding"):
        shutil.copytree(tmp_path / "router", tmp_path / part)
        (tmp_path / part / part / "model.safetensors").write_text(POINTER)
        with pytest.raises(EncoderError, match=rf"{part}/model\.safetensors is a Git LFS pointer"):
            load_encoder(tmp_path / part)
    shutil.rmtree(tmp_path / "router" / "query_0_SparseStaticEmbedding")
    with pytest.raises(EncoderError, match="the folder query_0_SparseStaticEmbedding of its module"):
        load_encoder(tmp_path / "router")


def test_static_embeddings(tmp_path):
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding

    from tests.tiny_encoders import bert_tokenizer

    modules = [StaticEmbedding(bert_tokenizer().backend_tokenizer, embedding_dim=8)]
    SentenceTransformer(modules=modules, device="cpu").save_pretrained(str(tmp_path / "static"))
    assert find_faults(tmp_path / "static") == []
    (tmp_path / "static" / "tokenizer.json").unlink()
    with pytest.raises(EncoderError, match="holds no tokenizer"):
        load_encoder(tmp_path / "static")


def test_the_layout_of_early_versions(stored, tmp_path):
    shutil.copytree(stored / "bare", tmp_path / "old" / "0_Transformer")
    (tmp_path / "old" / "1_Pooling").mkdir()
    settings = {"word_embedding_dimension": 16, "pooling_mode_mean_tokens": True}
    (tmp_path / "old" / "1_Pooling" / "config.json").write_text(json.dumps(settings))
    modules = [("0_Transformer", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize")]
    rows = [
        {"idx": 0, "name": path, "path": path, "type": f"sentence_transformers.models.{kind}"} for path, kind in modules
    ]
    (tmp_path / "old" / "modules.json").write_text(json.dumps(rows))
    assert load_encoder(tmp_path / "old") is not None
    (tmp_path / "old" / "0_Transformer" / "model.safetensors").write_text(POINTER)
    with pytest.raises(EncoderError, match=r"0_Transformer/model\.safetensors is a Git LFS pointer"):
        load_encoder(tmp_path / "old")


def test_tokens_without_a_row(stored, tmp_path):
    """Opened, for the texts may do without these tokens; told where one needs them."""
    from isthmus.evaluation.models import encode
    from tests.tiny_encoders import roberta_tokenizer

    for kind in ("sparse", "dense"):
        shutil.copytree(stored / kind, tmp_path / kind)
        roberta_tokenizer().save_pretrained(str(tmp_path / kind))
        with pytest.raises(EncoderError, match=r"an embedding row for every token of its tokenizer, .*isthmus doctor"):
            encode(load_encoder(tmp_path / kind), ["the house"], role="query")


def test_adapters(stored, tmp_path):
    pytest.importorskip("peft")
    shutil.copytree(stored / "bare", tmp_path / "lora")
    adapter(str(stored / "bare"))(tmp_path / "lora")
    encoder = load_encoder(tmp_path / "lora")
    with pytest.raises(EncoderError, match=r"encoder must hold all its weights, got .*lora, a LoRA adapter; merge it"):
        load_encoder(tmp_path / "lora", whole=True)
    with pytest.raises(EncoderError, match="a LoRA adapter"):
        check_whole(encoder, "lora")
    settings = json.loads((tmp_path / "lora" / "adapter_config.json").read_text())
    (tmp_path / "lora" / "adapter_config.json").write_text(json.dumps(settings | {"base_model_name_or_path": "/gone"}))
    with pytest.raises(EncoderError, match="a LoRA adapter of /gone, which is not there"):
        load_encoder(tmp_path / "lora")


def test_adapters_are_told_by_their_parts():
    """As transformers marks a model that holds one."""
    from torch.nn import Linear, Sequential

    model = Sequential(Linear(2, 2))
    check_whole(model, "x")
    model[0]._hf_peft_config_loaded = True
    with pytest.raises(EncoderError, match="model must hold all its weights, got x, a LoRA adapter"):
        check_whole(model, "x", "model")


def test_other_doors_say_the_same(stored, tmp_path):
    from isthmus.bridge import open_bridge
    from isthmus.encoders.fingerprint import open_encoder
    from isthmus.evaluation.bm25 import BM25
    from isthmus.evaluation.models import load_model
    from isthmus.training.teacher import load_teacher

    folder = make("lfs-weights", stored, tmp_path / "model")
    for opens in (open_bridge, open_encoder, load_teacher, lambda path: load_model(str(path))):
        with pytest.raises(IsthmusError, match=r"got .*model \(model\.safetensors is a Git LFS pointer of 134 bytes"):
            opens(folder)
    with pytest.raises(NotFoundError, match=r"tokenizer\.json is a Git LFS pointer"):
        BM25(make("lfs-tokenizer", stored, tmp_path / "tokenizer"))


def test_looking_needs_no_library(stored, tmp_path):
    folder = make("lfs-weights", stored, tmp_path / "model")
    code = (
        "import sys\nfrom isthmus.encoders.preflight import find_faults\nfrom pathlib import Path\n"
        f"assert find_faults(Path({str(folder)!r}))\n"
        "sys.exit(any(name in sys.modules for name in ('torch', 'transformers', 'sentence_transformers')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
