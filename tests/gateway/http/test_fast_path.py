"""The short way to a direct route: taken where the path has replied before, and nothing in the answers tells of it."""

from collections.abc import AsyncGenerator
from typing import Any

import httpx2
import pytest
from litestar import Litestar, Request, post

from domain.workflow import WorkflowNotFound
from gateway.app import Gateway
from gateway.http.fast_path import LONGEST_KNOWN, REPLIED, Ways, direct
from gateway.http.problems import answer
from gateway.http.rejections import Malformed
from gateway.http.replies import Reply, json_reply
from gateway.http.request_counts import Answers
from tests.support.gateway.given import HUMAN, JSON, Caller, new_id

TRACE = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
ELSEWHERE = {"host": "elsewhere.example"}
"""A Host header that a path has not been asked for with: its request goes the long way."""

FAULTS: dict[str, tuple[dict[str, str], bytes, str]] = {
    "no token": ({"authorization": ""}, b"{}", ""),
    "a token that is none": ({"authorization": "Bearer none"}, b"{}", ""),
    "no JSON": (JSON, b"{", ""),
    "a field that is not known": (JSON, b'{"input":{}}', ""),
    "another media type": ({"content-type": "text/plain"}, b"{}", ""),
    "a body that is too large": (JSON, b'{"inputs":{"it":"' + b"x" * 200_000 + b'"}}', ""),
    "a parameter that is not known": (JSON, b"{}", "?what=1"),
    "a key that is none": ({**JSON, "idempotency-key": "of two words"}, b"{}", ""),
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_faults_are_told_alike_on_both_ways(ada: Caller, fault: str) -> None:
    workflow = await ada.workflow(HUMAN)
    path = f"/v1/workflows/{workflow['id']}:run"
    assert (await ada.post(path, {})).status_code == 202
    headers, content, query = FAULTS[fault]
    short = await ada.ask("POST", f"{path}{query}", content=content, headers={**TRACE, **headers})
    long = await ada.ask("POST", f"{path}{query}", content=content, headers={**TRACE, **headers, **ELSEWHERE})
    assert 400 <= short.status_code < 500
    assert (short.status_code, short.content) == (long.status_code, long.content)
    assert told(short) == told(long)


async def test_runs_are_answered_alike_on_both_ways(ada: Caller) -> None:
    path = f"/v1/workflows/{(await ada.workflow(HUMAN))['id']}:run"
    key = {**TRACE, "idempotency-key": "the-same-run"}
    assert (await ada.post(path, {})).status_code == 202
    first = await ada.post(path, {}, headers=key)
    short = await ada.post(path, {}, headers=key)
    long = await ada.post(path, {}, headers={**key, **ELSEWHERE})
    assert (short.status_code, short.content) == (long.status_code, long.content) == (202, first.content)
    assert told(short) == told(long)
    assert short.headers["traceparent"] == TRACE["traceparent"]


async def test_a_host_that_cannot_be_is_refused_on_a_path_that_is_known(ada: Caller) -> None:
    path = f"/v1/workflows/{(await ada.workflow(HUMAN))['id']}:run"
    for _ in range(2):
        assert (await ada.post(path, {})).status_code == 202
    assert (await ada.post(path, {}, headers={"host": "not a host"})).status_code == 400


async def test_a_path_that_one_workspace_has_used_tells_another_nothing(ada: Caller) -> None:
    path = f"/v1/workflows/{(await ada.workflow(HUMAN))['id']}:run"
    for _ in range(2):
        assert (await ada.post(path, {})).status_code == 202
    eve = ada.to(new_id())
    short, long = [await eve.post(path, {}, headers={**TRACE, **more}) for more in ({}, ELSEWHERE)]
    assert short.json()["code"] == "workflow_not_found"
    assert (short.status_code, short.content, told(short)) == (404, long.content, told(long))


def told(response: httpx2.Response) -> dict[str, str]:
    """The headers, less those of the connection."""
    return {name: value for name, value in response.headers.items() if name not in {"date", "connection"}}


class Echo:
    """A direct route that says what Litestar has made of its request."""

    def __init__(self) -> None:
        """Raise nothing."""
        self.short: list[bool] = []
        self.fault: Exception | None = None

    async def handle(self, request: Request[Any, Any, Any]) -> Reply:
        self.short.append("litestar_app" not in request.scope)
        if self.fault is not None:
            raise self.fault
        return json_reply(200, {"it": request.scope["path_params"]["it"]})


@pytest.fixture
def echo() -> Echo:
    return Echo()


@pytest.fixture
def answers() -> Answers:
    return Answers()


@pytest.fixture
async def client(echo: Echo, answers: Answers) -> AsyncGenerator[httpx2.AsyncClient]:
    route = post("/echoes/{it:str}", middleware=[direct(echo.handle)])(echo.handle)
    app = Litestar([route], exception_handlers={Exception: answer}, logging_config=None, openapi_config=None)
    gateway: Any = Gateway(app, new_id, answers)
    transport = httpx2.ASGITransport(gateway)
    async with httpx2.AsyncClient(transport=transport, base_url="http://test") as found:
        yield found


async def test_a_path_that_has_replied_leads_straight_to_its_handler(
    client: httpx2.AsyncClient, echo: Echo, answers: Answers
) -> None:
    replies = [await client.post("/echoes/one", headers=TRACE) for _ in range(2)]
    assert echo.short == [False, True]
    assert [(one.status_code, one.json()) for one in replies] == [(200, {"it": "one"})] * 2
    assert replies[0].headers == replies[1].headers
    assert answers.counts == {("POST", "/echoes/{it}", 200): 2}


@pytest.mark.parametrize("fault", [WorkflowNotFound(), Malformed("It is bad."), RuntimeError("a bug")])
async def test_what_a_handler_raises_is_answered_and_counted_once_on_either_way(
    client: httpx2.AsyncClient, echo: Echo, answers: Answers, fault: Exception
) -> None:
    await client.post("/echoes/one")
    echo.fault = fault
    short, long = [await client.post("/echoes/one", headers={**TRACE, **more}) for more in ({}, ELSEWHERE)]
    assert echo.short == [False, True, False]
    assert (short.status_code, short.content, short.headers) == (long.status_code, long.content, long.headers)
    assert answers.counts["POST", "/echoes/{it}", short.status_code] == 2


async def test_a_path_is_not_remembered_before_it_has_replied(client: httpx2.AsyncClient, echo: Echo) -> None:
    echo.fault = WorkflowNotFound()
    for _ in range(2):
        assert (await client.post("/echoes/none")).status_code == 404
    assert echo.short == [False, False]


def test_only_so_many_paths_are_remembered_and_no_long_ones() -> None:
    async def handle(_request: Request[Any, Any, Any]) -> Reply:
        return json_reply(200, {})

    served = {"state": {REPLIED: handle}, "path_params": {}, "path_template": "/echoes/{it}"}
    ways = Ways(most_known=2)
    # Two first requests of a path at once learn it twice: that must cost no other path its place.
    for path in ("/one", "/two", "/two", "/three", "/three", "/" + "x" * LONGEST_KNOWN):
        ways.learn("POST", path, b"test", served)
    known = [path for path in ("/one", "/two", "/three") if ways.of("POST", path, b"test") is not None]
    assert known == ["/two", "/three"]
    assert ways.of("POST", "/" + "x" * LONGEST_KNOWN, b"test") is None
    assert ways.of("POST", "/two", b"elsewhere") is None
    assert ways.of("GET", "/two", b"test") is None
