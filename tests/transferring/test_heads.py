"""Swapping the vocabulary of a masked language model, family by family."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix
from transformers import AutoModelForMaskedLM

from isthmus.encoders.heads import find_head
from isthmus.errors import EncoderError, UnknownNameError
from isthmus.token_map import FATES, Fate, Sampling, TokenMap
from isthmus.transferring.options import Bias
from isthmus.transferring.swap import swap_vocabulary
from tests.tiny_encoders import FAMILIES, WORDS, masked_lm, save_masked_lm
from tests.tokenizers import wordpiece
from tests.transferring.linearity import assert_linear

ROLES = ("pad", "cls", "sep", "mask", "unk")
SIZE = 60


def target_roles(pad: int = 9) -> dict[str, int]:
    return {"pad": pad, "cls": 3, "sep": 4, "mask": 5, "unk": 6}


def hand_made(tokenizer: Any, roles: dict[str, int], *, size: int = SIZE, sampled: int = 3) -> TokenMap:
    """Specials by role, a third copied, the others mixed; a background row and ``sampled`` sampled ones at the end."""
    generator = np.random.default_rng(1)
    source = len(tokenizer)
    fates = np.full(size, FATES.index(Fate.BRIDGED), dtype=np.uint8)
    weights = np.zeros((size, source))
    specials = {roles[role]: getattr(tokenizer, f"{role}_token_id") for role in ROLES}
    ordinary = [id for id in range(source) if id not in specials.values()]
    for row in range(size):
        if row in specials:
            fates[row], weights[row, specials[row]] = FATES.index(Fate.SPECIAL), 1.0
        elif row % 3 == 0:
            fates[row], weights[row, generator.choice(ordinary)] = FATES.index(Fate.EXACT), 1.0
        else:
            weights[row, generator.choice(source, 4, replace=False)] = generator.dirichlet(np.ones(4))
    fates[-1 - sampled] = FATES.index(Fate.BACKGROUND)
    fates[size - sampled :] = FATES.index(Fate.SAMPLED)
    weights[-1 - sampled :] = 0.0
    return TokenMap(
        csr_matrix(weights), fates, tokenizer.convert_ids_to_tokens(range(source)), [f"t{row}" for row in range(size)],
        background=np.full(source, 1 / source), sampling=Sampling("gaussian", seed=3),
    )  # fmt: skip


def reload(model: Any, folder: Path) -> Any:
    model.save_pretrained(folder)
    return AutoModelForMaskedLM.from_pretrained(folder).eval()


FAMILY_CASES = [
    ("bert", {}),
    ("bert", {"tied": False}),
    ("distilbert", {}),
    ("distilbert", {"tied": False}),
    ("roberta", {}),
    ("roberta", {"tied": False}),
    ("xlm-r", {}),
    ("modernbert", {}),
    ("modernbert", {"decoder_bias": False}),
]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=["f32", "bf16", "f16"])
@pytest.mark.parametrize(("family", "options"), FAMILY_CASES, ids=map(str, FAMILY_CASES))
def test_logits_are_linear_after_reload(
    family: str, options: dict[str, Any], dtype: torch.dtype, tmp_path: Path
) -> None:
    model, tokenizer = masked_lm(family, dtype=dtype, **options)
    roles = target_roles()
    assert roles["pad"] != tokenizer.pad_token_id
    token_map = hand_made(tokenizer, roles)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    swapped = swap_vocabulary(model, token_map, roles)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items()), "the source changed"
    loaded = reload(swapped, tmp_path)
    assert loaded.dtype == dtype
    assert loaded.config.vocab_size == SIZE
    assert find_head(loaded).tied == find_head(model).tied
    assert_linear(model, swapped, token_map)
    assert_linear(model, loaded, token_map)


@pytest.mark.parametrize("family", ["bert", "distilbert", "roberta", "xlm-r", "modernbert"])
@pytest.mark.parametrize("pad", [0, 1, 9])
def test_proof_fails_when_something_is_perturbed(family: str, pad: int, tmp_path: Path) -> None:
    model, tokenizer = masked_lm(family)
    token_map = hand_made(tokenizer, target_roles(pad))
    swapped = swap_vocabulary(model, token_map, target_roles(pad))
    assert_linear(model, reload(swapped, tmp_path / "good"), token_map)

    def perturbed(change: Any) -> Any:
        copy = AutoModelForMaskedLM.from_pretrained(tmp_path / "good")
        with torch.no_grad():
            change(copy)
        return reload(copy, tmp_path / "bad")

    changes = {
        "row": lambda copy: copy.get_output_embeddings().weight[10].mul_(1.05),
        "bias": lambda copy: copy.get_output_embeddings().bias[11].add_(0.01),
        "no bias": lambda copy: copy.get_output_embeddings().bias.zero_(),
        "pad": lambda copy: setattr(copy.config, "pad_token_id", pad + 1),
    }
    for change in changes.values():
        with pytest.raises(AssertionError, match="not linear"):
            assert_linear(model, perturbed(change), token_map)


def test_untied_decoder_behind_a_config_that_says_tied(tmp_path: Path) -> None:
    model, tokenizer = masked_lm("bert", tied=False)
    save_masked_lm(tmp_path / "source", model, tokenizer, claim_tied=True)
    source = AutoModelForMaskedLM.from_pretrained(tmp_path / "source").eval()
    assert source.config.tie_word_embeddings
    assert not find_head(source).tied
    token_map = hand_made(tokenizer, target_roles())
    loaded = reload(swap_vocabulary(source, token_map, target_roles()), tmp_path / "target")
    assert not loaded.config.tie_word_embeddings
    assert_linear(source, loaded, token_map)


@pytest.mark.parametrize("family", ["roberta", "xlm-r"])
@pytest.mark.parametrize("pad", [0, 1, 40])
def test_positions_move_with_the_pad_id(family: str, pad: int, tmp_path: Path) -> None:
    model, tokenizer = masked_lm(family)
    roles = target_roles(pad)
    loaded = reload(swap_vocabulary(model, hand_made(tokenizer, roles), roles), tmp_path)
    before, after = find_head(model).positions, find_head(loaded).positions
    assert before is not None
    assert after is not None
    assert after.padding_idx == pad
    assert after.usable == before.usable
    assert loaded.config.max_position_embeddings == after.rows
    assert_linear(model, loaded, hand_made(tokenizer, roles), lengths=(before.usable, 5))


def test_config_names_the_target_roles(tmp_path: Path) -> None:
    model, tokenizer = masked_lm("modernbert")
    loaded = reload(swap_vocabulary(model, hand_made(tokenizer, target_roles()), target_roles()), tmp_path)
    ids = {name: getattr(loaded.config, f"{name}_token_id") for name in ("pad", "cls", "bos", "sep", "eos")}
    assert ids == {"pad": 9, "cls": 3, "bos": 3, "sep": 4, "eos": 4}
    assert loaded.get_input_embeddings().padding_idx == 9


@pytest.mark.parametrize("family", ["bert", "roberta", "distilbert"])
def test_bias_modes(family: str) -> None:
    model, tokenizer = masked_lm(family)
    token_map = hand_made(tokenizer, target_roles(), size=len(tokenizer) + 20)
    old = model.get_output_embeddings().bias.detach()

    def swapped(token_map: TokenMap, bias: Any) -> torch.Tensor:
        model_after = swap_vocabulary(model, token_map, target_roles(), bias=bias, sample_texts=["a text"] * 10)
        after: torch.Tensor = model_after.get_output_embeddings().bias
        return after

    biases = {bias: swapped(token_map, bias) for bias in get_args(Bias)}
    assert torch.count_nonzero(biases["zero"]) == 0
    assert np.allclose(biases["mixed"].detach().numpy()[:-4], token_map.weights[:-4] @ old.numpy(), atol=1e-6)
    with pytest.raises(UnknownNameError, match="mixed, position, zero"):
        swapped(token_map, "copied")


@pytest.mark.parametrize("more", [20, 0, -5])
@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("family", FAMILIES)
def test_bias_by_position_is_what_resizing_leaves(family: str, tied: bool, more: int) -> None:
    model, tokenizer = masked_lm(family, tied=tied)
    size = len(tokenizer) + more
    token_map = hand_made(tokenizer, target_roles(tokenizer.pad_token_id), size=size)
    after = swap_vocabulary(model, token_map, target_roles(tokenizer.pad_token_id), bias="position")
    model.resize_token_embeddings(size)
    expected = model.get_output_embeddings().bias
    # transformers draws around the mean of an untied bias with 1e-9 of its deviation.
    assert torch.allclose(after.get_output_embeddings().bias, expected, rtol=0, atol=0 if tied else 1e-6)


def test_everything_else_is_untouched() -> None:
    model, tokenizer = masked_lm("bert")
    swapped = swap_vocabulary(model, hand_made(tokenizer, target_roles()), target_roles())
    head = find_head(model)
    vocabulary = {*head.inputs, *head.decoder, *head.bias}
    for name, tensor in model.state_dict().items():
        if name not in vocabulary:
            assert torch.equal(tensor, swapped.state_dict()[name])
            assert tensor.data_ptr() != swapped.state_dict()[name].data_ptr()


def test_padded_rows_of_the_source_are_left_out() -> None:
    model, tokenizer = masked_lm("bert")
    model.resize_token_embeddings(len(tokenizer) + 5)
    token_map = hand_made(tokenizer, target_roles())
    assert_linear(model, swap_vocabulary(model, token_map, target_roles()), token_map)


@pytest.mark.parametrize("name", ["electra", "mpnet", "deberta-v2", "albert"])
def test_other_families_work_generically(name: str, tmp_path: Path) -> None:
    import transformers

    tokenizer = wordpiece(WORDS, pad_id=1 if name == "mpnet" else 0)
    sizes = {
        "vocab_size": len(tokenizer), "hidden_size": 16, "embedding_size": 16 if name != "electra" else 8,
        "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 20, "max_position_embeddings": 30,
        "pad_token_id": tokenizer.pad_token_id,
    }  # fmt: skip
    config = transformers.AutoConfig.for_model(name, **sizes)
    torch.manual_seed(0)
    model = AutoModelForMaskedLM.from_config(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    roles = target_roles(1)
    token_map = hand_made(tokenizer, roles)
    assert_linear(model, reload(swap_vocabulary(model, token_map, roles), tmp_path), token_map)
    if name == "mpnet":
        with pytest.raises(EncoderError, match="pad token at id 1"):
            swap_vocabulary(model, token_map, target_roles(0))


def test_refusals() -> None:
    import transformers

    model, tokenizer = masked_lm("bert")
    token_map = hand_made(tokenizer, target_roles())
    with pytest.raises(EncoderError, match="BertModel without one; use BERT, DistilBERT"):
        find_head(model.bert)
    image = transformers.ViTModel(transformers.ViTConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=1))
    with pytest.raises(EncoderError, match="must have an MLM head, got ViTModel"):
        find_head(image)
    with pytest.raises(EncoderError, match="floating-point token embeddings, got ViTModel with none; use BERT"):
        swap_vocabulary(image, token_map, target_roles())
    tokenizer.add_tokens(["zebra", "yak"])
    with pytest.raises(EncoderError, match=r"none for zebra \(\d+\), yak \(\d+\); remove"):
        swap_vocabulary(model, hand_made(tokenizer, target_roles()), target_roles())
    with torch.no_grad():
        model.cls.predictions.transform.dense.weight[0, 0] = float("nan")
    with pytest.raises(EncoderError, match=r"got NaN or infinity in cls\.predictions\.transform\.dense"):
        swap_vocabulary(model, token_map, target_roles())
