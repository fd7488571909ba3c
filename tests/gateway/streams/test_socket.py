"""The WebSocket `/v1/streams`: who may open it, what it answers, and how it ends."""

import asyncio
import json
from contextlib import nullcontext
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from gateway.delivery.cors import Cors, CorsOrigins
from gateway.http.rejections import NotPermitted
from gateway.streams.channels.table import MESSAGES
from gateway.streams.handshake import check_origin
from tests.gateway.identity.test_api_keys import create_key
from tests.gateway.streams.test_tickets import create_ticket
from tests.support.gateway.given import TRANSFORM_CHAIN, Caller, Environment, expect_problem, new_id
from tests.support.gateway.sockets import Socket, find_url, open_socket
from tests.support.servers.raw_http import exchange
from tests.support.waiting import eventually


async def refuse(caller: Caller, query: str = "", **headers: str) -> dict[str, Any]:
    """Return the problem with which a WebSocket is refused."""
    with pytest.raises(InvalidStatus) as refused:
        async with open_socket(caller, query, **headers):
            pass
    response = refused.value.response
    problem: dict[str, Any] = json.loads(response.body)
    assert response.headers["content-type"] == "application/problem+json"
    assert response.status_code == problem["status"]
    return problem


async def receive_end(socket: Socket) -> tuple[int, str, dict[str, Any]]:
    """Return the code and the reason of the end, and the payload of the message before it."""
    closing: dict[str, Any] = {}

    async def read() -> None:
        while True:
            message = await socket.receive()
            if message["event"] == "closing":
                closing.update(message["payload"])

    with pytest.raises(ConnectionClosed) as closed:
        await read()
    assert closed.value.rcvd is not None
    return closed.value.rcvd.code, closed.value.rcvd.reason, closing


async def test_a_socket_opens_with_a_token_a_key_or_a_ticket(ada: Caller, other_ada: Caller) -> None:
    admin = ada.as_user(ada.user_id, scope="keys:admin runs:read")
    key = await create_key(admin, scopes=["runs:read"])
    for caller, query in (
        (ada, ""),
        (ada.with_key(key["secret"]), ""),
        (other_ada, f"?ticket={await create_ticket(ada)}"),
    ):
        async with open_socket(caller, query) as socket:
            await socket.send("connection", "ping")
            assert (await socket.receive())["event"] == "pong"


async def test_a_socket_without_a_valid_credential_is_refused_with_a_problem(ada: Caller) -> None:
    assert (await refuse(ada, "?ticket=tkt_unknown"))["code"] == "unauthenticated"
    assert (await refuse(ada.with_key("nonsense")))["code"] == "unauthenticated"
    problem = await refuse(ada, "?colour=red")
    assert (problem["code"], problem["errors"][0]["parameter"]) == ("malformed", "colour")


async def test_pages_of_other_origins_are_refused(ada: Caller) -> None:
    problem = await refuse(ada, origin="https://evil.example.com")
    assert problem["code"] == "not_permitted"
    assert "`https://evil.example.com`" in problem["detail"]
    async with open_socket(ada, origin=str(ada.client.base_url).rstrip("/")):
        pass


@pytest.mark.parametrize(
    ("origin", "is_allowed"),
    [
        (b"https://app.example.com", True),
        (b"https://example.com", False),
        (b"https://app.example.com.evil.com", False),
        (b"http://here:8000", True),
        (b"http://here:8001", False),
        (b"null", False),
    ],
)
def test_the_origins_that_may_read_responses_may_open_the_socket(origin: bytes, *, is_allowed: bool) -> None:
    headers = {b"host": b"here:8000", b"origin": origin}
    for listed in (CorsOrigins("https://*.example.com"), None):
        expected = is_allowed and (listed is not None or origin == b"http://here:8000")
        with nullcontext() if expected else pytest.raises(NotPermitted):
            check_origin(headers, Cors(listed, 1))


