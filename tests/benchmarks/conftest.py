"""What the tests of benchmarks share."""

import os

import pytest


@pytest.fixture(autouse=True)
def data_stays(monkeypatch):
    """A suite that is run here tells the readers where its data are; other tests have theirs."""
    before = os.environ.get("ISTHMUS_DATA")
    monkeypatch.setenv("ISTHMUS_DATA", before or "")
    if before is None:
        del os.environ["ISTHMUS_DATA"]
