"""The lexical options: an encoder fitted to the corpus beside its index, found without further options."""

from __future__ import annotations

import gzip
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from isthmus.encoders.load import load_encoder
from isthmus.errors import OutputError
from isthmus.index import SparseIndex
from isthmus.token_map import Fate, TokenMap
from tests.cli.conftest import transfer_arguments, write_lines
from tests.cli.test_keep_source import keep_source, vectors  # noqa: F401
from tests.engines.conftest import fake  # noqa: F401
from tests.lexical.test_lexical import make_texts

ROWS = [{"id": f"d{number}", "text": text, "year": number % 2} for number, text in enumerate(make_texts(40))]


@pytest.fixture
def corpus(tmp_path):
    write_lines(tmp_path / "corpus.jsonl", ROWS)
    return tmp_path / "corpus.jsonl"


@pytest.fixture
def refused(run):
    """Run a command that must refuse; returns what it says."""

    def fail(*arguments, code=2):
        found, _, err = run(*arguments)
        assert found == code, err
        return " ".join(err.split())

    return fail


def kinds(folder):
    return [module["type"].rpartition(".")[2] for module in json.loads((folder / "modules.json").read_text())]


@pytest.mark.parametrize("mode", ["echo", "hybrid", "none"])
def test_index_and_search(call, run, folders, corpus, tmp_path, mode):
    idx = tmp_path / "idx"
    (built,) = call("index", folders / "source", corpus, "-o", idx, "--lexical", mode)
    made = tmp_path / "idx.encoder"
    assert built["model"] == str(made)
    assert kinds(made) == ["Transformer", "SpladePooling", "ColumnScale", *(["Lexical"] if mode != "none" else [])]
    (found,) = call("search", idx, "war school", "--explain", "--top-k", 40)
    assert found["hits"]
    tokens = {match["token"] for hit in found["hits"] for match in hit["matches"]}
    assert ({"war (exact)", "school (exact)"} <= tokens) == (mode == "hybrid")
    for hit in found["hits"]:
        assert sum(match["score"] for match in hit["matches"]) == pytest.approx(hit["score"], rel=1e-5)
    # What is added later is encoded alike.
    write_lines(tmp_path / "more.jsonl", [{"id": "new", "text": "war school war"}])
    call("index", "-o", idx, made, tmp_path / "more.jsonl", "--add")
    assert SparseIndex.open(idx).search("war school", 50)
    code, out, _ = run("index", folders / "source", corpus, "-o", tmp_path / "told", "--lexical", mode)
    assert code == 0
    assert str(tmp_path / "told.encoder") in out.replace("\n", "")


def test_weight_of_the_block_at_search_time(call, refused, folders, corpus, tmp_path):
    plain, idx = tmp_path / "plain", tmp_path / "idx"
    call("index", folders / "source", corpus, "-o", plain)
    call("index", folders / "source", corpus, "-o", idx, "--lexical", "hybrid", "--no-calibrate")

    def scores(folder, *more):
        (found,) = call("search", folder, "war school", "--top-k", 40, *more)
        return {hit["id"]: hit["score"] for hit in found["hits"]}

    off = scores(idx, "--lexical-weight", 0)
    assert off == pytest.approx(scores(plain), rel=1e-5)
    full = scores(idx)
    assert scores(idx, "--lexical-weight", 1) == full != off
    half = scores(idx, "--lexical-weight", 0.5)
    for name, score in half.items():
        assert score == pytest.approx((full[name] + off.get(name, 0.0)) / 2, rel=1e-5)
    # A model that is named takes the place of the one in the index.
    moved = tmp_path / "moved"
    shutil.move(tmp_path / "idx.encoder", moved)
    assert scores(idx, "--lexical-weight", 0.5, "--model", moved) == half
    assert "must come with an encoder that has a lexical block" in refused(
        "search", plain, "war", "--lexical-weight", 2
    )
    assert "must be 0 or more" in refused("search", idx, "war", "--lexical-weight", -1, "--model", moved)


