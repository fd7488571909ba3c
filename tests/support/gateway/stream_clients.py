"""Clients that follow a project's events with disconnects, over server-sent events and WebSockets."""

import asyncio
import json
import random
from asyncio.subprocess import PIPE
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import httpx2
from msgspec import Struct
from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

from store.log.codec import TOPICS
from tests.support.servers.node import NODE, install_node_packages

NODE_CLIENTS: Final = Path(__file__).parent / "node_clients"
FAULTS: Final = (OSError, httpx2.HTTPError, WebSocketException, EOFError, TimeoutError)
SILENCE_SECONDS_MAX: Final = 20.0
"""A stream that says nothing for so long is broken: heartbeats come more often."""

Received = list[tuple[str, str]]
"""The id and the topic of each event that a client got."""


class Site(Struct, frozen=True, eq=False):
    """The gateways that clients choose from, what they follow, and the id of the last event, once it is known."""

    client: httpx2.AsyncClient
    urls: Sequence[str]
    token: str
    project_id: str
    last: asyncio.Future[str]

    def is_done(self, received: Received) -> bool:
        return self.last.done() and bool(received) and received[-1][0] == self.last.result()


async def follow_events(site: Site, chances: random.Random) -> Received:
    """Follow over server-sent events, resuming by `Last-Event-ID`."""
    received: Received = []
    while not site.is_done(received):
        wanted = chances.choice([2, 5, 20, 1_000])
        headers = {"authorization": f"Bearer {site.token}", "accept": "text/event-stream"}
        headers |= {"last-event-id": received[-1][0]} if received else {}
        url = f"{chances.choice(site.urls)}/v1/projects/{site.project_id}/events"
        try:
            async with site.client.stream("GET", url, headers=headers) as stream:
                await read_events(site, stream, received, wanted, chances)
        except FAULTS:
            await asyncio.sleep(0.05)  # the gateway is away: try again
    return received


async def read_events(
    site: Site, stream: httpx2.Response, received: Received, wanted: int, chances: random.Random
) -> None:
    fields: dict[str, str] = {}
    async for line in stream.aiter_lines():
        name, _, value = line.partition(": ")
        if line.startswith(":"):
            if site.is_done(received):
                return
        elif line:
            fields[name] = value
        elif "id" in fields and "data" in fields:
            received.append((fields["id"], fields["event"]))
            await read_slowly(site, chances)
            wanted -= 1
            if wanted == 0 or site.is_done(received):
                return
            fields = {}
        else:
            fields = {}


async def follow_socket(site: Site, chances: random.Random) -> Received:
    """Follow over a WebSocket, resuming by `after`."""
    received: Received = []
    while not site.is_done(received):
        wanted = chances.choice([2, 5, 20, 1_000])
        url = chances.choice(site.urls).replace("http://", "ws://") + "/v1/streams"
        headers = {"authorization": f"Bearer {site.token}"}
        try:
            async with connect(url, additional_headers=headers, compression=None, proxy=None) as connection:
                after = received[-1][0] if received else "0"
                payload = {"project_id": site.project_id, "after": after}
                await connection.send(
                    json.dumps({"channel": "runs", "event": "subscribe", "id": "s", "payload": payload})
                )
                while wanted > 0 and not site.is_done(received):
                    async with asyncio.timeout(SILENCE_SECONDS_MAX):
                        message: dict[str, Any] = json.loads(await connection.recv())
                    if message["event"] == "run.updated":
                        received.append((message["position"], message["payload"]["topic"]))
                        await read_slowly(site, chances)
                        wanted -= 1
                    elif message["event"] == "unsubscribed":
                        break
                if chances.random() < 0.5:
                    connection.transport.abort()
        except FAULTS:
            await asyncio.sleep(0.05)  # the gateway is away: try again
    return received


async def read_slowly(site: Site, chances: random.Random) -> None:
    """Read nothing for a while, sometimes."""
    if chances.random() < 0.02 and not site.last.done():
        await asyncio.wait({site.last}, timeout=chances.uniform(0.1, 1.0))


async def follow_by_node(site: Site, kind: str, seeds: Sequence[int]) -> list[Received]:
    """Follow by a public client of Node.js: `ws`, or `eventsource`; return what was received with each seed."""
    await asyncio.to_thread(install_node_packages, NODE_CLIENTS)
    config = {
        "kind": kind,
        "urls": site.urls,
        "token": site.token,
        "project": site.project_id,
        "topics": sorted(TOPICS),
        "seeds": seeds,
    }
    node = await asyncio.create_subprocess_exec(
        NODE, NODE_CLIENTS / "client.mjs", json.dumps(config), stdin=PIPE, stdout=PIPE, stderr=PIPE
    )
    try:
        last = await asyncio.shield(site.last)
        output, errors = await node.communicate(f"{last}\n".encode())
        assert node.returncode == 0, errors.decode()
        return [[(position, topic) for position, topic in received] for received in json.loads(output)]
    finally:
        if node.returncode is None:
            node.kill()
            await node.wait()
