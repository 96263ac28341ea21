"""What those who run a server need: is it ready, what did it do, and what is told of an engine that is gone."""

import json
import re
import threading
import time

import pytest

from isthmus.engines import build_engine
from isthmus.index import build_index
from isthmus.serve.access_log import write_line
from isthmus.serve.library import Library
from tests.engines.fake import serving
from tests.serve.conftest import REASON, ROWS

pytest.importorskip("fastapi", reason=REASON)
from isthmus.serve import create_app
from isthmus.serve.counters import BUCKETS, Histogram
from isthmus.serve.options import Limits

KEY = "k" * 20


@pytest.fixture
def nodes():
    with serving(nodes=2) as running:
        yield running


@pytest.fixture
def engine(nodes, model):
    """A library of an index behind two nodes, and a function that makes more of them."""
    first, second = nodes.ports

    def build(name):
        url = f"opensearch://127.0.0.1:{first},127.0.0.1:{second}/{name}"
        build_engine(url, str(model), ROWS[:3])
        return url

    library = Library(build("docs"))
    yield library, build
    library.close()


def samples(client, **headers):
    """The numbers of /metrics by name and labels."""
    answer = client.get("/metrics", headers=headers)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    rows = [line for line in answer.text.splitlines() if not line.startswith("#")]
    assert all(re.fullmatch(r'[a-z_]+(\{([a-z]+="[^"\\]*",?)+\})? [0-9.e+-]+', row) for row in rows), rows
    return {name: float(value) for name, value in (row.rsplit(" ", 1) for row in rows)}


class TestReady:
    def test_a_folder_is(self, client):
        answer = client.get("/ready")
        assert (answer.status_code, answer.json()) == (200, {"status": "ready", "problem": None})

    def test_an_engine_that_is_gone_is_named_within_a_second(self, serve, engine, nodes, caplog):
        client = serve(inside=engine[0])
        assert client.get("/ready").status_code == 200
        for port in nodes.ports:
            nodes.kill(port)
        for path in ("/ready", "/api/search?query=war", "/api/info", "/ready"):
            started = time.perf_counter()
            answer = client.get(path)
            assert time.perf_counter() - started < 1
            assert answer.status_code == 503
            assert answer.headers["retry-after"] == "1"
            assert answer.json()["error"] == (
                "the OpenSearch server of the index 'docs' cannot be reached; try again in a second"
            )
        # The process lives all the same, and the log alone has addresses.
        assert client.get("/health").status_code == 200
        assert client.get("/health").json()["status"] == "degraded"
        assert caplog.text.count("requests fail, because the index cannot be read") == 1
        assert str(nodes.ports[0]) in caplog.text
        assert samples(client)["isthmus_index_up"] == 0
        nodes.start(nodes.ports[1])
        for _ in range(100):
            if client.get("/ready").status_code == 200:
                break
            time.sleep(0.05)
        assert client.get("/health").json() == {"status": "ok", "problem": None}
        assert client.get("/api/search?query=war").status_code == 200

    def test_one_node_of_two_may_die(self, serve, engine, nodes):
        client = serve(inside=engine[0])
        nodes.kill(nodes.ports[0])
        assert [client.get("/api/search?query=war").status_code for _ in range(3)] == [200] * 3

    def test_an_engine_that_is_slow_is_busy(self, serve, library, monkeypatch):
        client = serve(seconds=0.1)
        monkeypatch.setattr(library, "index", lambda: time.sleep(0.5))
        answer = client.get("/ready")
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        assert "did not answer within 0.1 s" in answer.json()["error"]

    def test_it_needs_no_key(self, serve):
        assert serve(api_key=KEY).get("/ready").status_code == 200


class TestReplaced:
    @pytest.fixture
    def asking(self, request):
        """Search all the while; the statuses so far, and what was found last."""
        over, answers = threading.Event(), []

        def start(client):
            def ask():
                while not over.is_set():
                    found = client.get("/api/search?query=war")
                    answers.append((found.status_code, {hit["id"] for hit in found.json().get("hits", ())}))

            thread = threading.Thread(target=ask)
            thread.start()
            request.addfinalizer(lambda: (over.set(), thread.join()))
            return answers

        return start

    def check(self, answers):
        for _ in range(400):
            if answers and "new" in answers[-1][1]:
                break
            time.sleep(0.05)
        assert {status for status, _ in answers} == {200}
        assert "new" not in answers[0][1]
        assert "new" in answers[-1][1]

    def test_a_folder(self, serve, idx, model, asking):
        answers = asking(serve(inside=Library(idx)))
        while not answers:
            time.sleep(0.01)
        build_index(str(model), [*ROWS[:3], {"id": "new", "text": "war war"}], idx, overwrite=True)
        self.check(answers)

    def test_an_alias_that_is_moved(self, serve, engine, nodes, model, asking, request):
        _, build = engine
        build("docs-1")
        nodes.aliases["live"] = ["docs-1"]
        library = Library(f"opensearch://127.0.0.1:{nodes.ports[0]}/live")
        request.addfinalizer(library.close)
        answers = asking(serve(inside=library))
        while not answers:
            time.sleep(0.01)
        url = f"opensearch://127.0.0.1:{nodes.ports[0]}/docs-2"
        build_engine(url, str(model), [*ROWS[:3], {"id": "new", "text": "war war"}])
        nodes.aliases["live"] = ["docs-2"]
        del nodes.indexes["docs-1"]
        self.check(answers)


