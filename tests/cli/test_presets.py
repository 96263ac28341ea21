import json

import pytest
from sentence_transformers import SparseEncoder
from transformers import AutoTokenizer

from isthmus.bridge import load_vectors
from isthmus.transferring.preset import PRESETS


@pytest.fixture
def hub(monkeypatch, folders):
    """Tiny models in place of those of the hub; returns what was opened, in order."""
    opened = []

    def encoder(name, **_):
        opened.append(name)
        return SparseEncoder(str(folders / "source"))

    def tokenizer(name, **_):
        opened.append(name)
        return AutoTokenizer.from_pretrained(str(folders / "korean"))

    def vectors(name, source, target, **_):
        opened.append(name)
        return load_vectors(folders / "vectors.safetensors", source, target)

    monkeypatch.setattr("isthmus.cli._hub.hub_answers", lambda: True)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr("isthmus.transferring.pipeline.load_encoder", encoder)
    monkeypatch.setattr("isthmus.transferring.pipeline.load_tokenizer", tokenizer)
    monkeypatch.setattr("isthmus.transferring.pipeline.open_bridge", lambda name, **_: name)
    monkeypatch.setattr("isthmus.transferring.pipeline.embed_vocabularies", vectors)
    return opened


def test_presets_are_listed_with_licences(run):
    code, out, _ = run("presets")
    assert code == 0
    for text in (
        "naver/splade-v3  cc-by-nc-sa-4.0",
        "BAAI/bge-m3  mit",
        "licence unknown, see its page",
        "tokenizer-zh",
    ):
        assert text in out
    code, out, _ = run("presets", "--json")
    rows = [json.loads(line) for line in out.splitlines()]
    assert [row["preset"] for row in rows] == list(PRESETS)
    assert rows[2]["target_tokenizer"]["license"] is None
    assert rows[2]["target_tokenizer"]["page"] == "https://huggingface.co/monologg/kobigbird-bert-base"
    assert rows[2]["settings"] == {"method": "sembridge", "alpha": 4.0}


def test_a_preset_fills_what_a_transfer_needs_and_tells_the_licence(run, hub, tmp_path):
    code, out, err = run("transfer", "--preset", "splade-v3-ko", "-o", tmp_path / "new", "--json")
    assert code == 0, err
    assert hub == ["naver/splade-v3", "monologg/kobigbird-bert-base", "BAAI/bge-m3"]
    assert json.loads(out)["method"] == "sembridge"
    assert "splade-v3-ko: naver/splade-v3: the source licence cc-by-nc-sa-4.0 forbids commercial use" in err
    assert "\n- ko\n" in (tmp_path / "new" / "README.md").read_text()


def test_options_come_before_the_preset(run, hub, tmp_path):
    options = ("--target-tokenizer", "some/tokenizer", "--method", "mean", "--language", "de")
    code, out, err = run(
        "transfer", "some/encoder", "--preset", "splade-v3-ko", *options, "-o", tmp_path / "new", "--json"
    )
    assert code == 0, err
    assert hub == ["some/encoder", "some/tokenizer"]
    assert json.loads(out)["method"] == "mean"
    assert "licence" not in err
    assert "\n- de\n" in (tmp_path / "new" / "README.md").read_text()


def test_refusals(run, tmp_path):
    code, _, err = run("transfer", "--preset", "splade-v3-kor", "-o", tmp_path / "new")
    assert (code, "did you mean 'splade-v3-ko'?" in err) == (2, True)
    code, _, err = run("transfer", "-o", tmp_path / "new")
    assert (code, "ENCODER must be given, got none; name one, or take a --preset" in err) == (2, True)
    code, _, err = run("transfer", "isthmus/mini-splade-en", "-o", tmp_path / "new")
    assert (code, "--target-tokenizer must be given, got none" in err) == (2, True)
    assert not (tmp_path / "new").exists()


@pytest.mark.assets
def test_a_built_in_preset_works_offline(run, tmp_path):
    code, out, err = run("transfer", "--preset", "mini-ko", "--method", "mean", "-o", tmp_path / "new", "--json")
    assert code == 0, err
    assert json.loads(out)["method"] == "mean"
    assert SparseEncoder(str(tmp_path / "new")).get_embedding_dimension() == 32200
