from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import sentence_transformers
import torch
from safetensors.numpy import save_file
from safetensors.torch import save_file as save_tensors
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import StaticEmbedding
from tokenizers import Tokenizer, models, pre_tokenizers

from isthmus.bridge import BridgeVectors, bridge_identity, embed_vocabularies, load_vectors
from isthmus.errors import BridgeError, NotFoundError, UnknownNameError
from isthmus.vocabulary import Vocabulary
from tests.tokenizers import unigram, with_holes, wordpiece

LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789[]#<>/집학교"


def static_bridge(seed=0, letters=LETTERS, dim=8):
    """One vector per letter; a text of unknown letters gets the zero vector."""
    weights = np.random.default_rng(seed).standard_normal((len(letters), dim)).astype(np.float32)
    tokenizer = Tokenizer(models.BPE(vocab={letter: i for i, letter in enumerate(letters)}, merges=[]))
    return SentenceTransformer(modules=[StaticEmbedding(tokenizer, embedding_weights=weights)], device="cpu")


def counted(model):
    """Record the texts that ``model`` is asked to encode."""
    seen, encode = [], model.encode

    def recorder(texts, **options):
        seen.extend(texts)
        return encode(texts, **options)

    model.encode = recorder
    return seen


@pytest.fixture
def source():
    return Vocabulary.from_tokenizer(wordpiece(["house", "##s", "home", "school"]))


@pytest.fixture
def target():
    return Vocabulary.from_tokenizer(with_holes(["집", "학교", "##s", "house"]))


def test_vectors_are_those_of_the_bridge(source, target, tmp_path):
    bridge = static_bridge()
    vectors = embed_vocabularies(bridge, source, target, cache_folder=tmp_path)
    assert vectors.source.shape == (source.size, 8)
    assert vectors.target.shape == (target.size, 8)
    assert vectors.source.dtype == np.float32
    for vocabulary, matrix in ((source, vectors.source), (target, vectors.target)):
        ids = [token.id for token in vocabulary.tokens]
        texts = vocabulary.bridge_texts(strip_marker=True)
        expected = bridge.encode([texts[id] for id in ids], normalize_embeddings=True)
        np.testing.assert_allclose(matrix[ids], expected, atol=1e-6)
        np.testing.assert_allclose(np.linalg.norm(matrix[ids], axis=1), 1, atol=1e-6)
    holes = [id for id in range(target.size) if target.get(id) is None]
    assert holes
    assert not vectors.target[holes].any()


@pytest.mark.parametrize(
    ("options", "text"), [({}, "s"), ({"strip_marker": False}, "##s"), ({"as_released": True}, "##s")]
)
def test_the_marker_is_kept_or_stripped(options, text, source, target, tmp_path):
    bridge = static_bridge()
    seen = counted(bridge)
    embed_vocabularies(bridge, source, target, cache_folder=tmp_path, **options)
    assert text in seen


def test_distinct_texts_are_embedded_once_and_a_second_run_computes_nothing(source, target, tmp_path):
    first = static_bridge()
    seen = counted(first)
    vectors = embed_vocabularies(first, source, target, cache_folder=tmp_path)
    assert len(seen) == len(set(seen))
    assert seen == sorted(seen, key=lambda text: (len(text), text))

    first.save(str(tmp_path / "bridge"))
    second = SentenceTransformer(str(tmp_path / "bridge"), device="cpu")
    seen = counted(second)
    again = embed_vocabularies(second, source, target, cache_folder=tmp_path)
    assert seen == []
    assert again.identity == vectors.identity
    np.testing.assert_array_equal(again.source, vectors.source)
    np.testing.assert_array_equal(again.target, vectors.target)


def test_another_target_reuses_the_source(source, target, tmp_path):
    embed_vocabularies(static_bridge(), source, target, cache_folder=tmp_path)
    bridge = static_bridge()
    seen = counted(bridge)
    embed_vocabularies(bridge, source, Vocabulary.from_tokenizer(wordpiece(["house", "교"])), cache_folder=tmp_path)
    assert seen == ["교"]