def test_options_reach_the_encoder(call, folders, corpus, tmp_path):
    strengths = {}
    for weight in (1, 4):
        place = tmp_path / f"encoder-{weight}"
        call(
            "index", folders / "source", corpus, "-o", tmp_path / f"idx-{weight}", "--lexical", "echo",
            "--lexical-weight", weight, "--no-calibrate", "--lexical-folder", place,
        )  # fmt: skip
        assert kinds(place) == ["Transformer", "SpladePooling", "Lexical"]
        strengths[weight] = load_encoder(place)[2].strength
    # Both sides carry it, so four times the spread is twice the factor.
    assert strengths[4] == pytest.approx(2 * strengths[1], rel=1e-6)


def test_a_trimmed_encoder_makes_a_smaller_index(call, folders, corpus, tmp_path):
    asked = ["index", folders / "source", corpus, "--lexical", "echo"]
    (whole,) = call(*asked, "-o", tmp_path / "whole")
    (trimmed,) = call(*asked, "-o", tmp_path / "trimmed", "--lexical-trim", 2, 3)
    assert trimmed["postings"] < whole["postings"]
    made = tmp_path / "trimmed.encoder"
    assert kinds(made) == ["Transformer", "SpladePooling", "ColumnScale", "Trim", "Lexical"]
    trim = load_encoder(made)[3]
    assert (trim.query, trim.document) == (2, 3)
    (found,) = call("search", tmp_path / "trimmed", "war school")
    assert found["hits"]
    encode = [
        "encode",
        folders / "source",
        corpus,
        "-o",
        tmp_path / "parts",
        "--lexical",
        "echo",
        "--lexical-trim",
        2,
        3,
    ]
    (first,) = call(*encode)
    (again,) = call(*encode)
    assert again["documents"] == first["documents"] == len(ROWS)


def test_nothing_is_overwritten_unless_asked(call, refused, folders, corpus, tmp_path):
    arguments = ["index", folders / "source", corpus, "-o", tmp_path / "idx", "--lexical", "echo"]
    (tmp_path / "idx.encoder").mkdir()
    (tmp_path / "idx.encoder" / "mine").write_text("")
    assert "already exists" in refused(*arguments, code=1)
    assert "must hold modules.json" in refused(*arguments, "--overwrite", code=1)
    shutil.rmtree(tmp_path / "idx.encoder")
    call(*arguments)
    before = (tmp_path / "idx.encoder" / "modules.json").stat().st_mtime_ns
    assert "already exists" in refused(*arguments, code=1)
    assert (tmp_path / "idx.encoder" / "modules.json").stat().st_mtime_ns == before
    call(*arguments[:-1], "hybrid", "--overwrite")
    assert load_encoder(tmp_path / "idx.encoder")[-1].mode == "hybrid"


def test_a_build_that_fails_leaves_what_was_there(call, run, refused, folders, corpus, tmp_path, monkeypatch):
    arguments = ["index", folders / "source", corpus, "-o", tmp_path / "idx", "--lexical", "hybrid"]
    call(*arguments)
    before = call("search", tmp_path / "idx", "war school")

    def full(*_args, **_options):
        raise OutputError("the disk is full")

    with monkeypatch.context() as patched:
        patched.setattr("isthmus.index.writer.IndexWriter.add", full)
        assert "the disk is full" in refused(*arguments, "--overwrite", "--lexical-weight", 1, code=1)
        assert "the disk is full" in refused(*arguments[:4], tmp_path / "new", *arguments[5:], code=1)
    assert call("search", tmp_path / "idx", "war school") == before
    assert not (tmp_path / "new.encoder").exists()
    said = refused(*arguments, "--overwrite", "--lexical-folder", folders / "source")
    assert "--lexical-folder must not be that of MODEL" in said


