"""What the tests of benchmarks share."""

import os

import pytest

from isthmus.initializers import INITIALIZERS


@pytest.fixture(autouse=True)
def data_stays(monkeypatch):
    """A suite that is run here tells the readers where its data are; other tests have theirs."""
    before = os.environ.get("ISTHMUS_DATA")
    monkeypatch.setenv("ISTHMUS_DATA", before or "")
    if before is None:
        del os.environ["ISTHMUS_DATA"]


@pytest.fixture(autouse=True)
def methods_stay():
    """A suite may add methods of its own; other tests know those of the package alone."""
    before = dict(INITIALIZERS)
    yield
    INITIALIZERS.clear()
    INITIALIZERS.update(before)
