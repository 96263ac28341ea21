import inspect

import pytest

import isthmus
from isthmus import assets
from isthmus.errors import UnknownNameError
from isthmus.transferring.pipeline import transfer
from isthmus.transferring.preset import PRESETS, find_preset, preset


def test_the_papers_encoders_go_with_every_language_and_so_do_the_mini_models():
    languages = ("ar", "hi", "ko", "ru", "zh")
    encoders = ("splade-v3", "splade-pp-en-v1", "opensearch-v1", "granite-30m", "mini")
    assert set(PRESETS) == {f"{encoder}-{language}" for encoder in encoders for language in languages}
    for name, found in PRESETS.items():
        assert name == found.name
        assert name.endswith(f"-{found.language}")


def test_a_preset_is_the_arguments_of_a_transfer():
    assert preset("splade-v3-ko") == {
        "encoder": "naver/splade-v3",
        "target_tokenizer": "monologg/kobigbird-bert-base",
        "bridge": "BAAI/bge-m3",
        "language": "ko",
        "method": "sembridge",
        "alpha": 4.0,
    }
    for name in PRESETS:
        inspect.signature(transfer).bind(**preset(name))


def test_what_is_given_comes_before_the_preset():
    found = preset("mini-ru", alpha=3.0, bridge="BAAI/bge-m3", method=None)
    assert (found["alpha"], found["bridge"], found["method"]) == (3.0, "BAAI/bge-m3", "sembridge")
    assert found["encoder"] == "isthmus/mini-splade-en"


def test_the_language_goes_with_the_tokenizer():
    assert "language" not in preset("mini-ko", target_tokenizer="isthmus/tokenizer-ru")
    assert preset("mini-ko", target_tokenizer="isthmus/tokenizer-ru", language="ru")["language"] == "ru"
    assert preset("mini-ko", keep_source=True)["language"] == ["en", "ko"]


def test_an_unknown_preset_names_the_nearest():
    with pytest.raises(
        UnknownNameError, match=r"preset must be one of .*got 'splade-v3-kor'; did you mean 'splade-v3-ko"
    ):
        preset("splade-v3-kor")
    with pytest.raises(UnknownNameError, match=r"got 'nothing like it'$"):
        find_preset("nothing like it")


def test_built_in_presets_name_what_is_there():
    for language in ("ar", "hi", "ko", "ru", "zh"):
        found = PRESETS[f"mini-{language}"]
        for part in (found.encoder, found.tokenizer, found.bridge):
            assert part.name in assets.names()
            assert part.page is None
        assert found.notes() == []


def test_built_in_facts_are_those_of_the_assets():
    for language in ("ko", "zh"):
        part = PRESETS[f"mini-{language}"].tokenizer
        readme = (assets.resolve(part.name) / "README.md").read_text(encoding="utf-8")
        assert part.facts.split(", ")[1] in readme
        assert f"license: {part.license}" in readme


def test_licences_are_told_for_the_parts_in_use():
    found = find_preset("splade-v3-ko")
    forbids, unknown = found.notes()
    assert forbids.startswith("naver/splade-v3: the source licence cc-by-nc-sa-4.0 forbids commercial use")
    assert unknown.endswith("kobigbird-bert-base is unknown; see https://huggingface.co/monologg/kobigbird-bert-base")
    assert found.notes(encoder="other") == [unknown]
    assert found.notes(target_tokenizer=["other"]) == [forbids]
    assert find_preset("granite-30m-hi").notes() == []


def test_a_preset_opens_its_models_by_name(monkeypatch):
    opened = []

    def stop(name, **_):
        opened.append(name)
        raise LookupError

    monkeypatch.setattr("isthmus.transferring.pipeline.load_encoder", stop)
    with pytest.raises(LookupError):
        isthmus.transfer(**preset("opensearch-v1-zh"))
    assert opened == ["opensearch-project/opensearch-neural-sparse-encoding-v1"]
