"""``isthmus tokenizer``, and ``isthmus transfer --target-text``: from raw text to an encoder."""

import json
import re

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer, SparseEncoder
from sentence_transformers.base.modules import Transformer
from sentence_transformers.sentence_transformer.modules import Pooling
from transformers import AutoTokenizer

from isthmus.bridge import BridgeVectors
from tests.cli.conftest import write_lines

LINES = ["Das schöne Haus am Wasser.", "Die Schule steht in der Stadt.", "Wasser im Haus, Wasser in der Schule!"] * 40


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "de.txt"
    path.write_text("\n".join(LINES) + "\n", encoding="utf-8")
    return path


def transfer(folders, text, output, *more):
    return [
        "transfer", folders / "source", "--target-text", text, "--method", "mean", "-o", output, *more,
    ]  # fmt: skip


def test_a_tokenizer_and_its_report(run, text, tmp_path):
    code, out, err = run(
        "tokenizer", text, "-o", tmp_path / "tok", "--vocabulary-size", 150, "--language", "de", "--json"
    )
    assert code == 0, err
    report = json.loads(out)
    assert report["folder"] == str(tmp_path / "tok")
    assert (report["lines"], report["held_out_lines"], report["script"]) == (120, 2, "Latin")
    assert report["characters"] == sum(map(len, LINES))
    assert report["vocabulary_size"] <= report["vocabulary_size_wanted"] == 150
    assert report["unknown_characters"] == 0
    assert report["fertility"] >= 1
    tokenizer = AutoTokenizer.from_pretrained(str(tmp_path / "tok"))
    assert len(tokenizer) == report["vocabulary_size"]
    assert "haus" in tokenizer.get_vocab()
    assert 'language: "de"' in (tmp_path / "tok" / "README.md").read_text()


def test_people_read_what_was_done_and_what_is_next(run, text, tmp_path):
    code, out, err = run("tokenizer", text, "-o", tmp_path / "tok", "--no-lowercase")
    assert code == 0, err
    assert "Trained a tokenizer of" in out
    assert "of the 24000 entries asked for" in " ".join(out.split())
    assert f"isthmus transfer ENCODER --target-tokenizer {tmp_path / 'tok'}" in out
    assert "Haus" in AutoTokenizer.from_pretrained(str(tmp_path / "tok")).get_vocab()


def test_several_files_of_both_kinds(run, text, tmp_path):
    write_lines(tmp_path / "corpus.jsonl", [{"id": "a", "title": "Turm", "text": "im Wald"}])
    code, out, err = run("tokenizer", text, tmp_path / "corpus.jsonl", "-o", tmp_path / "tok", "--json")
    assert code == 0, err
    assert json.loads(out)["characters"] == sum(map(len, LINES)) + len("Turm im Wald")


def test_a_folder_of_text_files_is_told_how_to_name_them(run, text, tmp_path):
    code, _, err = run("tokenizer", text.parent, "-o", tmp_path / "tok")
    assert code == 2
    assert f"got the folder {tmp_path} without one; name its files, as in {tmp_path / '*.txt'}" in err
    assert not (tmp_path / "tok").exists()


def test_a_folder_is_replaced_only_on_request_and_only_a_tokenizer(run, text, tmp_path):
    folder = tmp_path / "tok"
    assert run("tokenizer", text, "-o", folder)[0] == 0
    code, _, err = run("tokenizer", text, "-o", folder)
    assert code == 1
    assert "--overwrite" in err
    assert run("tokenizer", text, "-o", folder, "--overwrite")[0] == 0
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.tex").write_text("years of work")
    code, _, err = run("tokenizer", text, "-o", other, "--overwrite")
    assert code == 1
    assert "must hold tokenizer.json" in err
    assert (other / "thesis.tex").exists()


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "bad.txt must hold at least one line or document that is not blank"),
        (b" \n\n\t\n", "bad.txt must hold at least one line or document that is not blank"),
        (b"gut\ngut\n\xe9t\xe9\n", "line 3: must be UTF-8 text"),
    ],
)
def test_hostile_files_are_told_and_leave_nothing(run, tmp_path, content, told):
    path = tmp_path / "bad.txt"
    path.write_bytes(content)
    code, _, err = run("tokenizer", path, "-o", tmp_path / "tok")
    assert code == 2
    assert told in err
    assert [entry.name for entry in tmp_path.iterdir()] == ["bad.txt"]