def test_a_corpus_that_cannot_be_read_twice_is_refused(call, refused, folders, corpus, tmp_path):
    source = folders / "source"
    said = refused("index", source, "-", "-o", tmp_path / "idx", "--lexical", "echo")
    assert "CORPUS must be a file with --lexical, got - (stdin)" in said
    call("encode", source, corpus, "-o", tmp_path / "enc")
    said = refused("index", source, tmp_path / "enc", "-o", tmp_path / "idx", "--lexical", "echo")
    assert "give --lexical to isthmus encode" in said
    write_lines(tmp_path / "few.jsonl", ROWS[:5])
    said = refused("index", source, tmp_path / "few.jsonl", "-o", tmp_path / "idx", "--lexical", "echo")
    assert "texts must hold at least 10 texts" in said
    assert not (tmp_path / "idx").exists()
    assert not (tmp_path / "idx.encoder").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--lexical-weight", "2"], "--lexical-weight must come with --lexical"),
        (["--no-calibrate"], "--no-calibrate must come with --lexical"),
        (["--lexical-folder", "x"], "--lexical-folder must come with --lexical"),
        (["--lexical-trim", "8", "16"], "--lexical-trim must come with --lexical"),
        (["--lexical", "echo", "--lexical-trim", "0", "16"], "--lexical-trim must be two numbers of 1 or more, got 0"),
        (["--lexical", "none", "--no-calibrate"], "nothing would be added"),
        (["--lexical", "none", "--lexical-weight", "2"], "--lexical-weight must come with --lexical echo or hybrid"),
        (["--lexical", "echo", "--lexical-weight", "0"], "--lexical-weight must be above 0, got 0.0"),
        (["--lexical", "echo", "--add"], "--lexical echo must come with a new index"),
    ],
)
def test_options_that_do_not_fit(refused, folders, corpus, tmp_path, arguments, message):
    assert message in refused("index", folders / "source", corpus, "-o", tmp_path / "idx", *arguments)


def test_encode_goes_on_with_the_same_encoder(call, refused, folders, corpus, tmp_path):
    encode = ["encode", folders / "source", corpus, "-o", tmp_path / "enc", "--lexical", "hybrid", "--part-size", 16]
    (first,) = call(*encode)
    made = Path(first["encoder"])
    assert made == tmp_path / "enc.encoder"
    written = (made / "modules.json").stat().st_mtime_ns
    (tmp_path / "enc" / "part-00000001.safetensors").unlink()
    (again,) = call(*encode)
    assert (made / "modules.json").stat().st_mtime_ns == written
    assert again["postings"] == first["postings"]
    (built,) = call("index", made, tmp_path / "enc", "-o", tmp_path / "idx")
    assert (built["documents"], built["model"]) == (40, str(made))
    said = refused(*encode[:-3], "echo", "--part-size", 16, code=1)
    assert "was not made by this command with this model and corpus: it differs in mode;" in said
    write_lines(corpus, [*ROWS, {"id": "more", "text": "war"}])
    assert "with this model and corpus: it differs in texts;" in refused(*encode, code=1)
    shutil.rmtree(made)
    made.mkdir()
    assert "it has no lexical.json; choose another --lexical-folder" in refused(*encode, code=1)


@pytest.fixture
def begun(call, folders, corpus, tmp_path):
    """An encoder in a folder of its own, and the command that encoded with it; the parts are gone."""
    model = tmp_path / "en"
    shutil.copytree(folders / "source", model)
    encode = ["encode", model, corpus, "-o", tmp_path / "enc", "--lexical", "echo"]
    call(*encode)
    shutil.rmtree(tmp_path / "enc")
    return model, encode


def retrain(model):
    encoder = load_encoder(model)
    with torch.no_grad():
        encoder[0].model.cls.predictions.bias.add_(0.25)
    encoder.save_pretrained(str(model))


def test_another_model_of_the_same_name_gets_an_encoder_of_its_own(refused, begun, tmp_path):
    model, (_, _, *rest) = begun
    (tmp_path / "alt").mkdir()
    shutil.copytree(model, tmp_path / "alt" / "en")
    retrain(tmp_path / "alt" / "en")
    said = refused("encode", tmp_path / "alt" / "en", *rest, code=1)
    assert "it differs in encoder; choose another --lexical-folder, or remove it" in said
    assert not (tmp_path / "enc").exists()


@pytest.mark.parametrize("parts", [True, False])
def test_a_model_that_was_trained_again_in_place(call, refused, begun, parts):
    model, encode = begun
    if parts:
        call(*encode)
    retrain(model)
    assert "it differs in encoder;" in refused(*encode, code=1)


def test_a_tokenizer_that_changed_in_place(refused, begun):
    model, encode = begun
    path = model / "tokenizer.json"
    stored = json.loads(path.read_text(encoding="utf-8"))
    stored["normalizer"] = None
    path.write_text(json.dumps(stored), encoding="utf-8")
    assert "it differs in tokenizer;" in refused(*encode, code=1)


