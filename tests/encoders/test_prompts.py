"""Prompts: the encoder's own, those that are given, and the warning of an encoder that needs some and has none."""

import json
import subprocess
import sys
import warnings

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer, SparseEncoder
from sentence_transformers.base.modules import Transformer
from sentence_transformers.sentence_transformer.modules import Pooling

from isthmus.auditing import audit
from isthmus.encoders.encoding import encode_texts
from isthmus.encoders.prompts import NEEDED, needed_prompts, prompt_for
from isthmus.evaluation.models import encode, settings_of
from isthmus.index import SparseIndex
from isthmus.options import EncodeOptions
from tests.cli.conftest import folders, run
from tests.tiny_encoders import masked_lm, save_masked_lm, splade

__all__ = ["folders", "run"]
TEXTS = ["the house", "water and war"]


def dense(folder, name, **settings):
    """A dense encoder that was saved under a name."""
    save_masked_lm(folder / name, *masked_lm("bert"))
    modules = [Transformer(str(folder / name)), Pooling(16, "mean")]
    SentenceTransformer(modules=modules, device="cpu", **settings).save_pretrained(str(folder / name))
    return SentenceTransformer(str(folder / name), device="cpu")


@pytest.mark.parametrize("stock_head", [False, True])
@pytest.mark.parametrize("role", ["query", "document"])
def test_sparse_texts_get_the_prompt_that_is_given(role, stock_head, tmp_path):
    encoder = splade(tmp_path / "own", prompts={"query": "war ", "document": "school "})
    bare = splade(tmp_path / "bare")

    def vectors(model, texts, **prompts):
        return encode_texts(model, texts, role=role, stock_head=stock_head, **prompts).toarray()

    given = vectors(encoder, TEXTS, query_prompt="capital ", document_prompt="capital ")
    np.testing.assert_allclose(given, vectors(bare, [f"capital {text}" for text in TEXTS]), atol=1e-5)
    own = "war " if role == "query" else "school "
    np.testing.assert_allclose(vectors(encoder, TEXTS), vectors(bare, [own + text for text in TEXTS]), atol=1e-5)
    none = vectors(encoder, TEXTS, query_prompt="", document_prompt="")
    np.testing.assert_allclose(none, vectors(bare, TEXTS), atol=1e-5)
    assert not np.allclose(none, given)


@pytest.mark.parametrize("role", ["query", "document"])
def test_dense_texts_get_the_prompt_that_is_given(role, tmp_path):
    encoder = dense(tmp_path, "dense", prompts={"query": "war ", "document": "school "})
    given = encode(encoder, TEXTS, role=role, query_prompt="capital ", document_prompt="capital ")
    plain = {"query_prompt": "", "document_prompt": ""}
    wanted = encode(encoder, [f"capital {text}" for text in TEXTS], role=role, **plain)
    np.testing.assert_allclose(given, wanted, atol=1e-5)
    assert not np.allclose(given, encode(encoder, TEXTS, role=role))
    assert not np.allclose(given, encode(encoder, TEXTS, role=role, **plain))


def test_results_state_what_was_put_before(tmp_path):
    encoder = splade(tmp_path / "own", prompts={"query": "war "})
    assert settings_of(encoder, EncodeOptions())["prompts"] == {"query": "war ", "document": None}
    given = EncodeOptions(query_prompt="", document_prompt="the ")
    assert settings_of(encoder, given)["prompts"] == {"query": None, "document": "the "}
    assert prompt_for(encoder, "query", given) == ""
    assert {"query_prompt", "document_prompt"} <= given.to_dict().keys()


@pytest.mark.assets
def test_commands_take_them(run, folders, tmp_path):
    collection = ["--collection", folders / "beir", "--language", "en"]
    code, out, err = run(
        "evaluate", "isthmus/mini-splade-en", *collection, "--json", "--query-prompt", "q: ", "--document-prompt", "d: "
    )
    assert code == 0, err
    assert json.loads(out)["settings"]["prompts"] == {"query": "q: ", "document": "d: "}
    code, out, err = run(
        "audit", "isthmus/mini-bridge", "--collection", "demo", "--languages", "en,ko", "--max-queries", "4",
        "--query-prompt", "q: ", "--html", tmp_path / "page.html",
    )  # fmt: skip
    assert code == 0, err
    assert "q: " in (tmp_path / "page.html").read_text(encoding="utf-8")
    found = audit("isthmus/mini-bridge", "demo", ["en", "ko"], max_queries=4, document_prompt="Seoul ", pools=["multi"])
    assert found.settings["models"]["isthmus/mini-bridge"]["prompts"] == {"query": None, "document": "Seoul "}
    assert "document_prompt" not in found.settings


@pytest.mark.parametrize(
    ("name", "query", "document"),
    [
        ("multilingual-e5-small", "query: ", "passage: "),
        ("e5-base-v2", "query: ", "passage: "),
        ("multilingual-e5-small-ko", "query: ", "passage: "),
        ("multilingual-e5-large-instruct", "Instruct: ", ""),
        ("bge-base-en-v1.5", "Represent this sentence", ""),
        ("bge-large-zh-v1.5", "为这个句子", ""),
        ("nomic-embed-text-v1.5", "search_query: ", "search_document: "),
        ("gte-Qwen2-1.5B-instruct", "Instruct: ", ""),
        ("snowflake-arctic-embed-l-v2.0", "query: ", ""),
        ("snowflake-arctic-embed-m", "Represent this sentence", ""),
        ("mxbai-embed-large-v1", "Represent this sentence", ""),
        ("ruri-v3-30m", "検索クエリ: ", "検索文書: "),
        ("FRIDA", "search_query: ", "search_document: "),
    ],
)
def test_models_known_to_need_prompts(name, query, document, tmp_path):
    encoder = splade(tmp_path / "encoder")
    encoder[0].model.config._name_or_path = f"somebody/{name}"
    found = needed_prompts(encoder)
    assert found is not None
    assert found[0] == f"somebody/{name}"
    assert found[1].query.startswith(query)
    assert found[1].document == document


