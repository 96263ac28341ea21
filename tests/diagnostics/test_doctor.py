"""The whole examination."""

import pytest
import torch
from sentence_transformers import SentenceTransformer, SparseEncoder
from sentence_transformers.sentence_transformer.modules import StaticEmbedding

from isthmus.diagnostics import Finding, diagnose
from isthmus.diagnostics.diagnosis import sample
from isthmus.errors import EncoderError, InputError
from tests.diagnostics.conftest import TEXTS, WORDS, by_check
from tests.tiny_encoders import inference_free

VECTOR_CHECKS = {"active-dims", "empty-vectors", "dead-columns", "always-on", "special-columns"}


def levels(findings):
    return {finding.check: finding.level for finding in findings if finding.level != "ok"}


def test_nothing_is_wrong_with_a_healthy_encoder(encoder, healthy_folder):
    findings = diagnose(encoder, TEXTS, folder=healthy_folder / "sparse")
    assert levels(findings) == {}
    assert VECTOR_CHECKS | {"known-item", "unknown", "fertility", "cut-texts"} <= set(by_check(findings))


def test_dense_encoder(dense):
    findings = by_check(diagnose(dense, TEXTS))
    assert levels(findings.values()) == {}
    assert not findings.keys() & {"head", "tied", "bias", *VECTOR_CHECKS}
    assert findings["known-item"].value > 0.9


def test_dense_encoder_that_cannot_tell_texts_apart(dense):
    with torch.no_grad():
        dense[0].model.get_input_embeddings().weight.copy_(torch.ones(64))
    assert levels(diagnose(dense, TEXTS)) == {"known-item": "error"}


def test_static_dense_encoder_is_measured_without_bm25(encoder):
    static = StaticEmbedding(encoder.tokenizer.backend_tokenizer, embedding_dim=64)
    findings = by_check(diagnose(SentenceTransformer(modules=[static], device="cpu"), TEXTS))
    assert levels(findings.values()) == {"vocabulary": "note"}
    assert "BM25" not in findings["known-item"].message


def test_sparse_encoder_whose_columns_are_no_tokens(dense):
    findings = by_check(diagnose(SparseEncoder(modules=[dense[0], dense[1]], device="cpu"), TEXTS))
    assert VECTOR_CHECKS & findings.keys() == {"active-dims", "empty-vectors"}
    assert levels(findings.values()) == {"pooling": "note", "active-dims": "warning"}


def test_inference_free_encoder(tmp_path):
    texts = [f"{words} " * (6 + i) for i in range(4) for words in ("the house", "war of water", "school capital")]
    findings = by_check(diagnose(inference_free(tmp_path / "mlm"), texts))
    assert findings["head"].level == "ok"
    assert VECTOR_CHECKS | {"known-item"} <= set(findings)


def test_column_that_is_always_on(encoder, head):
    head.bias[5 + 2 + 30] = 50.0
    findings = by_check(diagnose(encoder, TEXTS))
    assert levels(findings.values()) == {"bias": "warning", "always-on": "warning"}
    assert findings["always-on"].value == 1
    assert WORDS[30] in findings["always-on"].message


def test_columns_that_are_all_silent(encoder, head):
    head.bias.fill_(-100.0)
    assert levels(diagnose(encoder, TEXTS)) == {
        "bias": "error",
        "active-dims": "warning",
        "empty-vectors": "error",
        "known-item": "error",
    }


def test_special_tokens_in_the_vectors(encoder, head):
    head.bias[encoder.tokenizer.cls_token_id] = 10.0
    findings = by_check(diagnose(encoder, TEXTS))
    assert levels(findings.values()) == {"special-columns": "warning"}
    assert "[CLS]" in findings["special-columns"].message


def test_silenced_columns_are_not_called_dead(encoder, head):
    head.bias[7 + 20 :] = -1e4
    assert "dead-columns" not in levels(diagnose(encoder, TEXTS))


def test_backbone_that_was_never_made_sparse(encoder, head):
    """The Korean RoBERTa of sentence-transformers#3431: every dimension is active."""
    head.bias.fill_(15.0)
    found = levels(diagnose(encoder, TEXTS))
    assert found["active-dims"] == found["always-on"] == found["special-columns"] == "warning"


def test_texts_the_tokenizer_does_not_know(encoder):
    strange = [" ".join(f"낱말{i * 20 + j}" for j in range(14)) for i in range(20)]
    found = levels(diagnose(encoder, strange))
    assert found["unknown"] == found["known-item"] == "error"


def test_broken_encoders_are_not_run(encoder, head):
    head.transform.dense.weight[0, 0] = float("nan")
    findings = by_check(diagnose(encoder, TEXTS))
    assert not findings.keys() & {*VECTOR_CHECKS, "known-item"}
    assert findings["texts"].level == "note"
    assert "errors of weights" in findings["texts"].message
    assert findings["unknown"].level == "ok"


def test_encoder_stays_as_it_is(encoder):
    before = {name: tensor.clone() for name, tensor in encoder.state_dict().items()}
    encoder.train()
    diagnose(encoder, TEXTS[:12])
    assert encoder.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in encoder.state_dict().items())


def test_the_same_seed_finds_the_same(encoder):
    few = {"max_texts": 15}
    assert diagnose(encoder, TEXTS, seed=1, **few) == diagnose(encoder, TEXTS, seed=1, **few)
    assert diagnose(encoder, TEXTS, seed=1, **few) != diagnose(encoder, TEXTS, seed=2, **few)


def test_sample():
    texts = [f"text {i}" for i in range(20)]
    drawn = sample(texts, 5, seed=0)
    assert len(drawn) == len(set(drawn)) == 5
    assert drawn == sorted(drawn, key=texts.index) == sample(texts, 5, seed=0) != sample(texts, 5, seed=1)
    assert sample([" a ", "", "a", "b"], 5) == ["a", "b"]


@pytest.mark.parametrize(
    ("texts", "message"),
    [("one text", "got one string 'one text'"), ([1], "got int"), ([], "at least one text"), (["  "], "at least one")],
)
def test_texts_that_do_not_fit(texts, message, encoder):
    with pytest.raises(InputError, match=message):
        diagnose(encoder, texts)


@pytest.mark.parametrize("option", ["max_texts", "batch_size"])
def test_options_that_do_not_fit(option, encoder):
    with pytest.raises(InputError, match=option):
        diagnose(encoder, TEXTS, **{option: 0})


def test_other_kinds_of_model():
    with pytest.raises(EncoderError, match="got Linear; load it"):
        diagnose(torch.nn.Linear(1, 1))


def test_finding_has_a_remedy_unless_it_is_ok():
    assert Finding("a", "ok", "fine", value=1.0).to_dict() == {
        "check": "a", "level": "ok", "message": "fine", "remedy": "", "value": 1.0
    }  # fmt: skip
    for level, remedy in (("ok", "do this"), ("warning", ""), ("bad", "do this")):
        with pytest.raises(InputError, match=r"remedy must|level must"):
            Finding("a", level, "message", remedy)
