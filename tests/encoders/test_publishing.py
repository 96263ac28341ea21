"""Publishing an encoder, to a stand-in of the hub."""

import json

import pytest

from isthmus.encoders import publishing
from isthmus.errors import InputError, NotFoundError, OutputError
from tests.encoders.hub import Hub


@pytest.fixture
def hub(monkeypatch):
    import huggingface_hub

    found = Hub()
    api = huggingface_hub.HfApi
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda: api(endpoint=found.address, token="secret"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    yield found
    found.close()


@pytest.fixture
def saved(tmp_path):
    folder = tmp_path / "splade-ko"
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "checkpoints" / "rest").write_text("not for others")
    (folder / "modules.json").write_text("[]")
    (folder / "model.safetensors").write_bytes(bytes(range(256)))
    (folder / "README.md").write_text("# 한국어")
    return folder


def test_everything_but_checkpoints_arrives(hub, saved):
    assert publishing.publish(saved, "me/splade-ko", private=True) == f"{hub.address}/me/splade-ko"
    there = hub.repositories["me/splade-ko"]
    assert set(there) == {"modules.json", "model.safetensors", "README.md"}
    assert there["model.safetensors"] == bytes(range(256))
    assert there["README.md"].decode() == "# 한국어"
    assert hub.private["me/splade-ko"] is True
    # A second time into the repository that is there.
    (saved / "modules.json").write_text(json.dumps([1]))
    publishing.publish(saved, "me/splade-ko")
    assert hub.repositories["me/splade-ko"]["modules.json"] == b"[1]"


def test_a_token_that_may_not_write_is_said(hub, saved, monkeypatch):
    import huggingface_hub

    made = huggingface_hub.HfApi()
    made.token = "other"
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda: made)
    with pytest.raises(OutputError, match=r"me/splade-ko could not be uploaded .* is complete; run: hf auth login"):
        publishing.publish(saved, "me/splade-ko")


def test_a_hub_that_is_not_there_is_said(hub, saved):
    hub.close()
    with pytest.raises(OutputError, match="could not be uploaded"):
        publishing.publish(saved, "me/splade-ko")


@pytest.mark.parametrize("name", ["splade-ko", "a/b/c", "../x", "me/", "/x", "me/a b", "me/..", "https://x/y"])
def test_what_is_no_repository_is_refused(name, saved):
    with pytest.raises(InputError, match="push_to_hub must be OWNER/NAME"):
        publishing.publish(saved, name)


def test_a_folder_without_an_encoder_is_refused(tmp_path):
    with pytest.raises(NotFoundError, match="must hold an encoder"):
        publishing.publish(tmp_path, "me/x")