@pytest.mark.parametrize(
    "name",
    ["bge-m3", "splade-v3", "LaBSE", "all-MiniLM-L6-v2", "xlm-roberta-base"],
)
def test_models_that_need_none(name, tmp_path):
    encoder = splade(tmp_path / "encoder")
    encoder[0].model.config._name_or_path = name
    assert needed_prompts(encoder) is None


def test_every_source_is_a_card():
    assert all(entry.query and entry.source.count("/") == 1 for entry in NEEDED)


def messages(call):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        call()
    return [str(warning.message) for warning in caught if "was trained with" in str(warning.message)]


def test_one_warning_names_the_model_the_prompts_and_the_flags(tmp_path):
    encoder = dense(tmp_path, "multilingual-e5-small")

    def twice():
        encode(encoder, TEXTS, role="query")
        encode(encoder, TEXTS, role="document")

    found = messages(twice)
    assert len(found) == 1
    for words in ("multilingual-e5-small was trained with 'query: ' before queries and 'passage: ' before documents",
                  "https://huggingface.co/intfloat/multilingual-e5-base", "query_prompt (--query-prompt)"):  # fmt: skip
        assert words in found[0]


@pytest.mark.parametrize(
    "given", [{"query_prompt": "query: ", "document_prompt": "passage: "}, {"query_prompt": "", "document_prompt": ""}]
)
def test_no_warning_where_prompts_are_given(given, tmp_path):
    encoder = dense(tmp_path, "multilingual-e5-small")
    assert messages(lambda: encode(encoder, TEXTS, role="query", **given)) == []


def test_no_warning_where_the_config_has_them(tmp_path):
    encoder = dense(tmp_path, "multilingual-e5-small", prompts={"query": "query: ", "passage": "passage: "})
    assert messages(lambda: encode(encoder, TEXTS, role="query")) == []


def test_the_card_tells_what_an_encoder_was_made_from(tmp_path):
    encoder = dense(tmp_path, "mine")
    assert needed_prompts(encoder) is None
    encoder._model_card_text = "---\nbase_model: intfloat/multilingual-e5-small\n---\n# Mine\n"
    assert len(messages(lambda: encode(encoder, TEXTS, role="document"))) == 1


def test_the_command_line_warns_in_one_line(folders, tmp_path):
    dense(tmp_path, "e5-small")
    asked = ["evaluate", tmp_path / "e5-small", "--collection", folders / "beir", "--language", "en"]
    # In this process, pytest keeps warnings for itself.
    command = [sys.executable, "-m", "isthmus", *map(str, asked)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    lines = [line for line in done.stderr.splitlines() if "was trained with" in line]
    assert len(lines) == 1
    assert lines[0].startswith("warning: ")


@pytest.mark.parametrize("given", [None, "war "])
def test_an_index_keeps_the_prompts_it_was_made_with(given, run, folders, tmp_path):
    """What an index was made with is what it is asked with, unless another prompt is given."""
    rows = [{"id": "a", "text": "the house"}, {"id": "b", "text": "water and war"}]
    (tmp_path / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    index = ["index", folders / "source", tmp_path / "corpus.jsonl", "-o", tmp_path / "idx", "--json"]
    code, _, err = run(*index, "--query-prompt", "capital ", "--document-prompt", "school ")
    assert code == 0, err
    found = SparseIndex.open(tmp_path / "idx", query_prompt=given)
    encoder = SparseEncoder(str(folders / "source"), device="cpu")

    def vector(text, role):
        return encode_texts(encoder, [text], role=role).toarray()

    asked = found.vectors(["the house"])[0].toarray()
    np.testing.assert_allclose(asked, vector(f"{given or 'capital '}the house", "query"), atol=1e-5)
    scores = {hit.id: hit.score for hit in found.search("the house")}
    stored = vector("school the house", "document")
    np.testing.assert_allclose(scores["a"], float(asked[0] @ stored[0]), rtol=1e-4)
    code, out, err = run(
        "search", tmp_path / "idx", "the house", "--json", *(["--query-prompt", given] if given else [])
    )
    assert code == 0, err
    assert {hit["id"]: hit["score"] for hit in json.loads(out)["hits"]} == pytest.approx(scores)


def test_a_folder_of_vectors_is_not_continued_with_another_prompt(run, folders, tmp_path):
    (tmp_path / "corpus.jsonl").write_text(json.dumps({"id": "a", "text": "the house"}) + "\n")
    encode = ["encode", folders / "source", tmp_path / "corpus.jsonl", "-o", tmp_path / "vectors", "--json"]
    assert run(*encode)[0] == 0
    header = tmp_path / "vectors" / "encoding.json"
    stated = json.loads(header.read_text())
    assert stated["settings"].pop("document_prompt", "absent") is None
    header.write_text(json.dumps(stated))
    assert run(*encode)[0] == 0
    code, _, err = run(*encode, "--document-prompt", "school ")
    assert code == 2
    assert "was begun with settings" in err
