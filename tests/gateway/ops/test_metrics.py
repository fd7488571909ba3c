"""`GET /metrics` on the gateway's port: with its own token only."""

import pytest

from tests.support.gateway.given import Caller, expect_problem


async def test_metrics_need_their_token(ada: Caller) -> None:
    answer = await ada.client.get("/metrics", headers={"authorization": "bearer the token of the tests"})
    assert answer.status_code == 200
    assert "callsheet_up" in answer.text


@pytest.mark.parametrize("sent", [None, "Bearer wrong", "Bearer", "the token of the tests", "Basic x"])
async def test_metrics_are_refused_without_it(ada: Caller, sent: str | None) -> None:
    answer = await ada.client.get("/metrics", headers={} if sent is None else {"authorization": sent})
    expect_problem(answer, 401, "unauthenticated")
    assert "CALLSHEET_HTTP_METRICS_TOKEN" in answer.json()["detail"]
    assert answer.headers["www-authenticate"] == 'Bearer realm="callsheet metrics"'