def test_a_corpus_of_the_same_size_with_another_text(call, refused, begun, corpus, tmp_path):
    _, encode = begun
    before = corpus.read_text(encoding="utf-8")
    after = before.replace("school", "wharf!")
    assert before != after
    corpus.write_text(after, encoding="utf-8")
    assert len(before) == len(after)
    assert "it differs in texts;" in refused(*encode, code=1)
    corpus.write_text(before, encoding="utf-8")
    assert call(*encode)[0]["documents"] == len(ROWS)


def test_the_same_model_and_texts_elsewhere_go_on(call, begun, corpus, tmp_path):
    model, (_, _, _, *rest) = begun
    written = (tmp_path / "enc.encoder" / "modules.json").stat().st_mtime_ns
    model.rename(tmp_path / "moved")
    (tmp_path / "again.jsonl.gz").write_bytes(gzip.compress(corpus.read_bytes()))
    call("encode", tmp_path / "moved", tmp_path / "again.jsonl.gz", *rest)
    assert (tmp_path / "enc.encoder" / "modules.json").stat().st_mtime_ns == written
    settings = json.loads((tmp_path / "enc.encoder" / "lexical.json").read_text())
    assert (settings["model"], settings["corpus"]) == ("en", "corpus.jsonl")
    assert str(tmp_path) not in json.dumps(settings)


def test_transfer_appends_to_what_it_makes(call, run, refused, folders, tmp_path):
    (tmp_path / "texts.txt").write_text("\n".join(make_texts(30)) + "\n")
    more = ["--method", "mean", "--lexical-texts", tmp_path / "texts.txt"]
    (report,) = call(*transfer_arguments(folders, tmp_path / "echo", *more, "--lexical", "echo", "--lexical-weight", 2))
    assert report["lexical"] == {"mode": "echo", "weight": 2.0, "calibrate": True, "trim": None, "pairs": False}
    assert kinds(tmp_path / "echo") == ["Transformer", "SpladePooling", "ColumnScale", "Lexical"]
    assert "with lexical echo and column calibration from 30 texts" in (tmp_path / "echo" / "README.md").read_text()
    code, out, err = run(*transfer_arguments(folders, tmp_path / "none", *more, "--lexical", "none"))
    assert code == 0, err
    assert "column calibration from 30 texts" in " ".join(out.split())
    code, out, err = run("inspect", tmp_path / "echo", "school")
    assert code == 0, err
    assert "target id" in out
    said = refused(*transfer_arguments(folders, tmp_path / "no", "--lexical", "echo"))
    assert "--lexical-texts must come with --lexical echo" in said
    said = refused(*transfer_arguments(folders, tmp_path / "no", *more))
    assert "--lexical-texts must come with --lexical, got it alone" in said


def test_texts_of_a_corpus_weigh_as_those_of_a_text_file(call, refused, folders, tmp_path):
    texts = [row["text"] for row in ROWS]
    (tmp_path / "texts.txt").write_text("\n".join(texts), encoding="utf-8")
    write_lines(tmp_path / "texts.jsonl", [row | {"url": "http://x/{1}.?"} for row in ROWS])
    idf = {}
    for kind in ("txt", "jsonl"):
        more = ["--method", "mean", "--lexical", "echo", "--lexical-texts", tmp_path / f"texts.{kind}"]
        call(*transfer_arguments(folders, tmp_path / kind, *more))
        idf[kind] = load_encoder(tmp_path / kind)[-1].idf.numpy()
    assert np.array_equal(idf["txt"], idf["jsonl"])
    (tmp_path / "texts.jsonl").write_text("{\n", encoding="utf-8")
    said = refused(*transfer_arguments(folders, tmp_path / "no", *more))
    assert f"{tmp_path / 'texts.jsonl'}, line 1: must be JSON" in said
    assert "mend the line or remove it" in said


def test_what_a_transfer_left_goes_along(call, folders, transferred, corpus, tmp_path):
    call("index", transferred, corpus, "-o", tmp_path / "idx", "--lexical", "hybrid")
    for name in ("token_map.json", "token_map.safetensors", "transfer_report.json"):
        assert (tmp_path / "idx.encoder" / name).read_bytes() == (transferred / name).read_bytes()