def test_a_file_that_is_missing_and_a_size_that_is_too_small(run, text, tmp_path):
    code, _, err = run("tokenizer", tmp_path / "nowhere.txt", "-o", tmp_path / "tok")
    assert code == 2
    assert "nowhere.txt does not exist" in err
    code, _, err = run("tokenizer", text, "-o", tmp_path / "tok", "--vocabulary-size", 10)
    assert code == 2
    assert "vocabulary_size must be at least" in err


def test_transfer_from_text_writes_a_plain_encoder(run, folders, text, tmp_path):
    output = tmp_path / "splade-de"
    code, out, err = run(*transfer(folders, text, output, "--vocabulary-size", 150, "--language", "de", "--json"))
    assert code == 0, err
    report = json.loads(out)
    assert report["target_tokens"] == report["tokenizer"]["vocabulary_size"] <= 150
    assert report["tokenizer"]["language"] == "de"
    encoder = SparseEncoder(str(output))
    assert encoder.encode(["das Haus"]).shape[-1] == report["target_tokens"]
    card = (output / "README.md").read_text()
    assert "with the vocabulary of tokenizer-de" in card
    assert "\n- de\n" in card
    for path in output.rglob("*.json"):
        assert "isthmus-" not in path.read_text(encoding="utf-8"), f"{path.name} names the temporary folder"


def test_the_result_is_indexed_and_searched(run, folders, text, tmp_path):
    assert run(*transfer(folders, text, tmp_path / "splade-de"))[0] == 0
    write_lines(tmp_path / "corpus.jsonl", [{"id": "a", "text": "Wasser im Haus"}, {"id": "b", "text": "Schule"}])
    code, _, err = run("index", tmp_path / "splade-de", tmp_path / "corpus.jsonl", "-o", tmp_path / "idx")
    assert code == 0, err
    code, out, err = run("search", tmp_path / "idx", "Wasser", "--json")
    assert code == 0, err
    assert json.loads(out.splitlines()[0])


def test_what_is_printed_for_people_tells_of_both(run, folders, text, tmp_path):
    code, out, err = run(*transfer(folders, text, tmp_path / "splade"))
    assert code == 0, err
    assert out.index("Trained a tokenizer of") < out.index("Transferred to")
    assert "with the vocabulary of tokenizer-from-text" in (tmp_path / "splade" / "README.md").read_text()


def test_a_language_that_is_no_file_name_is_no_path(run, folders, text, tmp_path):
    code, _, err = run(*transfer(folders, text, tmp_path / "splade", "--language", "../d/e", "--json"))
    assert code == 0, err
    assert "with the vocabulary of tokenizer-from-text" in (tmp_path / "splade" / "README.md").read_text()


