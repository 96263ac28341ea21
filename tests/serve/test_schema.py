"""Schemathesis makes up requests from the OpenAPI description: none may break the server or go past its checks."""

import pytest
from hypothesis import HealthCheck, given, settings

from isthmus.serve.library import Library
from isthmus.serve.options import Limits
from tests.serve.conftest import REASON

pytest.importorskip("fastapi", reason=REASON)
schemathesis = pytest.importorskip("schemathesis", reason="schemathesis is not installed: pip install schemathesis")
from schemathesis import GenerationMode  # noqa: E402
from schemathesis.specs.openapi.checks import positive_data_acceptance  # noqa: E402

from isthmus.serve import create_app  # noqa: E402

OPERATIONS = [
    ("POST", "/api/search"), ("GET", "/api/search"), ("POST", "/api/explain"), ("GET", "/api/explain"),
    ("POST", "/api/encode"), ("GET", "/api/token"), ("GET", "/api/info"), ("GET", "/health"),
    ("GET", "/ready"),
]  # fmt: skip


@pytest.fixture(scope="module")
def schema(built):
    app = create_app(Library(built), limits=Limits(window=0.0, waiting=500))
    return schemathesis.openapi.from_asgi("/openapi.json", app)


def test_every_operation_is_tried(schema):
    found = {(result.ok().method.upper(), result.ok().path) for result in schema.get_all_operations()}
    assert found == set(OPERATIONS)


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=["fits", "does-not-fit"])
@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_no_request_breaks_the_server(schema, method, path, mode):
    operation = schema[path][method]
    if mode is GenerationMode.NEGATIVE and not (operation.body or operation.query):
        pytest.skip("takes nothing that could be wrong")

    @given(case=operation.as_strategy(generation_mode=mode))
    @settings(max_examples=30, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
    def check(case):
        # Filters must name a field of the index, which a description cannot say: such requests are refused anyhow.
        case.call_and_validate(excluded_checks=[positive_data_acceptance])

    check()