def test_identity_follows_weights_and_tokenizer_but_not_use():
    bridge = static_bridge()
    identity = bridge_identity(bridge)
    assert identity == bridge_identity(static_bridge())
    bridge.encode(["house", "집"])
    assert identity == bridge_identity(bridge)
    with torch.no_grad():
        bridge[0].embedding.weight[3, 2] += 1e-3
    assert identity != bridge_identity(bridge)
    assert identity != bridge_identity(static_bridge(letters=LETTERS[::-1]))


def test_identity_of_a_transformer(tmp_path):
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
    from transformers import BertConfig, BertModel

    tokenizer = wordpiece(["house", "home"])
    config = BertConfig(
        vocab_size=len(tokenizer), hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8
    )
    torch.manual_seed(0)
    BertModel(config).save_pretrained(tmp_path / "bert")
    tokenizer.save_pretrained(tmp_path / "bert")
    module = Transformer(str(tmp_path / "bert"))
    bridge = SentenceTransformer(modules=[module, Pooling(8)], device="cpu")
    identity = bridge_identity(bridge)
    bridge.encode(["house home", "home"])
    assert identity == bridge_identity(bridge)
    bridge.save(str(tmp_path / "elsewhere"))
    assert identity == bridge_identity(SentenceTransformer(str(tmp_path / "elsewhere"), device="cpu"))
    assert identity != bridge_identity(SentenceTransformer(str(tmp_path / "elsewhere"), device="cpu").bfloat16())


def test_other_weights_are_not_served_from_the_cache(source, target, tmp_path):
    first = embed_vocabularies(static_bridge(0), source, target, cache_folder=tmp_path)
    second = embed_vocabularies(static_bridge(1), source, target, cache_folder=tmp_path)
    assert not np.allclose(first.source, second.source)


