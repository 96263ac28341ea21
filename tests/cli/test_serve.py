"""``isthmus serve`` from start to end, as its own process."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import pytest

from benchmarks.suites import serve as benchmark
from tests.cli.conftest import write_lines
from tests.engines.fake import serving as fake_engine

pytest.importorskip("fastapi", reason="needs pip install 'isthmus[serve]'")
pytest.importorskip("uvicorn", reason="needs pip install 'isthmus[serve]'")

ROWS = [{"id": "a", "text": "the house of water", "language": "en"}, {"id": "b", "text": "war", "language": "ko"}]
KEY = "0123456789abcdef-secret"
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def idx(folders, tmp_path_factory):
    from isthmus.index import SparseIndex

    root = tmp_path_factory.mktemp("serve-cli")
    write_lines(root / "corpus.jsonl", ROWS)
    SparseIndex.build(str(folders / "source"), str(root / "corpus.jsonl"), root / "idx")
    return root / "idx"


@contextmanager
def serving(idx, *options, key=None):
    """A server on a free port: what it said, and its process."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"} | ({} if key is None else {"ISTHMUS_API_KEY": key})
    command = [sys.executable, "-m", "isthmus", "serve", str(idx), "--port", "0", "--json", *options]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, env=environment, **pipes) as process:
        try:
            line = process.stdout.readline()
            assert line, process.stderr.read()
            yield json.loads(line), process
        finally:
            process.kill()


def post(url, body, **headers):
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json", **headers})
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


@pytest.mark.skipif(os.name != "posix", reason="signals are POSIX")
@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.long)])
def test_a_request_under_way_is_answered_before_it_stops(idx, number):
    # The window keeps the request waiting while the signal comes.
    with serving(idx, "--batch-window", "1500") as (said, process):
        assert said["documents"] == 2
        assert said["url"].startswith("http://127.0.0.1:")
        assert said["key"] is False
        answers = []
        asking = threading.Thread(
            target=lambda: answers.append(post(said["url"] + "/api/search", {"query": "water house"}))
        )
        asking.start()
        time.sleep(0.7)
        process.send_signal(number)
        asking.join(30)
        _, errors = process.communicate(timeout=30)
        assert process.returncode == 0, errors
    ((status, content),) = answers
    assert status == 200
    assert content["hits"]
    assert "Traceback" not in errors


def test_key_limits_and_silence(idx):
    with serving(idx, "--max-query", "20", "--max-top-k", "12", key=KEY) as (said, process):
        url = said["url"] + "/api/search"
        assert said["key"] is True
        assert post(url, {"query": "war"})[0] == 401
        key = {"Authorization": f"Bearer {KEY}"}
        assert post(url, {"query": "war"}, **key)[0] == 200
        status, content = post(url, {"query": "w" * 21}, **key)
        assert (status, content["field"]) == (422, "query")
        status, content = post(url, {"query": "war", "top_k": 13}, **key)
        assert (status, content["field"]) == (422, "top_k")
        status, content = post(url, {"query": "war"}, Host="evil.example", **key)
        assert (status, content["field"]) == (421, "Host")
        process.terminate()
        out, errors = process.communicate(timeout=30)
    assert KEY not in out + errors
    assert "war" not in out + errors


def test_other_names_can_be_allowed(idx):
    with serving(idx, "--allow-host", "search.example") as (said, _):
        assert post(said["url"] + "/api/search", {"query": "war"}, Host="search.example:443")[0] == 200
        assert post(said["url"] + "/api/search", {"query": "war"}, Host="other.example")[0] == 421


def test_what_cannot_be_served(run, idx, tmp_path, monkeypatch):
    code, _, err = run("serve", tmp_path / "nothing")
    assert code == 2
    assert "manifest.json" in err
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        code, _, err = run("serve", idx, "--port", taken.getsockname()[1])
        assert code == 2
        assert "--port" in err
    code, _, err = run("serve", idx, "--host", "no.such.host.invalid")
    assert code == 2
    assert "--host" in err
    code, _, err = run("serve", idx, "--timeout", 0)
    assert code == 2
    assert "seconds" in err
    monkeypatch.setenv("ISTHMUS_API_KEY", "short")
    code, _, err = run("serve", idx)
    assert code == 2
    assert "api_key" in err
    assert "short" not in err.replace("too short", "")


