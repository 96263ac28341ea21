import json

import pytest

from isthmus import assets

pytestmark = pytest.mark.assets


@pytest.mark.long
def test_quickstart_carries_the_encoder_over_and_searches(run, tmp_path, monkeypatch):
    monkeypatch.setenv("ISTHMUS_CACHE", str(tmp_path / "cache"))
    code, out, err = run("quickstart", "ko", "-o", tmp_path / "ko", "--json")
    assert code == 0, err
    row = json.loads(out)
    assert row["transfer"]["bridged"] > 10_000
    assert any(source == "school" for source, _ in row["words"]["학교"])
    assert len(row["searches"]) == 3
    assert [(found["asked_in"], found["found_in"]) for found in row["searches"]] == [
        ("en", "ko"), ("ko", "en"), ("ko", "ko")
    ]  # fmt: skip
    assert all(found["terms"] and found["right"] for found in row["searches"])
    scores = row["ndcg@10"]
    assert scores["sembridge"] > scores["vocabulary replaced"] > 0.4 > scores["mean"]
    assert scores["sembridge, echo"] > scores["sembridge"]
    assert scores["vocabulary replaced, echo"] > scores["vocabulary replaced"] + 0.1
    directions = row["directions"]
    assert directions["sembridge"]["en-en"] == pytest.approx(directions["base"]["en-en"], abs=0.005)
    for direction in ("en-ko", "ko-en"):
        assert directions["sembridge"][direction] > 0.4 > directions["base"][direction]
        assert directions["BM25"][direction] is None
    code, out, _ = run("inspect", tmp_path / "ko", "학교", "--json")
    assert json.loads(out)["sources"][0][0] == "school"


def test_quickstart_refuses_a_language_nobody_prepared(run):
    code, _, err = run("quickstart", "xx")
    assert code == 2
    assert "ko" in err


def test_assets_open_by_name_and_never_fall_through_to_a_hub():
    names = assets.names()
    assert {"isthmus/mini-splade-en", "isthmus/mini-bridge", "isthmus/tokenizer-ko", "isthmus/demo"} <= set(names)
    for name in names:
        assert (assets.resolve(name) / "README.md").is_file(), f"{name} has no card"
    for name in ("isthmus/nothing", "isthmus/../errors.py", "isthmus/"):
        with pytest.raises(ValueError, match="built-in asset"):
            assets.resolve_model(name)


def test_assets_stay_within_their_size():
    total = sum(
        path.stat().st_size for name in assets.names() for path in assets.resolve(name).rglob("*") if path.is_file()
    )
    assert total < 64e6