def test_cache_can_be_switched_off(source, target, tmp_path):
    embed_vocabularies(static_bridge(), source, target, cache=False, cache_folder=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_cache_lies_where_the_environment_says(source, target, tmp_path, monkeypatch):
    monkeypatch.setenv("ISTHMUS_CACHE", str(tmp_path))
    embed_vocabularies(static_bridge(), source, target)
    assert len(list((tmp_path / "bridge").glob("*.safetensors"))) == 2


@pytest.mark.parametrize(
    "damage", [lambda b: b"", lambda b: b[:-9], lambda b: b[:-1] + bytes([b[-1] ^ 1]), lambda b: b"{}" * 9]
)
def test_a_damaged_cache_is_ignored_and_rewritten(damage, source, target, tmp_path):
    vectors = embed_vocabularies(static_bridge(), source, target, cache_folder=tmp_path)
    files = {path: path.read_bytes() for path in tmp_path.glob("*.safetensors")}
    for path, content in files.items():
        path.write_bytes(damage(content))
    again = embed_vocabularies(static_bridge(), source, target, cache_folder=tmp_path)
    np.testing.assert_array_equal(again.target, vectors.target)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == files


def test_a_folder_that_cannot_be_written_costs_the_cache_only(source, target, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.warns(UserWarning, match="are not cached"):
        vectors = embed_vocabularies(static_bridge(), source, target, cache_folder=tmp_path / "file")
    assert vectors.source.any()


def test_writers_at_once_do_not_disturb_each_other(source, target, tmp_path):
    with ThreadPoolExecutor(4) as pool:
        runs = list(
            pool.map(lambda _: embed_vocabularies(static_bridge(), source, target, cache_folder=tmp_path), range(8))
        )
    for run in runs:
        np.testing.assert_array_equal(run.target, runs[0].target)
    assert [path.suffix for path in tmp_path.iterdir()] == [".safetensors"] * 2


def test_the_default_prompt_is_not_used(source, target, tmp_path):
    plain = embed_vocabularies(static_bridge(), source, target, cache=False)
    prompted = static_bridge()
    prompted.prompts, prompted.default_prompt_name = {"query": "abc"}, "query"
    np.testing.assert_array_equal(embed_vocabularies(prompted, source, target, cache=False).source, plain.source)


def test_nan_is_refused_with_examples(source, target):
    bridge = static_bridge()
    with torch.no_grad():
        bridge[0].embedding.weight[LETTERS.index("집")] = float("nan")
    with pytest.raises(BridgeError, match=r"finite, got NaN or infinity for 1 tokens .*'집'"):
        embed_vocabularies(bridge, source, target, cache=False)


def test_a_bridge_that_cannot_read_the_script_is_refused(source):
    target = Vocabulary.from_tokenizer(unigram(["▁дом", "▁школа", "▁мир"]))
    with pytest.raises(BridgeError, match=r"target vocabulary, got zero vectors for 3 of 3 tokens .*дом"):
        embed_vocabularies(static_bridge(), source, target, cache=False)


def test_a_rare_unknown_token_has_no_vector(source):
    target = Vocabulary.from_tokenizer(wordpiece(["집", "학교", "ʰ"]))
    vectors = embed_vocabularies(static_bridge(), source, target, cache=False)
    unknown = next(token.id for token in target.tokens if token.raw == "ʰ")
    assert not vectors.target[unknown].any()


def test_trust_remote_code_reaches_the_loader(source, target, monkeypatch, tmp_path):
    asked = {}
    static_bridge().save_pretrained(str(tmp_path))

    def loader(name, classes, **options):
        asked.update(name=name, **options)
        return static_bridge()

    monkeypatch.setattr(sentence_transformers.SentenceTransformer, "_load_with_module_classes", loader)
    embed_vocabularies(str(tmp_path), source, target, cache=False)
    assert asked == {"name": str(tmp_path), "trust_remote_code": False, "local_files_only": True}
    embed_vocabularies(tmp_path, source, target, cache=False, trust_remote_code=True)
    assert asked["trust_remote_code"] is True


@pytest.mark.parametrize(
    ("error", "raised", "match"),
    [
        (OSError("We couldn't connect to the hub"), NotFoundError, "could not be downloaded"),
        (ValueError("set trust_remote_code=True to allow custom code"), BridgeError, "trust_remote_code=True"),
    ],
)
def test_loading_errors_say_what_to_do(error, raised, match, source, target, monkeypatch):
    def loader(name, classes, **options):
        raise error

    monkeypatch.setattr(sentence_transformers.SentenceTransformer, "_load_with_module_classes", loader)
    with pytest.raises(raised, match=match):
        embed_vocabularies("someone/bridge", source, target, cache=False)


def test_names_and_paths_are_checked(source, target, tmp_path):
    with pytest.raises(UnknownNameError, match="isthmus/none"):
        embed_vocabularies("isthmus/none", source, target)
    with pytest.raises(NotFoundError, match="does not exist"):
        embed_vocabularies(tmp_path / "none", source, target)


def test_what_is_no_bridge_is_refused(source, target):
    with pytest.raises(BridgeError, match="bridge must be a SentenceTransformer, a name or a path, got int"):
        embed_vocabularies(3, source, target)
    bridge = static_bridge()
    bridge.encode = lambda texts, **options: torch.zeros(len(texts), 4).to_sparse()
    with pytest.raises(BridgeError, match="choose a dense model"):
        embed_vocabularies(bridge, source, target, cache=False)


def test_a_sparse_encoder_is_no_bridge(source, target, tmp_path):
    from tests.tiny_encoders import splade

    with pytest.raises(BridgeError, match="got a sparse encoder"):
        embed_vocabularies(splade(tmp_path), source, target, cache=False)


def matrices(source, target, dim=4):
    generator = np.random.default_rng(0)
    return {
        "source": generator.standard_normal((source.size, dim)).astype(np.float32),
        "target": generator.standard_normal((target.size, dim)).astype(np.float32),
    }


@pytest.mark.parametrize("suffix", ["safetensors", "npz"])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_load_vectors(suffix, dtype, source, target, tmp_path):
    given = {side: matrix.astype(dtype) for side, matrix in matrices(source, target).items()}
    path = tmp_path / f"vectors.{suffix}"
    save_file(given, path) if suffix == "safetensors" else np.savez(path, **given)
    vectors = load_vectors(path, source, target)
    assert vectors.source.dtype == np.float32
    ids = [token.id for token in target.tokens]
    np.testing.assert_allclose(np.linalg.norm(vectors.target[ids], axis=1), 1, atol=1e-6)
    assert not vectors.target[[id for id in range(target.size) if target.get(id) is None]].any()
    assert len(vectors.identity) == 32


def test_vectors_in_bfloat16(source, target, tmp_path):
    given = {side: torch.from_numpy(matrix).bfloat16() for side, matrix in matrices(source, target).items()}
    save_tensors(given, tmp_path / "vectors.safetensors")
    vectors = load_vectors(tmp_path / "vectors.safetensors", source, target)
    expected = torch.nn.functional.normalize(given["source"].float()).numpy()
    np.testing.assert_allclose(vectors.source, expected, atol=1e-6)


def test_files_that_do_not_fit_are_refused(source, target, tmp_path):
    good = matrices(source, target)
    with pytest.raises(NotFoundError):
        load_vectors(tmp_path / "none.npz", source, target)
    cases = {
        "rows": ({**good, "target": good["target"][:-1]}, "one row per id"),
        "dim": ({**good, "target": good["target"][:, :2]}, "one dimension"),
        "name": ({"source": good["source"]}, "'source' and 'target'"),
        "nan": ({**good, "source": np.full_like(good["source"], np.nan)}, "finite"),
        "zero": ({**good, "target": np.zeros_like(good["target"])}, "zero vectors"),
    }
    for name, (tensors, match) in cases.items():
        for suffix in ("safetensors", "npz"):
            path = tmp_path / f"{name}.{suffix}"
            save_file(tensors, path) if suffix == "safetensors" else np.savez(path, **tensors)
            with pytest.raises(BridgeError, match=match):
                load_vectors(path, source, target)


@pytest.mark.parametrize("name", ["bad.safetensors", "bad.npz"])
def test_damaged_files_are_refused(name, source, target, tmp_path):
    (tmp_path / name).write_bytes(b"PK\x03\x04 not what it says")
    with pytest.raises(BridgeError, match=r"must be a \.safetensors or \.npz file"):
        load_vectors(tmp_path / name, source, target)


def test_pickles_are_not_opened(source, target, tmp_path):
    np.savez(tmp_path / "pickled.npz", source=np.array([{}], dtype=object), target=np.array([{}], dtype=object))
    with pytest.raises(BridgeError, match="pickle"):
        load_vectors(tmp_path / "pickled.npz", source, target)


def test_vectors_must_be_matrices():
    with pytest.raises(BridgeError, match="matrices of one dimension"):
        BridgeVectors(np.zeros(3, np.float32), np.zeros((2, 3), np.float32), "x")


@pytest.mark.parametrize("as_released", [False, True])
def test_tokens_that_the_bridge_reads_as_unknown_have_no_vector(source, as_released):
    entries = {"[UNK]": 0, "▁": 1, **{f"▁{letter}": i for i, letter in enumerate(LETTERS, 2)}}
    entries |= {letter: len(entries) + i for i, letter in enumerate(LETTERS)}
    tokenizer = Tokenizer(models.Unigram([(entry, -1.0) for entry in entries], unk_id=0))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    weights = np.random.default_rng(0).standard_normal((len(entries), 8)).astype(np.float32)
    bridge = SentenceTransformer(modules=[StaticEmbedding(tokenizer, embedding_weights=weights)], device="cpu")
    target = Vocabulary.from_tokenizer(wordpiece(["집", "믽", "졳", "house"]))
    vectors = embed_vocabularies(bridge, source, target, as_released=as_released, cache=False)
    known = {token.raw: bool(vectors.target[token.id].any()) for token in target.tokens}
    assert known["집"]
    assert known["house"]
    assert known["믽"] == known["졳"] == as_released