class TestMetrics:
    def test_requests_are_counted_by_path_and_status(self, client):
        client.get("/api/search?query=secret")
        client.get("/api/search?query=secret&top_k=500")
        client.post("/api/search", json={"query": "war"})
        client.get("/secret/path")
        found = samples(client)
        assert found['isthmus_requests_total{path="/api/search",status="200"}'] == 2
        assert found['isthmus_requests_total{path="/api/search",status="422"}'] == 1
        assert found['isthmus_requests_total{path="other",status="404"}'] == 1
        assert found['isthmus_request_seconds_count{path="/api/search"}'] == 3
        assert found["isthmus_search_seconds_count"] == found["isthmus_encode_seconds_count"] == 2
        assert found["isthmus_index_failures_total"] == 0
        assert found["isthmus_index_up"] == 1
        assert found["isthmus_requests_at_work"] == 0
        assert "secret" not in client.get("/metrics").text

    def test_failures_of_the_index(self, serve, engine, nodes):
        client = serve(inside=engine[0])
        for port in nodes.ports:
            nodes.kill(port)
        client.get("/api/search?query=war")
        found = samples(client)
        assert found["isthmus_index_failures_total"] == 1
        assert found['isthmus_requests_total{path="/api/search",status="503"}'] == 1

    def test_they_need_the_key(self, serve):
        client = serve(api_key=KEY)
        assert client.get("/metrics").status_code == 401
        assert samples(client, authorization=f"Bearer {KEY}")

    def test_buckets_add_up(self):
        histogram = Histogram()
        for seconds in (0.005, 0.006, 3.0, 99.0):
            histogram.add(seconds)
        lines = histogram.lines("x", 'path="/"')
        assert lines[0] == 'x_bucket{path="/",le="0.005"} 1'
        assert lines[1] == 'x_bucket{path="/",le="0.01"} 2'
        assert lines[len(BUCKETS) - 1] == 'x_bucket{path="/",le="10.0"} 3'
        assert lines[len(BUCKETS) :] == [
            'x_bucket{path="/",le="+Inf"} 4',
            'x_sum{path="/"} 102.011',
            'x_count{path="/"} 4',
        ]
        assert histogram.lines("x")[-2:] == ["x_sum 102.011", "x_count 4"]


class TestAccessLog:
    @pytest.fixture
    def logged(self, library, capsys):
        from starlette.testclient import TestClient

        def ask(texts, *requests):
            app = create_app(
                library,
                limits=Limits(window=0.0),
                api_key=KEY,
                observers=[lambda served: write_line(served, texts=texts)],
            )
            with TestClient(app) as client:
                for method, path, given in requests:
                    more = dict(given)
                    headers = {"authorization": f"Bearer {KEY}", **more.pop("headers", {})}
                    client.request(method, path, headers=headers, **more)
            err = capsys.readouterr().err
            assert KEY not in err
            return [json.loads(line) for line in err.splitlines()]

        return ask

    REQUESTS = (
        ("GET", "/api/search?query=water&top_k=3", {}),
        ("POST", "/api/search", {"json": {"query": "war"}}),
        ("POST", "/api/search", {"content": b"{", "headers": {"content-type": "application/json"}}),
        ("GET", "/zz", {}),
    )

    def test_a_line_for_every_request_without_its_texts(self, logged):
        lines = logged(False, *self.REQUESTS)
        assert [(line["method"], line["path"], line["status"]) for line in lines] == [
            ("GET", "/api/search", 200), ("POST", "/api/search", 200), ("POST", "/api/search", 400),
            ("GET", "/zz", 404),
        ]  # fmt: skip
        assert all(line.keys() == {"time", "method", "path", "status", "ms", "bytes"} for line in lines)
        assert all(line["ms"] > 0 and line["bytes"] > 0 for line in lines)
        assert "water" not in json.dumps(lines)

    def test_texts_where_they_are_asked_for(self, logged):
        lines = logged(True, *self.REQUESTS)
        assert [line.get("query") for line in lines] == ["water", "war", None, None]

    def test_a_log_that_is_closed_stops_nobody(self, client, monkeypatch):
        import io

        closed = io.StringIO()
        closed.close()
        monkeypatch.setattr("sys.stderr", closed)
        assert client.get("/health").status_code == 200
