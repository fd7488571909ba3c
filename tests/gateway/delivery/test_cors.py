"""Browsers: which origins may read responses, preflights, and the headers that protect pages and caches."""

import pytest

from gateway.catalog import OPERATIONS
from gateway.delivery.cors import Cors, CorsOrigins
from gateway.operations.operation import Operation, ResponseHeader
from tests.gateway.operations.test_every_operation import EACH, create_unknown_ids, fill_path, send
from tests.support.gateway.given import Caller

APP = "https://app.example.com"
EXPOSED = {header.lower() for header in ResponseHeader} | {"ratelimit", "traceparent", "retry-after"}


@pytest.mark.parametrize("origin", [APP, "https://pr-7.preview.example.com"])
async def test_an_allowed_origin_may_read_responses_and_their_headers(ada: Caller, origin: str) -> None:
    for path in ("/v1/projects", "/v1/projects/prj_nothing", "/v1/nothing"):
        answer = await ada.get(path, headers={"origin": origin})
        assert answer.headers["access-control-allow-origin"] == origin
        assert "access-control-allow-credentials" not in answer.headers
        assert "Origin" in answer.headers["vary"].split(", ")
        exposed = {name.strip().lower() for name in answer.headers["access-control-expose-headers"].split(",")}
        assert exposed >= EXPOSED


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example.com",
        "https://app.example.com.evil.org",
        "https://xapp.example.com",
        "http://app.example.com",
        "https://app.example.com:8443",
        "https://a.b.preview.example.com",
        "https://preview.example.com",
        "https://evil.org/.preview.example.com",
        "null",
        "",
    ],
)
async def test_another_origin_may_not(ada: Caller, origin: str) -> None:
    answer = await ada.get("/v1/projects", headers={"origin": origin})
    assert answer.status_code == 200
    assert not [name for name in answer.headers if name.startswith("access-control-")]
    assert "Origin" in answer.headers["vary"].split(", ")


@pytest.mark.parametrize("path", sorted({operation.path for operation in OPERATIONS if operation.scope is not None}))
async def test_a_preflight_names_the_methods_of_the_path_and_is_kept(ada: Caller, path: str) -> None:
    operations = [operation for operation in OPERATIONS if operation.path == path]
    filled = fill_path(operations[0], create_unknown_ids())
    headers = {
        "origin": APP,
        "access-control-request-method": operations[0].method.value,
        "access-control-request-headers": "authorization,idempotency-key",
    }
    answer = await ada.client.request("OPTIONS", filled, headers=headers)
    assert (answer.status_code, answer.content) == (204, b"")
    assert answer.headers["access-control-allow-origin"] == APP
    assert answer.headers["access-control-allow-methods"] == answer.headers["allow"]
    assert {operation.method.value for operation in operations} <= set(answer.headers["allow"].split(", "))
    allowed = answer.headers["access-control-allow-headers"].lower().split(", ")
    assert {"authorization", "content-type", "idempotency-key", "if-match", "last-event-id"} <= set(allowed)
    assert answer.headers["access-control-max-age"] == "7200"
    refused = await ada.client.request("OPTIONS", filled, headers={**headers, "origin": "https://evil.org"})
    assert not [name for name in refused.headers if name.startswith("access-control-")]


@EACH
async def test_every_response_protects_browsers_and_caches(ada: Caller, operation: Operation) -> None:
    answer = await send(ada, operation, fill_path(operation, create_unknown_ids()))
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["cache-control"] in {"no-store", "private, no-cache"}
    assert ("content-security-policy" in answer.headers) is (operation.operation_id != "getDocs")


def test_without_the_setting_nobody_may_read_responses() -> None:
    cors = Cors(CorsOrigins(), 60)
    assert cors.list_fields(APP.encode()) == ()
    assert cors.list_preflight_fields({b"origin": APP.encode(), b"access-control-request-method": b"GET"}, "GET") == []


def test_a_star_alone_is_any_origin() -> None:
    fields = dict(Cors(CorsOrigins("*"), 60).list_fields(b"https://anybody.org"))
    assert fields[b"access-control-allow-origin"] == b"https://anybody.org"


@pytest.mark.parametrize("text", ["app.example.com", "https://app.example.com/", "https://a b", "ftp://x", "https://"])
def test_a_setting_that_is_no_origin_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="must be an origin"):
        CorsOrigins(text)
