"""What is found without texts: weights, head, settings, tokenizer."""

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from sentence_transformers import SentenceTransformer, SparseEncoder
from sentence_transformers.base.modules import Transformer
from sentence_transformers.sparse_encoder.modules import SpladePooling
from tokenizers.processors import TemplateProcessing
from transformers import BertModel

from isthmus.diagnostics import diagnose
from tests.diagnostics.conftest import WORDS, by_check
from tests.tiny_encoders import FAMILIES, splade


def finding_of(encoder, check, **options):
    return by_check(diagnose(encoder, **options))[check]


def level_of(encoder, check, **options):
    return finding_of(encoder, check, **options).level


@pytest.fixture
def model(encoder):
    with torch.no_grad():
        yield encoder[0].model


def test_without_texts_only_they_are_missing(encoder, dense):
    for healthy in (encoder, dense):
        findings = by_check(diagnose(healthy))
        assert {name for name, finding in findings.items() if finding.level != "ok"} == {"texts"}
        assert findings["texts"].level == "note"


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_has_a_head(family, tmp_path):
    encoder = splade(tmp_path / "mlm", family)
    findings = by_check(diagnose(encoder, folder=tmp_path / "mlm"))
    assert {findings[name].level for name in ("weights", "head", "tied", "vocabulary", "special-tokens")} == {"ok"}


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite(value, encoder, model):
    model.bert.encoder.layer[0].output.dense.weight[3, 4] = value
    finding = finding_of(encoder, "weights")
    assert finding.level == "error"
    assert "layer.0.output.dense.weight" in finding.message


def test_decoder_of_zeros(encoder, model):
    model.get_output_embeddings().weight.zero_()
    finding = finding_of(encoder, "head")
    assert (finding.level, "all zero" in finding.message) == ("error", True)


def test_decoder_of_equal_rows(encoder, model):
    weight = model.get_output_embeddings().weight
    weight.copy_(weight[7].expand_as(weight).clone())
    assert finding_of(encoder, "head").message.startswith("all rows of the decoder are equal")
    weight[3] += 1
    assert level_of(encoder, "head") == "ok"


def test_head_as_initialised(encoder, head):
    head.transform.LayerNorm.weight.fill_(1.0)
    assert level_of(encoder, "head") == "ok"
    head.transform.dense.bias.zero_()
    finding = finding_of(encoder, "head")
    assert (finding.level, "as it was initialised" in finding.message) == ("error", True)


@pytest.mark.parametrize("family", FAMILIES)
def test_random_head_of_every_family(family, tmp_path):
    encoder = splade(tmp_path / "mlm", family)
    model = encoder[0].model
    encoder[0].model.base_model.save_pretrained(tmp_path / "backbone")
    encoder.tokenizer.save_pretrained(tmp_path / "backbone")
    encoder[0] = Transformer(str(tmp_path / "backbone"), transformer_task="fill-mask")
    assert type(encoder[0].model) is type(model)
    assert "as it was initialised" in finding_of(encoder, "head").message
    finding = finding_of(encoder, "head", folder=tmp_path / "backbone")
    assert (finding.level, "checkpoint does not hold" in finding.message) == ("error", True)


def test_checkpoint_without_a_head_is_seen_even_where_the_weights_look_trained(encoder, head, healthy_folder, tmp_path):
    BertModel.from_pretrained(healthy_folder / "mlm").save_pretrained(tmp_path)
    assert level_of(encoder, "head", folder=healthy_folder / "sparse") == "ok"
    finding = finding_of(encoder, "head", folder=tmp_path)
    assert finding.level == "error"
    assert "cls.predictions.transform.dense.weight" in finding.message
    (tmp_path / "model.safetensors").write_bytes(b"damaged")
    assert level_of(encoder, "head", folder=tmp_path) == "ok"


def test_splade_pooling_over_a_transformer_that_is_not_fill_mask(healthy_folder):
    modules = [Transformer(str(healthy_folder / "mlm")), SpladePooling("max")]
    finding = finding_of(SparseEncoder(modules=modules, device="cpu"), "head")
    assert finding.level == "error"
    assert "'feature-extraction'" in finding.message
    assert "fill-mask" in finding.remedy


@pytest.mark.parametrize("name", ["token_map.safetensors", "notes.txt"])
def test_folder_without_tensors_of_a_model_says_nothing(name, encoder, tmp_path):
    """Checkpoints in pickle files are not opened."""
    save_file({"weights": np.zeros(2)}, tmp_path / name)
    assert level_of(encoder, "head", folder=tmp_path) == "ok"


