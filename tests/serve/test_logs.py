"""Nobody who sends requests can forge a line of the log or fill the disk with it."""

import io
import json
import logging

import pytest

from isthmus.serve.access_log import write_line
from isthmus.serve.gate import Served
from isthmus.serve.logs import LONGEST, BoundedHandler


@pytest.fixture
def log():
    handler, stream = BoundedHandler(), io.StringIO()
    handler.setStream(stream)
    logger = logging.getLogger("tests.serve.logs")
    logger.addHandler(handler)
    logger.propagate = False
    yield logger, stream
    logger.removeHandler(handler)


def test_lines_are_lines(log):
    logger, stream = log
    logger.error("a request to %s failed", "/api\r\nINFO: all is well\x1b[31m\u202e")
    assert stream.getvalue() == "error: a request to /api\\r\\nINFO: all is well\\x1b[31m\\u202e failed\n"


def test_tracebacks_are_moved_to_the_right(log):
    logger, stream = log
    try:
        raise ValueError("x\nerror: forged\x1b[2J")
    except ValueError:
        logger.exception("failed")
    first, *rest = stream.getvalue().splitlines()
    assert first == "error: failed"
    assert all(line.startswith("  ") for line in rest)
    assert "  error: forged\\x1b[2J" in rest


def test_lines_are_cut_and_floods_are_counted(log):
    logger, stream = log
    for number in range(5000):
        logger.warning("%s", f"{number} " + "x" * 10_000_000 if number == 0 else number)
    logger.error("another place is heard")
    lines = stream.getvalue().splitlines()
    assert len(lines) < 20
    assert len(lines[0]) < LONGEST + 10
    assert lines[-1] == "error: another place is heard"


def test_what_was_left_out_is_told(log, monkeypatch):
    logger, stream = log
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    for number in range(101):
        now[0] += 100.0 * (number == 100)
        logger.warning("again")
    assert stream.getvalue().splitlines()[-1] == "warning: again (and 90 more like it)"


def test_access_lines_are_short(capsys):
    texts = ["\u202e" * 2000] * 32
    body = json.dumps({"texts": texts, "query": "x" * 60_000}).encode()
    write_line(Served("M" * 30_000, "/" + "p" * 30_000, "", body), texts=True)
    (line,) = capsys.readouterr().err.splitlines()
    assert len(line) < 10_000
    assert line.isascii()
    write_line(Served("POST", "/", "", b"[" * 60_000), texts=True)
    assert json.loads(capsys.readouterr().err)["method"] == "POST"
