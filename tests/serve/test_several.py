"""Several indexes behind one address."""

import shutil

import pytest

from isthmus.errors import InputError
from isthmus.index import change_index
from isthmus.serve.library import Library
from tests.serve.conftest import REASON

pytest.importorskip("fastapi", reason=REASON)

KEY = "0123456789abcdef-secret"


@pytest.fixture
def both(idx, tmp_path):
    """Two libraries, the second without document "a"."""
    shutil.copytree(idx, tmp_path / "other")
    change_index(tmp_path / "other", delete=["a"])
    return {"one": Library(idx), "two-b": Library(tmp_path / "other")}


def client_of(libraries, **options):
    from starlette.testclient import TestClient

    from isthmus.serve.several import Several

    return TestClient(Several(libraries, **options), raise_server_exceptions=False)


def test_each_index_answers_below_its_name(both):
    seen = []
    with client_of(both, observers=[lambda served: seen.append(served.path)]) as client:
        assert client.get("/").json() == {"indexes": {"one": "/one/", "two-b": "/two-b/"}}
        assert client.get("/health").json()["status"] == "ok"
        found = {name: client.post(f"/{name}/api/search", json={"query": "house"}).json() for name in both}
        assert "a" in [hit["id"] for hit in found["one"]["hits"]]
        assert "a" not in [hit["id"] for hit in found["two-b"]["hits"]]
        assert [client.get(f"/{name}/api/info").json()["documents"] for name in both] == [4, 3]
        assert client.get("/one/ready").json()["status"] == "ready"
        assert "isthmus_requests_total" in client.get("/two-b/metrics").text
        page = client.get("/one/")
        assert page.headers["content-type"].startswith("text/html")
        # The page's own files and requests stand below the name too.
        assert 'src="page/explorer.js"' in page.text
        assert client.get("/one/page/explorer.js").status_code == 200
        assert client.get("/one", follow_redirects=False).headers["location"] == "/one/"
        for path in ("/three/api/info", "/api/info", "/one/../three/", "//api/info", "/one//api/info"):
            assert client.get(path).status_code == 404
    assert {"/", "/one/api/search", "/two-b/api/search"} <= set(seen)


def test_the_key_and_the_host_are_asked_for_everywhere(both):
    with client_of(both, api_key=KEY, hosts=["testserver"]) as client:
        for name in both:
            assert client.get(f"/{name}/api/info").status_code == 401
            assert client.get(f"/{name}/metrics").status_code == 401
            assert client.get(f"/{name}/api/info", headers={"Authorization": f"Bearer {KEY}"}).status_code == 200
        for path in ("/", "/one/", "/one/api/info", "/health"):
            assert client.get(path, headers={"Host": "elsewhere.example"}).status_code == 421


@pytest.mark.parametrize("name", ["", "api", "health", "A", "a/b", "a.b", "-a", "page"])
def test_a_name_must_fit_a_path(both, name):
    with pytest.raises(InputError, match="the name of an index must be lower-case"):
        client_of({name: both["one"]})