def test_another_engine_by_its_url(run, idx, folders, monkeypatch):
    served = {}
    monkeypatch.setattr("isthmus.serve.listening.run_server", lambda app, **options: served.update(options, app=app))
    for name in ("API_KEY", "USERNAME", "PASSWORD"):
        monkeypatch.delenv(f"OPENSEARCH_{name}", raising=False)
    with fake_engine() as fake:
        url = f"opensearch://127.0.0.1:{fake.port}/docs"
        code, _, err = run("serve", url)
        assert code == 2
        assert f"{url} does not exist" in "".join(err.splitlines())
        write_lines(idx.parent / "rows.jsonl", ROWS)
        assert run("index", folders / "source", idx.parent / "rows.jsonl", "-o", url)[0] == 0
        for options in ([], ["--model", folders / "source"]):
            code, _, err = run("serve", url, *options)
            assert code == 0, err
            served["ready"]("http://127.0.0.1:1")


def test_urls_that_cannot_be_served(run, monkeypatch):
    monkeypatch.setenv("OPENSEARCH_API_KEY", "engine-secret")
    code, _, err = run("serve", "opensearch://search.example/docs", "--model", "nothing")
    assert code == 2
    code, _, err = run("serve", "opensearch://search.example/docs")
    assert code == 2
    assert "in the clear" in err
    assert "engine-secret" not in err
    code, _, err = run("serve", "opensearch://user:hidden@127.0.0.1/docs")
    assert code == 2
    assert "must not hold credentials" in err
    assert "hidden" not in err
    code, _, err = run("serve", "opensaerch://127.0.0.1:9/docs")
    assert code == 2
    assert "did you mean 'opensearch'" in err


@pytest.mark.long
def test_the_load_measurement(idx, tmp_path):
    (tmp_path / "queries.txt").write_text("water\nwar\n")
    with serving(idx) as (said, _):
        command = [sys.executable, "-m", "benchmarks", "serve", said["url"], "--queries", tmp_path / "queries.txt"]
        command += ["--clients", "1,2", "--seconds", "0.3", "-o", tmp_path / "serve.json"]
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=True, cwd=ROOT)
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["clients"] for row in rows] == [1, 2]
    assert all(row["requests"] > 0 and row["errors"] == 0 for row in rows)
    written = json.loads((tmp_path / "serve.json").read_text())
    assert written["rows"] == rows
    settings = written["settings"]
    assert (settings["documents"], settings["model"], settings["clients"]) == (2, "source", [1, 2])
    assert settings.keys() >= {"seconds", "queries", "threads", "isthmus", "python", "libraries"}
    table = benchmark.TABLES["serve"](tmp_path)
    assert f"| 2 | {rows[1]['requests_per_second']:,.0f} |" in table
    assert "2 documents" in table


def test_the_extra_is_named(run, idx, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    code, _, err = run("serve", idx)
    assert code == 1
    assert re.search(r"pip install .*\[serve\]'", " ".join(err.split()))


def test_listening_for_everybody_without_a_key_is_said(run, idx, monkeypatch):
    served = {}
    monkeypatch.setattr("isthmus.serve.listening.run_server", lambda app, **options: served.update(options, app=app))
    monkeypatch.delenv("ISTHMUS_API_KEY", raising=False)
    code, _, err = run("serve", idx, "--host", "0.0.0.0")
    assert code == 0, err
    assert "ISTHMUS_API_KEY" in err
    assert served["host"] == "0.0.0.0"
    code, _, err = run("serve", idx)
    assert code == 0
    assert "ISTHMUS_API_KEY" not in err
