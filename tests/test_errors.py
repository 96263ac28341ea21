"""What the errors say that cannot be read off one message."""

import sys
from pathlib import Path

import pytest

from isthmus import errors

ROOT = Path(__file__).parents[1]


@pytest.fixture
def with_pip(monkeypatch):
    """The pip on the path belongs to this Python."""
    monkeypatch.setattr(errors.shutil, "which", lambda _: str(Path(sys.executable).with_name("pip")))


def test_a_checkout_is_installed_with_its_constraints(monkeypatch, with_pip):
    monkeypatch.chdir(ROOT)
    assert errors.install_command("serve") == "pip install -c constraints.txt -e '.[serve]'"


def test_a_checkout_elsewhere_is_named(monkeypatch, with_pip, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert errors.install_command("serve") == f"pip install -c {ROOT}/constraints.txt -e '{ROOT}[serve]'"


def test_a_release_is_installed_by_name(monkeypatch, with_pip, tmp_path):
    monkeypatch.setattr(errors, "__file__", str(tmp_path / "lib" / "isthmus" / "errors.py"))
    assert errors.install_command("serve") == "pip install 'isthmus[serve]'"


def test_another_pip_is_not_asked(monkeypatch):
    monkeypatch.setattr(errors.shutil, "which", lambda _: "/somewhere/else/bin/pip")
    message = str(errors.MissingExtraError("fastapi", "serve"))
    assert message.startswith("fastapi is not installed; run: ")
    assert f"{sys.executable} -m pip install" in message
