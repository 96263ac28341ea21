"""A small part of ``python -m tests.crash``."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from tests.crash.kills import COMMANDS, kill

KILLS = int(os.environ.get("ISTHMUS_KILLS", "20"))


@pytest.mark.skipif(sys.platform == "win32", reason="writers are forked")
def test_a_killed_writer_leaves_the_state_before_or_after(tmp_path: Path) -> None:
    told = kill(tmp_path, KILLS)
    assert set(told) == set(COMMANDS)
    assert sum(counted["before"] + counted["after"] for counted in told.values()) > KILLS / 4
