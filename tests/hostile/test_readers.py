"""Readers who never read: streams and unsent bytes are bounded, and a connection that takes nothing is closed."""

import asyncio
import json
import socket
from contextlib import AsyncExitStack
from typing import Any, Final
from urllib.parse import urlsplit

from tests.hostile.conftest import SETTINGS
from tests.support.gateway.given import HUMAN, Caller, Environment, expect_problem, sign_token
from tests.support.waiting import eventually

TEXT_BYTES: Final = 800_000
COPIES: Final = 10
EXPRESSION: Final = f"[{', '.join(['inputs.text'] * COPIES)}]"
LARGE: Final = {"nodes": [{"id": "a", "kind": "transform", "config": {"expression": EXPRESSION}}]}
LARGE_BYTES: Final = COPIES * (TEXT_BYTES + 3) + 1
"""More than the kernel takes of a response whose peer reads nothing: 2.8 MB."""


async def open_raw(environment: Environment, caller: Caller, path: str, accept: str = "application/json") -> Any:  # noqa: ANN401
    """Send a request and read nothing, with small buffers in the kernel; returns the reader and the writer."""
    address = urlsplit(environment.url)
    peer = socket.socket()
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    peer.settimeout(0)
    await asyncio.get_running_loop().sock_connect(peer, (address.hostname, address.port))
    reader, writer = await asyncio.open_connection(sock=peer, limit=2**12)
    token = sign_token(caller.workspace_id, caller.user_id)
    head = f"GET {path} HTTP/1.1\r\nHost: a\r\nAccept: {accept}\r\nAuthorization: Bearer {token}\r\n\r\n"
    writer.write(head.encode())
    await writer.drain()
    return reader, writer


async def create_large_run(caller: Caller) -> dict[str, Any]:
    return await caller.ended_run(LARGE, {"text": "x" * TEXT_BYTES})


async def test_a_large_output_is_a_reference_with_a_link_that_has_all_of_it(mallory: Caller) -> None:
    run = await create_large_run(mallory)
    output = run["outputs"]["a"]
    assert output["bytes"] == LARGE_BYTES
    assert output["url"] == f"/v1/runs/{run['id']}/outputs/a" == run["steps"]["a"]["output"]["url"]
    whole = await mallory.get(output["url"])
    assert json.loads(whole.content) == ["x" * TEXT_BYTES] * COPIES
    digest = output["$ref"].removeprefix("sha256:")
    linked = await mallory.get(f"/v1/runs/{run['id']}/contents/{digest}")
    assert linked.content == whole.content
    expect_problem(await mallory.get(f"/v1/runs/{run['id']}/outputs/b"), 404, "output_not_found")


async def test_what_is_left_unread_is_bounded_and_given_up(
    mallory: Caller, neighbour: Caller, hostile_environment: Environment
) -> None:
    run = await create_large_run(mallory)
    path = f"/v1/runs/{run['id']}/outputs/a"
    unread = hostile_environment.gateway.unread
    fits = SETTINGS.http.unread_bytes_per_credential_max // LARGE_BYTES
    async with AsyncExitStack() as stack:
        for _ in range(fits):
            _, writer = await open_raw(hostile_environment, mallory, path)
            stack.callback(writer.close)

        async def is_held() -> bool:
            return unread.total_bytes >= fits * LARGE_BYTES

        await eventually(is_held, what="every response waits for its reader")
        refused = await mallory.get(path)
        problem = expect_problem(refused, 429, "too_much_unread")
        assert "This credential leaves" in problem["detail"]
        assert refused.headers["retry-after"] == "5"
        other = await create_large_run(neighbour)
        assert (await neighbour.get(other["outputs"]["a"]["url"])).status_code == 200

        async def is_given_up() -> bool:
            return unread.total_bytes == 0

        await eventually(is_given_up, what="connections whose peers take nothing are closed", seconds=20)
    assert (await mallory.get(path)).status_code == 200


async def test_open_streams_are_bounded(mallory: Caller, neighbour: Caller, hostile_environment: Environment) -> None:
    workflow = await mallory.workflow(HUMAN)
    run = (await mallory.post(f"/v1/workflows/{workflow['id']}:run", {})).json()
    path = f"/v1/runs/{run['id']}/events"
    async with AsyncExitStack() as stack:
        for _ in range(SETTINGS.http.streams_per_credential_max):
            reader, writer = await open_raw(hostile_environment, mallory, path, "text/event-stream")
            stack.callback(writer.close)
            assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        refused = await mallory.get(path, headers={"accept": "text/event-stream"})
        problem = expect_problem(refused, 429, "too_many_streams")
        assert "open streams, and may have no more" in problem["detail"]
        assert (await neighbour.get("/v1/projects")).status_code == 200

    async def is_accepted() -> bool:
        reader, writer = await open_raw(hostile_environment, mallory, path, "text/event-stream")
        status = await reader.readline()
        writer.close()
        return status.startswith(b"HTTP/1.1 200")

    await eventually(is_accepted, what="another stream opens once others are closed")
