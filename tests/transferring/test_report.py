"""The report: counts, six lines, JSON, warnings."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sentence_transformers import SparseEncoder

from isthmus.bridge import BridgeVectors
from isthmus.encoders.cards import license_warning, read_front_matter
from isthmus.token_map import TokenMap
from isthmus.transferring import transfer, transfer_encoder
from isthmus.vocabulary import Vocabulary
from tests.tiny_encoders import splade
from tests.tokenizers import wordpiece

MakeVectors = Callable[..., BridgeVectors]
SYLLABLES = [chr(code) for code in range(0xAC00, 0xAC00 + 40)]
LATIN = [f"wort{letter}{other}" for letter in "abcdef" for other in "mnopq"]


def test_counts_and_six_lines(tmp_path: Path, korean: Any, vectors_for: MakeVectors) -> None:
    encoder = splade(tmp_path)
    vectors = vectors_for(encoder.tokenizer, korean)
    _, report = transfer_encoder(
        encoder, korean, vectors=vectors, pool="clean", refine=False, sample_texts=["서울의 학교 zzz", "집 물"]
    )
    record = report.to_dict()
    assert record["target_tokens"] == record["copied"] + record["bridged"] + record["sampled"] + record["background"]
    assert record["bridged"] == 10
    assert record["fates"]["special"] == 5
    assert record["background"] == 2, "the unused tokens"
    assert record["source_unk_rate"] > record["target_unk_rate"] > 0
    assert record["target_fertility"] == pytest.approx(6 / 5)
    assert record["seconds"] > 0
    assert record["options"]["method"] == record["method"] == "sembridge"
    assert record["settings"]["bias"] == "mixed"
    bridged = report.token_map.rows(*[fate for fate in _fates() if fate.value == "bridged"])
    best = (vectors.target[bridged] @ vectors.source.T)[:, _clean(encoder)].max(axis=1)
    assert record["best_similarity"] == pytest.approx(float(best.mean()), abs=1e-6)
    lines = str(report).splitlines()
    assert len(lines) == 6
    assert lines[1].startswith("  copied ")
    assert "exact 4" in lines[1]
    assert "tokens per word" in lines[4]
    assert lines[5].startswith("  warnings    16.7% of the sample texts' tokens are unknown")


def test_saved_beside_the_model(tmp_path: Path, korean: Any, vectors_for: MakeVectors) -> None:
    encoder = splade(tmp_path / "source")
    result, report = transfer_encoder(encoder, korean, vectors=vectors_for(encoder.tokenizer, korean))
    result.save_pretrained(str(tmp_path / "result"))
    report.save(tmp_path / "result")
    record = json.loads((tmp_path / "result" / "transfer_report.json").read_text(encoding="utf-8"))
    assert record == json.loads(json.dumps(report.to_dict()))
    assert TokenMap.load(tmp_path / "result").explain("집") == report.token_map.explain("집")
    SparseEncoder(str(tmp_path / "result"), device="cpu")


@pytest.mark.parametrize(
    ("license", "expected"),
    [
        ("cc-by-nc-sa-4.0", "forbids commercial use"),
        ("cc-by-nc-4.0", "forbids commercial use"),
        ("cc-by-sa-4.0", "shared under the same licence"),
        ("agpl-3.0", "shared under the same licence"),
        ("other", "read its terms"),
        ("apache-2.0", None),
        ("mit", None),
        (None, None),
    ],
)
def test_license_warning(license: str | None, expected: str | None) -> None:
    warning = license_warning(license)
    assert warning is None if expected is None else expected in str(warning)


def test_license_and_names_reach_the_model_card(tmp_path: Path, korean: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_network(*_: Any, **__: Any) -> None:
        raise AssertionError("the hub was asked")

    splade(tmp_path / "source")
    card = "---\nlicense: CC-BY-NC-SA-4.0\nlanguage: en\n---\n# SPLADE\n"
    (tmp_path / "source" / "README.md").write_text(card, encoding="utf-8")
    korean.save_pretrained(tmp_path / "korean")
    (tmp_path / "korean" / "README.md").write_text("---\nlanguage:\n- ko\n---\n", encoding="utf-8")
    monkeypatch.setattr("sentence_transformers.base.model_card.get_model_info", no_network)
    result, report = transfer(tmp_path / "source", target_tokenizer=tmp_path / "korean", method="mean")
    assert report.license == "cc-by-nc-sa-4.0"
    assert any("forbids commercial use" in warning for warning in report.warnings)
    result.save_pretrained(str(tmp_path / "result"))
    text = (tmp_path / "result" / "README.md").read_text(encoding="utf-8")
    front = read_front_matter(text)
    assert front["license"] == "cc-by-nc-sa-4.0"
    assert front["language"] == ["ko"]
    assert front["base_model"] == "source"
    assert "isthmus" in front["tags"]
    assert "# source with the vocabulary of korean" in text
    assert str(tmp_path) not in text
    # A second transfer reads it from the card of the first.
    _, again = transfer(tmp_path / "result", target_tokenizer=tmp_path / "korean", method="mean", language="en")
    assert again.license == "cc-by-nc-sa-4.0"


def test_settings_are_recorded_as_they_took_effect(tmp_path: Path, korean: Any) -> None:
    encoder = splade(tmp_path)
    given: dict[str, Any] = {"exact": True, "fuzzy": False, "symbol": True, "strip_marker": True, "bias": "zero"}
    _, report = transfer_encoder(encoder, korean, method="mean", **given)
    replaced = {"keep_source": False, "output": "target", "fold": 1.0, "norm": "mixed", "own_direction": 0.0}
    assert report.to_dict()["settings"] == given | replaced | {"as_released": False}
    _, report = transfer_encoder(encoder, korean, method="mean", as_released=True, **given)
    released = {"as_released": True, "strip_marker": False, "bias": "position"}
    assert report.to_dict()["settings"] == given | replaced | released


def test_malformed_front_matter_is_no_front_matter() -> None:
    assert read_front_matter("# nothing") == {}
    assert read_front_matter("---\n: [\n---\n") == {}
    assert read_front_matter("---\njust text\n---\n") == {}


def _near(sources: int, count: int) -> np.ndarray:
    """Source tokens that ``count`` target tokens are close to, one after the other: a bridge that knows its words."""
    return 8 + np.arange(count) % (sources - 8)


def _bridged(folder: Path, target: np.ndarray, source_dim: int = 64) -> tuple[SparseEncoder, Any, BridgeVectors]:
    """An encoder, a tokenizer of Latin words then Hangul syllables, and vectors whose last rows are ``target``."""
    encoder, tokenizer = splade(folder), wordpiece([*LATIN, *SYLLABLES], pad_id=3, lowercase=False)
    generator = np.random.default_rng(0)
    rows = generator.standard_normal((Vocabulary.from_tokenizer(tokenizer).size, source_dim))
    source = generator.standard_normal((len(encoder.tokenizer), source_dim))
    first = len(rows) - len(SYLLABLES) - len(LATIN)
    rows[first:-40] = source[_near(len(source), len(rows) - first - 40)] + rows[first:-40] * 0.05
    rows[-40:] = target
    unit = [(matrix / np.linalg.norm(matrix, axis=1, keepdims=True)).astype(np.float32) for matrix in (source, rows)]
    return encoder, tokenizer, BridgeVectors(unit[0], unit[1], "made up")


def test_a_bridge_that_does_not_know_the_script(tmp_path: Path) -> None:
    generator = np.random.default_rng(1)
    constant = np.tile(generator.standard_normal(64), (40, 1))
    encoder, tokenizer, vectors = _bridged(tmp_path / "a", constant)
    _, report = transfer_encoder(encoder, tokenizer, vectors=vectors)
    assert [warning for warning in report.warnings if "Hangul" in warning] == [
        "the bridge hardly knows the script Hangul: 40 of its 40 tokens have no vector of their own; choose a bridge "
        "that was trained on it"
    ]
    encoder, tokenizer, vectors = _bridged(tmp_path / "b", generator.standard_normal((40, 64)))
    _, report = transfer_encoder(encoder, tokenizer, vectors=vectors)
    assert any("Hangul: 40 of its 40 tokens have no close source token" in warning for warning in report.warnings)
    near = vectors.source[_near(len(vectors.source), 40)] + generator.standard_normal((40, 64)) * 0.02
    encoder, tokenizer, vectors = _bridged(tmp_path / "c", near)
    _, report = transfer_encoder(encoder, tokenizer, vectors=vectors)
    assert not any("Hangul" in warning for warning in report.warnings)


def test_indistinguishable_tokens_are_counted(tmp_path: Path, korean: Any, vectors_for: MakeVectors) -> None:
    encoder = splade(tmp_path)
    _, report = transfer_encoder(encoder, korean, method="mean")
    assert report.indistinguishable == 0
    assert report.counts["background"] == 12, "ten Korean and two unused tokens share the mean"
    good = vectors_for(encoder.tokenizer, korean)
    ids = korean.convert_tokens_to_ids(["집", "학교"])
    target = good.target.copy()
    target[ids] = good.target[ids[0]]
    _, report = transfer_encoder(encoder, korean, vectors=BridgeVectors(good.source, target, "twins"))
    assert report.indistinguishable_examples[0] == ("집", "학교", 1.0)
    assert f"{report.indistinguishable} indistinguishable pairs (집 = 학교" in str(report)


def test_special_tokens_around_a_text_and_late_pad_ids(tmp_path: Path, vectors_for: MakeVectors) -> None:
    from tests.tokenizers import byte_fallback_bpe

    encoder = splade(tmp_path, "roberta")
    words = [f"word{number}" for number in range(1100)]
    _, report = transfer_encoder(encoder, wordpiece(words, pad_id=1090), method="mean")
    assert report.warnings == ("the pad id 1090 adds 1089 unused rows to the position table",)
    _, report = transfer_encoder(encoder, byte_fallback_bpe(["▁집", "▁물"]), method="mean")
    assert report.warnings == ("the source tokenizer puts 2 special tokens around a text, the target tokenizer 1",)


def _fates() -> Any:
    from isthmus.token_map import FATES

    return FATES


def _clean(encoder: SparseEncoder) -> list[int]:
    vocabulary = Vocabulary.from_tokenizer(encoder.tokenizer)
    return [token.id for token in vocabulary.tokens if token.kind.value not in ("special", "unused", "byte")]