def test_text_takes_the_place_of_a_presets_tokenizer(run, text, tmp_path, monkeypatch, folders):
    def encoder(name, **_):
        assert name == "isthmus/mini-splade-en"
        return SparseEncoder(str(folders / "source"))

    def vectors(bridge, source, target, **_):
        assert bridge == "isthmus/mini-bridge"
        generator = np.random.default_rng(0)
        rows = [generator.standard_normal((vocabulary.size, 8)).astype(np.float32) for vocabulary in (source, target)]
        return BridgeVectors(*rows, "random")

    monkeypatch.setattr("isthmus.transferring.pipeline.load_encoder", encoder)
    monkeypatch.setattr("isthmus.transferring.pipeline.open_bridge", lambda name, **_: name)
    monkeypatch.setattr("isthmus.transferring.pipeline.embed_vocabularies", vectors)
    output = tmp_path / "splade"
    code, out, err = run("transfer", "--preset", "mini-ko", "--target-text", text, "-o", output, "--json")
    assert code == 0, err
    report = json.loads(out)
    assert report["method"] == "sembridge"
    assert report["target_tokens"] == report["tokenizer"]["vocabulary_size"]
    assert "haus" in SparseEncoder(str(output)).tokenizer.get_vocab()
    assert "\n- ko\n" not in (output / "README.md").read_text(), "the preset's language goes with its tokenizer"


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ([], "method sembridge must have a bridge, got None; pass bridge= (--bridge"),
        (["--method", "mean", "--lexical", "echo", "--lexical-texts", "FEW"], "at least 10 texts, got 5 in"),
        (
            ["--method", "mean", "--lexical", "echo", "--lexical-texts", "TEXT", "ENCODER"],
            "which is dense; leave --lex",
        ),
        (["--method", "magic"], "method must be one of"),
        (["--method", "mean", "--min-count", "3"], "options of mean must be among none"),
        (["--method", "mean", "--bias", "matched"], "sample_texts must be 10 or more with bias 'matched'"),
    ],
    ids=["bridge", "few-texts", "dense", "method", "option", "samples"],
)
def test_what_does_not_fit_is_told_before_a_tokenizer_is_trained(
    run, folders, text, tmp_path, monkeypatch, options, told
):
    def too_late(*_, **__):
        raise AssertionError("the tokenizer was trained, or the encoder transferred")

    monkeypatch.setattr("isthmus.cli.transfer.train_into", too_late)
    monkeypatch.setattr("isthmus.transfer", too_late, raising=False)
    (tmp_path / "few.txt").write_text("das Haus\n" * 5, encoding="utf-8")
    encoder, known = folders / "source", {"FEW": str(tmp_path / "few.txt"), "TEXT": str(text)}
    if "ENCODER" in options:
        options, encoder = options[:-1], tmp_path / "dense"
        SentenceTransformer(modules=[Transformer(str(folders / "backbone")), Pooling(16)]).save_pretrained(str(encoder))
    given = [known.get(option, option) for option in options]
    code, _, err = run("transfer", encoder, "--target-text", text, "-o", tmp_path / "new", *given)
    assert code == 2, err
    assert told in err
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--target-text", "TEXT", "--target-tokenizer", "isthmus/tokenizer-ko"], "must not come together"),
        (["--target-tokenizer", "isthmus/tokenizer-ko", "--vocabulary-size", "9"], "--vocabulary-size must come with"),
        ([], "must be given, got none; name one, train one on --target-text, or take a --preset"),
    ],
)
def test_exactly_one_of_tokenizer_and_text(run, folders, text, tmp_path, options, told):
    given = [str(text) if option == "TEXT" else option for option in options]
    code, _, err = run("transfer", folders / "source", *given, "--method", "mean", "-o", tmp_path / "new")
    assert code == 2
    assert told in err
    assert not (tmp_path / "new").exists()


def test_no_temporary_folder_is_left(run, folders, text, tmp_path, monkeypatch):
    place = tmp_path / "temporary"
    place.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(place))
    assert run(*transfer(folders, text, tmp_path / "one"))[0] == 0
    text.write_bytes(b"\xff\n")
    code, _, err = run(*transfer(folders, text, tmp_path / "two"))
    assert (code, "line 1: must be UTF-8" in err) == (2, True)
    assert not [entry for entry in place.iterdir() if entry.name.startswith("isthmus-")]


def test_keep_source_takes_a_tokenizer_from_text_of_another_script(run, folders, tmp_path):
    path = tmp_path / "bn.txt"
    path.write_text("বাংলা ভাষা একটি সুন্দর ভাষা।\nআমি বাংলায় কথা বলি।\n" * 60, encoding="utf-8")
    code, out, err = run(*transfer(folders, path, tmp_path / "both", "--keep-source", "--language", "en",
                                   "--language", "bn", "--json"))  # fmt: skip
    assert code == 0, err
    report = json.loads(out)
    assert report["kept"] > 0
    assert report["tokenizer"]["language"] == "bn"
    assert "ভাষা" in SparseEncoder(str(tmp_path / "both")).tokenizer.get_vocab()


def test_the_command_line_lists_it(run):
    code, out, _ = run("--help")
    assert code == 0
    assert re.search(r"^  tokenizer +Train a tokenizer on raw text", out, re.MULTILINE)