@pytest.mark.parametrize(
    ("options", "level"), [({}, "ok"), ({"tied": False}, "note"), ({"tied": False, "claim_tied": True}, "warning")]
)
def test_ties(options, level, tmp_path):
    finding = finding_of(splade(tmp_path / "mlm", **options), "tied")
    assert finding.level == level
    assert ("set tie_word_embeddings to false" in finding.remedy) == (level == "warning")


def test_bias(encoder, head):
    assert level_of(encoder, "bias") == "ok"
    head.bias[50:60] = -1e4
    finding = finding_of(encoder, "bias")
    assert finding.level == "note"
    assert finding.value == pytest.approx(15 / len(head.bias))
    head.bias[60] = 50.0
    finding = finding_of(encoder, "bias")
    assert (finding.level, finding.value) == ("warning", 50.0)
    head.bias.fill_(-100.0)
    assert level_of(encoder, "bias") == "error"
    head.bias[3] = float("nan")
    assert "NaN" in finding_of(encoder, "bias").message


def test_similarity(encoder, dense):
    encoder.similarity_fn_name = "cosine"
    finding = finding_of(encoder, "similarity")
    assert (finding.level, "cosine" in finding.message) == ("warning", True)
    assert level_of(dense, "similarity") == "ok"


@pytest.mark.parametrize(
    ("length", "level"), [(64, "ok"), (63, "note"), (65, "error"), (10**30, "warning"), (None, "warning")]
)
def test_length(length, level, encoder):
    encoder.tokenizer.model_max_length = length
    finding = finding_of(encoder, "length")
    assert finding.level == level
    assert level == "ok" or "64" in finding.remedy


def test_length_of_rotary_positions_is_no_hard_limit(tmp_path):
    encoder = splade(tmp_path / "mlm", "modernbert")
    encoder.tokenizer.model_max_length = 1000
    assert level_of(encoder, "length") == "warning"


def test_length_counts_from_the_pad_id(tmp_path):
    encoder = splade(tmp_path / "mlm", "roberta")
    assert level_of(encoder, "length") == "note"
    encoder.tokenizer.model_max_length = 25
    assert "positions for 24 tokens" in finding_of(encoder, "length").message


def test_splade_pooling(encoder):
    encoder[1].pooling_strategy = "sum"
    assert level_of(encoder, "pooling") == "note"
    encoder[1].embedding_dimension = 30
    finding = finding_of(encoder, "pooling")
    assert finding.level == "error"
    assert "30 columns, the decoder has 407" in finding.message


def test_pooling_that_is_missing(encoder, dense):
    assert level_of(SparseEncoder(modules=[encoder[0]], device="cpu"), "pooling") == "error"
    assert level_of(SentenceTransformer(modules=[dense[0]], device="cpu"), "pooling") == "error"
    other = SparseEncoder(modules=[dense[0], dense[1]], device="cpu")
    findings = by_check(diagnose(other))
    assert findings["pooling"].level == "note"
    assert "head" not in findings


def test_tokens_without_a_row(encoder):
    encoder.tokenizer.add_tokens(["zebra", "okapi"])
    finding = finding_of(encoder, "vocabulary")
    assert (finding.level, finding.value) == ("error", 2)
    assert "zebra (407), okapi (408)" in finding.message


def test_rows_without_a_token(encoder, model):
    model.resize_token_embeddings(410, mean_resizing=False)
    finding = finding_of(encoder, "vocabulary")
    assert (finding.level, finding.value) == ("note", 3)


def test_tokenizer_without_a_pad_token(encoder):
    encoder.tokenizer.pad_token = None
    assert level_of(encoder, "special-tokens") == "error"


def test_tokenizer_without_an_unknown_token(encoder):
    encoder.tokenizer.unk_token = None
    finding = finding_of(encoder, "special-tokens")
    assert finding.level == "warning"
    assert "tokenizer.unk_token" in finding.remedy


def test_byte_tokenizer_needs_no_unknown_token(tmp_path):
    encoder = splade(tmp_path / "mlm", "roberta")
    encoder.tokenizer.unk_token = None
    assert level_of(encoder, "special-tokens") == "ok"


def test_pad_id_that_the_config_does_not_share(encoder, model):
    model.config.pad_token_id = 9
    finding = finding_of(encoder, "special-tokens")
    assert (finding.level, "id 0" in finding.message) == ("warning", True)


def test_text_without_its_frame(encoder):
    encoder.tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single="$A", special_tokens=[])
    finding = finding_of(encoder, "special-tokens")
    assert (finding.level, "neither around a text" in finding.message) == ("warning", True)


def test_fixture_words_are_whole_tokens(encoder):
    assert encoder.tokenizer.tokenize(" ".join(WORDS)) == list(WORDS)
