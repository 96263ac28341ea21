import json
import subprocess
import sys

import numpy as np
import pytest
from transformers import AutoTokenizer

from isthmus.token_map import TokenMap
from isthmus.vocabulary import Vocabulary, join_tokenizers
from tests.cli.conftest import transfer_arguments
from tests.tokenizers import wordpiece


@pytest.fixture
def vectors(folders, tmp_path):
    """Bridge vectors of the joined vocabulary in which two Korean words mean the same."""
    source, korean = (AutoTokenizer.from_pretrained(folders / name) for name in ("source", "korean"))
    joined = Vocabulary.from_tokenizer(join_tokenizers(source, [korean]).tokenizer)
    rows = np.random.default_rng(0).standard_normal((joined.size, 8)).astype(np.float32)
    ids = {token.raw: token.id for token in joined.tokens}
    rows[ids["물"]] = rows[ids["집"]]
    path = tmp_path / "joined.npz"
    np.savez(path, source=rows[: Vocabulary.from_tokenizer(source).size], target=rows)
    return path


def keep_source(folders, vectors, output, *more):
    arguments = transfer_arguments(folders, output, "--keep-source", *more)
    arguments[arguments.index("--vectors") + 1] = vectors
    return arguments


def test_keep_source_writes_a_plain_encoder(run, folders, vectors, tmp_path):
    code, out, err = run(*keep_source(folders, vectors, tmp_path / "en-ko", "--json"))
    assert code == 0, err
    report = json.loads(out)
    assert (report["output"], report["folder"]) == ("source", str(tmp_path / "en-ko"))
    assert report["source_tokens"] == report["kept"] < report["target_tokens"]
    code = "import sys; from sentence_transformers import SparseEncoder; e = SparseEncoder(sys.argv[1]); "
    code += "v = e.encode(['집 학교']).to_dense(); n = int(sys.argv[2]); "
    code += "assert 'isthmus' not in sys.modules and v[:, :n].max() > 0 and v[:, n:].max() == 0"
    command = [sys.executable, "-c", code, str(tmp_path / "en-ko"), str(report["kept"])]
    assert subprocess.run(command, check=False).returncode == 0


def test_inspect_shows_what_a_token_is_written_as(run, folders, vectors, tmp_path):
    options = ("--output", "both", "--fold", "0.99", "--no-csls")
    code, out, err = run(*keep_source(folders, vectors, tmp_path / "en-ko", *options))
    assert code == 0, err
    assert "(both written)" in out
    code, out, _ = run("inspect", tmp_path / "en-ko", "물", "집", "--json")
    water, house = map(json.loads, out.splitlines())
    assert (water["written_as"], house["written_as"]) == ("집", None)
    assert TokenMap.load(tmp_path / "en-ko").info["written_as"]["물"] == "집"
    code, out, _ = run("inspect", tmp_path / "en-ko", "물")
    assert "written as 집" in out


def test_what_cannot_be_joined_is_told_by_name(run, folders, vectors, tmp_path):
    wordpiece([f"wort{i}" for i in range(60)]).save_pretrained(tmp_path / "german")
    arguments = keep_source(folders, vectors, tmp_path / "out", "--target-tokenizer", tmp_path / "german")
    code, _, err = run(*arguments)
    assert code != 0
    assert f"target tokenizer {tmp_path / 'german'} must have tokens that text can give" in err
    assert "choose another tokenizer" in err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--fold", "2"], "fold must be in 0..1, got 2.0"),
        (["--output", "source", "--fold", "0.5"], "fold must be None where the source vocabulary is written"),
        (["--output", "sauce"], "sauce"),
        (["--as-released"], "as_released must be False"),
    ],
)
def test_options_that_do_not_fit(more, message, run, folders, vectors, tmp_path):
    code, _, err = run(*keep_source(folders, vectors, tmp_path / "out", *more))
    assert code == 2
    assert message in " ".join(err.split())
    assert not (tmp_path / "out").exists()


def test_several_tokenizers_need_keep_source(run, folders, tmp_path):
    code, _, err = run(*transfer_arguments(folders, tmp_path / "out", "--target-tokenizer", folders / "source"))
    assert code == 2
    assert "must be one unless keep_source is set, got 2" in " ".join(err.split())


def test_reads_the_target_tokenizer_and_writes_the_source(run, folders, tmp_path):
    """No tokenizer is joined, and the folder needs nothing of this package."""
    place = tmp_path / "reads"
    code, out, err = run(*transfer_arguments(folders, place, "--output", "source", "--json"))
    assert code == 0, err
    report = json.loads(out)
    read = len(AutoTokenizer.from_pretrained(folders / "korean"))
    assert (report["output"], report["read"], report["folder"]) == ("source", read, str(place))
    assert report["source_tokens"] == report["kept"] < report["target_tokens"]
    code = "import sys; from sentence_transformers import SparseEncoder; e = SparseEncoder(sys.argv[1]); "
    code += "v = e.encode(['집 학교']).to_dense(); n = int(sys.argv[2]); "
    code += "assert 'isthmus' not in sys.modules and v[:, :n].max() > 0 and v[:, n:].max() == 0"
    command = [sys.executable, "-c", code, str(place), str(report["kept"])]
    assert subprocess.run(command, check=False).returncode == 0
    code, out, _ = run("inspect", place, "집", "water", "--json")
    house, water = map(json.loads, out.splitlines())
    assert house["id"] >= report["kept"] > water["id"]
    assert (house["fate"], water["fate"]) == ("bridged", "kept")
    assert [name for name, _ in water["sources"]] == ["water"]
    code, out, _ = run(*transfer_arguments(folders, tmp_path / "told", "--output", "source"))
    assert f"{read} target tokens read and {report['kept']} source tokens written" in " ".join(out.split())
