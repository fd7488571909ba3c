"""Clients of the WebSocket `/v1/streams`, by the public library `websockets`."""

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, Final

from msgspec import Struct
from websockets.asyncio.client import ClientConnection, connect

from tests.support.gateway.given import Caller, sign_token

PATIENCE_SECONDS: Final = 20


class Socket(Struct, frozen=True):
    """An open WebSocket."""

    connection: ClientConnection

    async def send(
        self,
        channel: str,
        event: str,
        subscription_id: str = "",
        **payload: Any,  # noqa: ANN401  # JSON
    ) -> None:
        message = {"channel": channel, "event": event, "id": subscription_id, "payload": payload}
        await self.connection.send(json.dumps(message))

    async def receive(self) -> dict[str, Any]:
        """Return the next message."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            message: dict[str, Any] = json.loads(await self.connection.recv())
        return message

    async def receive_until(self, event: str, subscription_id: str | None = None) -> dict[str, Any]:
        """Return the first message of an event, and of a subscription if one is given."""
        while True:
            message = await self.receive()
            if message["event"] == event and subscription_id in {None, message.get("id")}:
                return message

    async def subscribe(
        self,
        channel: str,
        subscription_id: str,
        **payload: Any,  # noqa: ANN401  # JSON
    ) -> dict[str, Any]:
        """Subscribe, and return the answer."""
        await self.send(channel, "subscribe", subscription_id, **payload)
        while True:
            message = await self.receive()
            if message.get("id") == subscription_id and message["event"] in {"subscribed", "error"}:
                return message

    async def read_events(self, last: str, subscription_id: str) -> list[dict[str, Any]]:
        """Return the payloads of `run.updated` up to a position, with their positions."""
        found: list[dict[str, Any]] = []
        while not found or found[-1]["position"] != last:
            message = await self.receive()
            if message["event"] == "run.updated" and message["id"] == subscription_id:
                found.append({"position": message["position"], **message["payload"]})
        return found


def find_url(caller: Caller, query: str = "") -> str:
    return str(caller.client.base_url).replace("http://", "ws://").rstrip("/") + "/v1/streams" + query


@asynccontextmanager
async def open_socket(caller: Caller, query: str = "", **headers: str) -> AsyncGenerator[Socket]:
    """Open a WebSocket and read its first message; with a query, which has a ticket, without `Authorization`."""
    sent = dict(headers)
    if not query:
        token = caller.key or sign_token(caller.workspace_id, caller.user_id, caller.scope)
        sent["authorization"] = f"Bearer {token}"
    async with connect(
        find_url(caller, query), additional_headers=sent, compression=None, max_size=None, proxy=None
    ) as connection:
        socket = Socket(connection)
        opened = await socket.receive()
        assert (opened["channel"], opened["event"]) == ("connection", "opened")
        yield socket
