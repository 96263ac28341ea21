"""What holds for all tests."""

import os

import pytest

# Every process of pytest-xdist has a processor, and libraries would each take all of them.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if "ISTHMUS_LONG_TESTS" not in os.environ:
        for item in items:
            if item.get_closest_marker("long"):
                item.add_marker(pytest.mark.skip(reason="long: set ISTHMUS_LONG_TESTS"))