def test_engines_take_twice_the_columns(call, refused, fake, folders, corpus, tmp_path):  # noqa: F811
    url, idx = f"opensearch://127.0.0.1:{fake.port}/docs", tmp_path / "idx"
    build = ["index", folders / "source", corpus, "--lexical", "hybrid"]
    assert "--lexical-folder must be given for opensearch" in refused(*build, "-o", url)
    call(*build, "-o", url, "--lexical-folder", tmp_path / "encoder")
    call("index", tmp_path / "encoder", corpus, "-o", idx)
    (compared,) = call("parity", idx, url, "--sample", 5)
    assert compared["passed"]
    (there,) = call("search", url, "war school", "--explain", "--top-k", 3)
    (here,) = call("search", idx, "war school", "--top-k", 3)
    scores = [[hit["score"] for hit in found["hits"]] for found in (there, here)]
    assert scores[0] == pytest.approx(scores[1], rel=2**-8)
    assert any(match["token"].endswith(" (exact)") for match in there["hits"][0]["matches"])
    (scaled,) = call("search", url, "war school", "--top-k", 3, "--lexical-weight", 0)
    assert scaled["hits"][0]["score"] < there["hits"][0]["score"]


def test_exports_take_twice_the_columns(call, folders, corpus, tmp_path):
    call("index", folders / "source", corpus, "-o", tmp_path / "idx", "--lexical", "hybrid")
    (built,) = call("export", tmp_path / "idx", "--format", "qdrant", "-o", tmp_path / "qdrant")
    points = [json.loads(line) for line in (tmp_path / "qdrant" / "points.jsonl").read_text().splitlines()]
    width = load_encoder(tmp_path / "idx.encoder").get_embedding_dimension()
    ids = [id for point in points for id in point["vector"]["sparse"]["indices"]]
    assert width // 2 <= max(ids) < width == built["vocabulary_size"]


def test_doctor_finds_nothing_wrong_with_the_lexical_part(call, run, folders, corpus, tmp_path):
    (tmp_path / "texts.txt").write_text("\n".join(row["text"] for row in ROWS))
    found = {}
    for mode in ("echo", "hybrid"):
        call("index", folders / "source", corpus, "-o", tmp_path / mode, "--lexical", mode, "--no-calibrate")
        for name, folder in ((mode, tmp_path / f"{mode}.encoder"), ("plain", folders / "source")):
            _, out, _ = run("doctor", folder, "--texts", tmp_path / "texts.txt", "--json")
            rows = [json.loads(line) for line in out.splitlines()]
            found[name] = {row["check"]: row["level"] for row in rows if "check" in row}
    assert found["plain"]
    for mode in ("echo", "hybrid"):
        errors = {check for check, level in found[mode].items() if level == "error"}
        assert errors <= {check for check, level in found["plain"].items() if level == "error"}


@pytest.mark.parametrize("hub", [False, True])
def test_tokens_that_a_transfer_kept_are_known(call, folders, vectors, corpus, tmp_path, monkeypatch, hub):  # noqa: F811
    words = ("집", "학교", "물")
    rows = [row | {"text": f"{row['text']} {words[i % 3]} {words[i // 3 % 3]}"} for i, row in enumerate(ROWS)]
    write_lines(corpus, rows)
    texts = tmp_path / "texts.txt"
    texts.write_text("\n".join(row["text"] for row in rows), encoding="utf-8")
    arguments = keep_source(folders, vectors, tmp_path / "en-ko")
    call(*arguments)
    call(*keep_source(folders, vectors, tmp_path / "echo"), "--lexical", "echo", "--lexical-texts", texts)
    if hub:
        # What has no folder of its own lies in the cache of the hub.
        monkeypatch.setattr("isthmus.encoders.load.local_folder", lambda name: None)
    call("index", tmp_path / "en-ko", corpus, "-o", tmp_path / "idx", "--lexical", "echo")
    kept = TokenMap.load(tmp_path / "en-ko").rows(Fate.KEPT)
    for folder in (tmp_path / "echo", tmp_path / "idx.encoder"):
        known = load_encoder(folder)[-1].known.numpy()
        assert known.nonzero()[0].tolist() == kept.tolist()
        assert TokenMap.load(folder).rows(Fate.KEPT).tolist() == kept.tolist()