async def test_a_handshake_that_is_none_is_a_request_like_any_other(environment: Environment) -> None:
    key = b"Sec-WebSocket-Key: " + b"A" * 22 + b"=="
    whole = [b"Host: x", b"Connection: Upgrade", b"Upgrade: websocket", b"Sec-WebSocket-Version: 13", key]
    wrong = [
        (b"GET /v1/projects HTTP/1.1", whole),
        (b"POST /v1/streams HTTP/1.1", whole),
        (b"GET /v1/streams HTTP/1.0", whole),
        (b"GET /v1/streams HTTP/1.1", [*whole, key]),
        (b"GET /v1/streams HTTP/1.1", [*whole, b"Content-Length: 0"]),
        *((b"GET /v1/streams HTTP/1.1", [line for line in whole if line != left_out]) for left_out in whole[1:]),
    ]
    for first, lines in wrong:
        (response,) = await exchange(environment.url, [b"\r\n".join([first, *lines, b"", b""])], pause=0)
        assert response.status in {401, 404, 405}, (first, lines)


async def test_frames_in_the_packet_of_the_handshake_are_read(ada: Caller, environment: Environment) -> None:
    ticket = await create_ticket(ada)
    head = [f"GET /v1/streams?ticket={ticket} HTTP/1.1".encode(), b"Host: x", b"Connection: keep-alive, Upgrade"]
    head += [b"Upgrade: WebSocket", b"Sec-WebSocket-Version: 13", b"Sec-WebSocket-Key: " + b"A" * 22 + b"==", b"", b""]
    text = b'{"channel":"connection","event":"ping"}'
    frame = bytes([0x81, 0x80 | len(text), 0, 0, 0, 0]) + text
    host, port = environment.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"\r\n".join(head) + frame)
    assert b" 101 " in await reader.readline()
    await reader.readuntil(b'"event":"pong"')
    writer.close()


async def test_what_is_wrong_with_a_message_is_answered_and_the_socket_stays_open(ada: Caller) -> None:
    async with open_socket(ada) as socket:
        for text, code, pointers in (
            ("{", "malformed", []),
            ('{"channel":"runs","event":"dance"}', "malformed", []),
            ('{"channel":"runs","event":"subscribe","colour":1}', "body_unacceptable", ["/colour"]),
            (
                '{"channel":"runs","event":"subscribe","id":"a","payload":{"run_id":1}}',
                "body_unacceptable",
                ["/payload/run_id"],
            ),
            ('{"channel":"runs","event":"subscribe","payload":{}}', "body_unacceptable", ["/id"]),
            ('{"channel":"runs","event":"subscribe","id":"a","payload":{}}', "body_unacceptable", []),
            ('{"channel":"runs","event":"unsubscribe","id":"a"}', "subscription_not_found", []),
            ('{"channel":"runs","event":"subscribe","id":"a","payload":{"run_id":"run_x"}}', "run_not_found", []),
        ):
            await socket.connection.send(text)
            message = await socket.receive()
            assert (message["event"], message["payload"]["code"]) == ("error", code), text
            assert [error["pointer"] for error in message["payload"].get("errors", [])] == pointers, text
        await socket.send("connection", "ping", "p")
        assert await socket.receive() == {"id": "p", "channel": "connection", "event": "pong", "payload": {}}


async def test_limits_are_answered(ada: Caller, environment: Environment) -> None:
    project = await ada.project()
    settings = environment.core.settings.stream
    async with open_socket(ada) as socket:
        for number in range(settings.subscriptions_max):
            answer = await socket.subscribe("runs", f"s{number}", project_id=project["id"])
            assert answer["event"] == "subscribed"
        assert (await socket.subscribe("runs", "s0", project_id=project["id"]))["payload"][
            "code"
        ] == "subscription_id_taken"
        assert (await socket.subscribe("runs", "more", project_id=project["id"]))["payload"]["code"] == "too_many"
    async with open_socket(ada) as socket:
        await socket.connection.send("x" * (settings.message_bytes_max + 1))
        assert (await receive_end(socket))[0] == 1009
    async with open_socket(ada) as socket:
        await socket.connection.send(b"bytes")
        assert (await receive_end(socket))[:2] == (1003, "messages_must_be_text")
    async with open_socket(ada) as socket:
        for _ in range(settings.messages_per_second + 20):
            await socket.send("connection", "ping")
        assert (await socket.receive_until("error"))["payload"]["code"] == "too_many"


