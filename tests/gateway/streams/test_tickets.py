"""Tickets of streams: used once, within their time, on any gateway, with the rights of the credential."""

import asyncio
from typing import Any

import psycopg
import pytest

from tests.gateway.identity.test_api_keys import create_key
from tests.support.gateway.event_streams import Stream
from tests.support.gateway.given import TRANSFORM_CHAIN, Caller, expect_created, expect_problem, new_id

EVENT_STREAM = {"accept": "text/event-stream"}


async def create_ticket(caller: Caller) -> str:
    return str(expect_created(await caller.post("/v1/streams:ticket"))["ticket"])


async def open_with(caller: Caller, path: str, ticket: str) -> int:
    """Return the status of a stream that is opened with a ticket and without `Authorization`."""
    async with caller.client.stream("GET", f"{path}?ticket={ticket}", headers=EVENT_STREAM) as response:
        return response.status_code


@pytest.fixture
async def run(ada: Caller) -> dict[str, Any]:
    return await ada.ended_run(TRANSFORM_CHAIN, {"n": 1})


async def test_a_stream_opens_with_a_ticket_in_place_of_a_token(ada: Caller, run: dict[str, Any]) -> None:
    path = f"/v1/runs/{run['id']}/events?ticket={await create_ticket(ada)}"
    async with ada.client.stream("GET", path, headers=EVENT_STREAM) as response:
        topics = [event.topic for event in await Stream(response).rest()]
    assert (topics[0], topics[-1]) == ("run.started", "run.completed")


async def test_of_many_uses_of_a_ticket_at_once_on_two_gateways_a_single_one_succeeds(
    ada: Caller, other_ada: Caller, run: dict[str, Any]
) -> None:
    path = f"/v1/runs/{run['id']}/events"
    for _ in range(5):
        ticket = await create_ticket(ada)
        uses = (open_with(caller, path, ticket) for caller in (ada, other_ada) * 4)
        statuses = await asyncio.gather(*uses)
        assert sorted(statuses) == [200, *[401] * 7]


async def test_a_ticket_is_refused_after_its_time(ada: Caller, run: dict[str, Any], gateway_database: str) -> None:
    ticket = await create_ticket(ada)
    async with await psycopg.AsyncConnection.connect(gateway_database, autocommit=True) as connection:
        await connection.execute("update stream_tickets set expires_at = expires_at - interval '30 seconds'")
    answer = await ada.client.get(f"/v1/runs/{run['id']}/events?ticket={ticket}")
    problem = expect_problem(answer, 401, "unauthenticated")
    assert "Create a new one with `POST /v1/streams:ticket`" in problem["detail"]


async def test_expired_tickets_are_deleted(ada: Caller, gateway_database: str) -> None:
    await create_ticket(ada)
    async with await psycopg.AsyncConnection.connect(gateway_database, autocommit=True) as connection:
        await connection.execute("update stream_tickets set expires_at = clock_timestamp() - interval '1 second'")
        await create_ticket(ada)
        found = await (await connection.execute("select count(*) from stream_tickets")).fetchone()
    assert found == (1,)


async def test_a_ticket_opens_only_what_its_credential_permits(ada: Caller, run: dict[str, Any]) -> None:
    other = await ada.project("Other")
    admin = ada.as_user(ada.user_id, scope="keys:admin runs:read")
    key = await create_key(admin, scopes=["runs:read"], project_ids=[other["id"]])
    robot = ada.with_key(key["secret"])
    assert await open_with(ada, f"/v1/projects/{run['project_id']}/events", await create_ticket(robot)) == 404
    assert await open_with(ada, f"/v1/projects/{run['project_id']}/events", await create_ticket(ada)) == 200
    stranger = ada.to(new_id())
    assert await open_with(ada, f"/v1/runs/{run['id']}/events", await create_ticket(stranger)) == 404


async def test_a_ticket_of_a_revoked_key_is_refused(ada: Caller, run: dict[str, Any]) -> None:
    admin = ada.as_user(ada.user_id, scope="keys:admin runs:read")
    key = await create_key(admin, scopes=["runs:read"])
    ticket = await create_ticket(ada.with_key(key["secret"]))
    assert (await admin.post(f"/v1/api-keys/{key['id']}:revoke", {})).status_code == 200
    assert await open_with(ada, f"/v1/runs/{run['id']}/events", ticket) == 401


async def test_a_ticket_is_in_no_link_to_a_next_page(ada: Caller, run: dict[str, Any]) -> None:
    answer = await ada.client.get(f"/v1/runs/{run['id']}/events?limit=1&ticket={await create_ticket(ada)}")
    assert answer.status_code == 200
    assert "ticket" not in answer.headers["link"]


async def test_a_ticket_does_not_authorise_other_operations(ada: Caller) -> None:
    answer = await ada.client.get(f"/v1/tasks?ticket={await create_ticket(ada)}")
    expect_problem(answer, 401, "unauthenticated")
