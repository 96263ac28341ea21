"""mteb measures what Isthmus measures, and its tasks are called what the docs say."""

import importlib.util
import json
import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import isthmus
from isthmus.encoders.encoding import encode_texts
from isthmus.evaluation.models import load_model

mteb = pytest.importorskip("mteb", reason="mteb is not installed (extra `mteb`)")
pytestmark = [pytest.mark.assets, pytest.mark.filterwarnings("ignore::UserWarning")]
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def example():
    spec = importlib.util.spec_from_file_location("mteb_local", ROOT / "examples" / "mteb_local.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def encoder():
    """A transferred encoder; nearest is quick, and what it finds is neither all nor nothing."""
    arguments = {"target_tokenizer": "isthmus/tokenizer-ru", "bridge": "isthmus/mini-bridge", "method": "nearest"}
    return isthmus.transfer("isthmus/mini-splade-en", **arguments)[0].float()


def shortened(collection, count):
    """The first passages and the queries that ask for them."""
    corpus = dict(list(collection.corpus.items())[:count])
    qrels = {query: grades for query, grades in collection.qrels.items() if set(grades) <= set(corpus)}
    return replace(
        collection, corpus=corpus, qrels=qrels, queries={query: collection.queries[query] for query in qrels}
    )


@pytest.fixture(scope="module")
def collection():
    return shortened(isthmus.load_collection("demo", language="ru"), 24)


def ours(encoder, collection):
    return isthmus.evaluate(encoder, collection).to_dict()["ndcg@10"]


def test_ndcg_is_the_same(example, encoder, collection):
    found = ours(encoder, collection)
    assert 0.1 < found < 0.9
    assert example.ndcg(encoder, collection) == pytest.approx(found, abs=1e-5)


@pytest.mark.parametrize("document", ["document", "passage"])
def test_prompts_reach_both_sides(example, encoder, collection, document, monkeypatch):
    plain = ours(encoder, collection)
    monkeypatch.setattr(encoder, "prompts", {"query": "", document: "столица город "})
    passages = ours(encoder, collection)
    monkeypatch.setattr(encoder, "prompts", {"query": "столица ", document: "столица город "})
    both = ours(encoder, collection)
    assert len({round(value, 4) for value in (plain, passages, both)}) == 3
    assert example.ndcg(encoder, collection) == pytest.approx(both, abs=1e-5)


def test_scores_are_dot_products(example, encoder, collection, tmp_path):
    part = shortened(collection, 12)
    mteb.evaluate(encoder, example.task_of(part), cache=None, prediction_folder=tmp_path, show_progress_bar=False)
    (path,) = tmp_path.rglob("*.json")
    predicted = json.loads(path.read_text(encoding="utf-8"))["default"]["test"]
    queries = encode_texts(encoder, list(part.queries.values()), role="query")
    documents = encode_texts(encoder, list(part.corpus.values()), role="document")
    products = (queries @ documents.T).toarray()
    for row, query in enumerate(part.queries):
        assert len(predicted[query]) == len(part.corpus)
        for column, document in enumerate(part.corpus):
            assert predicted[query][document] == pytest.approx(products[row, column], rel=1e-4, abs=1e-5)


def test_the_example_runs(example, monkeypatch, capsys, encoder, collection, tmp_path):
    monkeypatch.setattr(isthmus, "load_collection", lambda name, language: collection)
    encoder.save_pretrained(str(tmp_path / "encoder"))
    monkeypatch.setattr(sys, "argv", ["mteb_local.py", "--language", "ru", "--encoder", str(tmp_path / "encoder")])
    example.main()
    by_mteb, by_isthmus = map(float, re.findall(r"nDCG@10 by \w+ +(\S+)", capsys.readouterr().out))
    # One of them was rounded twice.
    assert by_mteb == pytest.approx(by_isthmus, abs=1.01e-4)


@pytest.mark.long
def test_an_encoder_never_gets_the_results_of_another(example, encoder, collection, tmp_path):
    encoder.save_pretrained(str(tmp_path / "encoder"))
    found = [
        example.ndcg(load_model(name).float(), collection)
        for name in (str(tmp_path / "encoder"), "isthmus/mini-splade-en")
    ]
    assert found[1] < found[0] - 0.1


def test_tasks_and_languages_are_called_what_the_docs_say():
    text = (ROOT / "docs" / "guides" / "mteb.md").read_text(encoding="utf-8")
    calls = re.findall(r"mteb\.get_task\(.*\)", text)
    assert len(calls) == 5
    subsets = [eval(call, {"mteb": mteb}).hf_subsets for call in calls]
    assert subsets == [["ko"], ["ko"], ["kor"], ["kor_Hang-kor_Hang"], ["ru"]]
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if re.match(r"\| `\w+Retrieval`", line)]
    assert len(rows) == 4
    for what, *codes in rows:
        *names, argument = re.findall(r"`([^`]+)`", what)
        for name in names:
            for code in codes:
                if code != "none":
                    task = mteb.get_task(name, **{argument.rstrip("="): [code.strip("`")]})
                    assert len(task.hf_subsets) == 1, (name, code)
                else:
                    with pytest.raises(ValueError, match="No subsets were found"):
                        mteb.get_task(name, languages=["kor"])