async def test_a_workspace_has_so_many_sockets(ada: Caller, environment: Environment) -> None:
    async with asyncio.timeout(20):
        opened = [open_socket(ada) for _ in range(environment.core.settings.stream.sockets_max)]
        for each in opened:
            await each.__aenter__()
        assert (await refuse(ada))["code"] == "too_many"
        async with open_socket(ada.to(new_id())):
            pass
        await opened.pop().__aexit__(None, None, None)

        async def is_admitted() -> bool:
            try:
                async with open_socket(ada):
                    return True
            except InvalidStatus:
                return False

        await eventually(is_admitted, what="a closed socket makes room")
        for each in opened:
            await each.__aexit__(None, None, None)


async def test_a_revoked_key_closes_its_socket(ada: Caller, other_ada: Caller) -> None:
    admin = ada.as_user(ada.user_id, scope="keys:admin runs:read")
    key = await create_key(admin, scopes=["runs:read"])
    async with open_socket(other_ada.with_key(key["secret"])) as socket:
        await admin.post(f"/v1/api-keys/{key['id']}:revoke", {})
        async with asyncio.timeout(5):
            code, reason, closing = await receive_end(socket)
    assert (code, reason) == (4401, "credential_ended")
    assert closing == {"code": 4401, "reason": "credential_ended", "retry_ms": None}


async def test_who_leaves_the_team_loses_the_subscriptions_of_the_project_alone(ada: Caller) -> None:
    own, other = await ada.project(), await ada.project()
    team = [{"user_id": "usr_ada", "role": "owner"}, {"user_id": "usr_eve", "role": "viewer"}]
    await ada.patch(f"/v1/projects/{own['id']}", {"team": team})
    await ada.patch(f"/v1/projects/{other['id']}", {"team": team})
    async with open_socket(ada.as_user("usr_eve")) as socket:
        await socket.subscribe("runs", "own", project_id=own["id"], after="0")
        await socket.subscribe("runs", "other", project_id=other["id"])
        await ada.patch(f"/v1/projects/{own['id']}", {"team": team[:1]})
        ended = await socket.receive_until("unsubscribed")
        assert (ended["id"], ended["payload"]["problem"]["code"]) == ("own", "not_permitted")
        assert (await socket.subscribe("runs", "again", project_id=own["id"]))["payload"]["code"] == "project_not_found"
        run = await ada.workflow(TRANSFORM_CHAIN, other["id"])
        await ada.post(f"/v1/workflows/{run['id']}:run", {"inputs": {}})
        assert (await socket.receive_until("run.updated"))["id"] == "other"


async def test_a_credential_needs_the_scope_of_each_channel(ada: Caller) -> None:
    project = await ada.project()
    async with open_socket(ada.as_user(ada.user_id, scope="announcements:read")) as socket:
        refused = await socket.subscribe("runs", "r", project_id=project["id"])
        assert (refused["payload"]["code"], "`runs:read`" in refused["payload"]["detail"]) == ("not_permitted", True)
        assert (await socket.subscribe("announcements", "a"))["event"] == "subscribed"


async def test_the_server_answers_pings_of_the_protocol(ada: Caller) -> None:
    async with open_socket(ada) as socket:
        waiting = await socket.connection.ping()
        async with asyncio.timeout(5):
            await waiting


async def test_without_agreement_messages_are_not_compressed(ada: Caller) -> None:
    async with connect(find_url(ada, f"?ticket={await create_ticket(ada)}"), proxy=None) as connection:
        assert connection.response is not None
        assert "sec-websocket-extensions" not in connection.response.headers


async def test_a_plain_request_is_told_that_there_is_no_such_operation(ada: Caller) -> None:
    expect_problem(await ada.get("/v1/streams"), 404, "not_found")


def test_every_kind_of_message_is_described_once() -> None:
    names = [(kind.sender, kind.channel, kind.event) for kind in MESSAGES]
    assert len(names) == len(set(names))
    assert all(kind.description and kind.payload.__doc__ for kind in MESSAGES)
