"""A client of event streams, for tests."""

import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import httpx2
from msgspec import Struct

from tests.support.gateway.given import Caller, sign_token


class Event(Struct, frozen=True, kw_only=True):
    id: str
    topic: str
    data: dict[str, Any]


class Stream:
    """Events as they arrive, and the comments and events without id in between."""

    def __init__(self, response: httpx2.Response) -> None:
        """Read from the beginning."""
        self.response = response
        self._lines = response.aiter_lines()
        self.comments = 0
        self.hints: list[tuple[str, dict[str, Any]]] = []

    async def __aiter__(self) -> AsyncIterator[Event]:
        fields: dict[str, str] = {}
        async for line in self._lines:
            name, _, value = line.partition(": ")
            if line.startswith(":"):
                self.comments += 1
            elif line:
                fields[name] = value
            elif "data" in fields:
                if "id" in fields:
                    yield Event(id=fields["id"], topic=fields["event"], data=json.loads(fields["data"]))
                else:
                    self.hints.append((fields["event"], json.loads(fields["data"])))
                fields = {}

    async def first(self, topic: str) -> Event:
        """Read up to the first event of a topic."""
        async for event in self:
            if event.topic == topic:
                return event
        raise AssertionError(f"the stream ended without {topic}")

    async def rest(self) -> list[Event]:
        return [event async for event in self]


def stream_run(caller: Caller, run_id: str, query: str = "", **headers: str) -> AbstractAsyncContextManager[Stream]:
    """Open the event stream of a run."""
    return open_stream(caller, f"/v1/runs/{run_id}/events{query}", **headers)


@asynccontextmanager
async def open_stream(ada: Caller, path: str, **headers: str) -> AsyncGenerator[Stream]:
    """Open the event stream at a path."""
    authorization = f"Bearer {sign_token(ada.workspace_id, ada.user_id)}"
    more = {"authorization": authorization, "accept": "text/event-stream", **headers}
    async with ada.client.stream("GET", path, headers=more) as response:
        if response.status_code != 200:
            await response.aread()
        yield Stream(response)
