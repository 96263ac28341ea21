"""What model cards call the model that was trained."""

import pytest

from isthmus.training.align_card import public_name


@pytest.mark.parametrize("name", ["BAAI/bge-m3", "isthmus/mini-bridge", "bert-base-uncased"])
def test_hub_ids_and_built_in_names_are_kept_whole(name):
    assert public_name(name) == name


def test_folders_show_their_own_name_and_their_parents(tmp_path, monkeypatch):
    folder = tmp_path / "runs" / "7" / "trained"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder.parent)
    for name in (str(folder), f"{folder}/", "trained", "./trained", "../7/trained"):
        assert public_name(name) == "7/trained"
    # A folder that is gone by now is shown without its path as well.
    assert public_name(str(tmp_path / "no" / "more")) == "no/more"
    assert public_name("/trained") == "trained"
