"""Fixtures of the gateway's tests: a whole Callsheet behind a real server, and clients of it."""

import asyncio
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import httpx2
import uuid_utils.compat
from msgspec import UNSET, Struct, field
from msgspec.structs import replace

from callsheet.server.serve import Server, create_uvicorn_config, listen
from callsheet.settings.development import accept_development_tokens
from callsheet.settings.load import Settings
from callsheet.wiring.core import EVERYTHING, Core, Parts, open_core
from callsheet.wiring.gateway import GatewayParts, create_gateway
from domain.setting_types import SigningSecret
from gateway.drain import Drain
from gateway.identity.development_tokens import sign_development_token
from tests.support.gateway.declared import check_declared

SECRET: Final = SigningSecret("a secret of the tests, of 32 bytes or more")
PATIENCE_SECONDS: Final = 20.0
JSON: Final = {"content-type": "application/json"}


def new_id() -> UUID:
    return uuid_utils.compat.uuid7()


class Environment(Struct, frozen=True, kw_only=True):
    """A running server and what is behind it."""

    url: str
    core: Core
    drain: Drain
    server: Server
    gateway: GatewayParts


@asynccontextmanager
async def serving(
    conninfo: str, settings: Settings, *, process_parts: Parts = EVERYTHING
) -> AsyncGenerator[Environment]:
    """Serve a migrated database on a free port for the length of a block."""
    with tempfile.TemporaryDirectory() as directory:
        settings = replace(settings, data=replace(settings.data, directory=Path(directory)))
        async with _serving(conninfo, settings, process_parts) as environment:
            yield environment


@asynccontextmanager
async def _serving(conninfo: str, settings: Settings, process_parts: Parts) -> AsyncGenerator[Environment]:
    async with open_core(settings, conninfo, name="test", secret=SECRET, parts=process_parts) as core:
        listening = listen("127.0.0.1", 0)
        drain = Drain(core.feed)
        gateway = create_gateway(core, accept_development_tokens(settings), SECRET, drain)
        server = Server(create_uvicorn_config(gateway.app, settings.http, streams=settings.stream))
        running = asyncio.create_task(core.run())
        beside = asyncio.create_task(gateway.run())
        ready = asyncio.create_task(gateway.wait_until_ready())
        await asyncio.wait({ready, beside, running}, return_when=asyncio.FIRST_COMPLETED)
        served = asyncio.create_task(server.serve(sockets=[listening]))
        try:
            connected = asyncio.create_task(core.log.wait_until_connected())
            await asyncio.wait({connected, running}, return_when=asyncio.FIRST_COMPLETED)
            if running.done():
                running.result()
            host, port = listening.getsockname()[:2]
            yield Environment(url=f"http://{host}:{port}", core=core, drain=drain, server=server, gateway=gateway)
        finally:
            drain.begin()
            server.should_exit = True
            await served
            for task in (beside, running):
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task


def sign_token(workspace_id: UUID, user_id: str = "usr_ada", scope: str | None = None) -> str:
    return sign_development_token(
        SECRET.reveal().encode(),
        workspace_claim="workspace",
        workspace_id=workspace_id,
        user_id=user_id,
        now=datetime.now(UTC),
        lasts=timedelta(hours=1),
        scope=scope,
    )


TRANSFORM_CHAIN: Final[Mapping[str, Any]] = {
    "nodes": [
        {"id": name, "kind": "transform", "config": {"expression": query}}
        for name, query in (("one", "inputs"), ("two", "steps.one.output"), ("three", "steps.two.output"))
    ],
    "edges": [{"from": "one", "to": "two"}, {"from": "two", "to": "three"}],
}
HUMAN: Final[Mapping[str, Any]] = {
    "nodes": [
        {
            "id": "review",
            "kind": "human",
            "config": {
                "assignees": [{"user": "usr_ada"}],
                "outcomes": ["approve", "reject"],
                "form": {
                    "type": "object",
                    "properties": {"note": {"type": "string"}},
                    "required": ["note"],
                    "additionalProperties": False,
                },
            },
        }
    ],
}


class LastPosition(Struct):
    """The highest position that a client got for its writes."""

    value: int = 0


class Caller(Struct, frozen=True, kw_only=True):
    """A user of a workspace, with a client.

    Reads see every write that was sent before with the same client: the caller remembers the highest
    `Callsheet-Position` and sends it as `Callsheet-Min-Position`. Every response must be declared by its operation.
    """

    client: httpx2.AsyncClient
    workspace_id: UUID
    user_id: str
    scope: str | None = None
    key: str | None = None
    last: LastPosition = field(default_factory=LastPosition)

    def to(self, workspace_id: UUID) -> "Caller":
        """Return a caller of another workspace, with the same client."""
        return replace(self, workspace_id=workspace_id)

    def as_user(self, user_id: str, scope: str | None = None) -> "Caller":
        """Return another user of the workspace, or one with a limited token, with the same client and positions."""
        return replace(self, user_id=user_id, scope=scope)

    def with_key(self, key: str) -> "Caller":
        """Return a caller with an API key, and the same client and positions."""
        return replace(self, key=key)

    async def ask(
        self,
        method: str,
        path: str,
        body: object = UNSET,
        *,
        content: bytes | AsyncIterator[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> httpx2.Response:
        """Send a body as JSON, or content as it is; check that the response is declared."""
        sent = {"authorization": f"Bearer {self.key or sign_token(self.workspace_id, self.user_id, self.scope)}"}
        if method == "GET" and self.last.value:
            sent["callsheet-min-position"] = str(self.last.value)
        sent |= headers or {}
        if body is not UNSET:
            response = await self.client.request(method, path, headers=sent, json=body)
        else:
            response = await self.client.request(method, path, headers=sent, content=content)
        self.last.value = max(self.last.value, int(response.headers.get("callsheet-position", 0)))
        check_declared(response)
        return response

    async def get(self, path: str, headers: Mapping[str, str] | None = None) -> httpx2.Response:
        return await self.ask("GET", path, headers=headers)

    async def post(self, path: str, body: object = UNSET, headers: Mapping[str, str] | None = None) -> httpx2.Response:
        return await self.ask("POST", path, body, headers=headers)

    async def patch(self, path: str, body: object, headers: Mapping[str, str] | None = None) -> httpx2.Response:
        return await self.ask("PATCH", path, body, headers=headers)

    async def project(self, name: str = "Spring") -> dict[str, Any]:
        return expect_created(await self.post("/v1/projects", {"name": name}))

    async def workflow(self, graph: Mapping[str, Any], project_id: str | None = None) -> dict[str, Any]:
        found = project_id or (await self.project())["id"]
        return expect_created(await self.post(f"/v1/projects/{found}/workflows", {"name": "Launch", **graph}))

    async def ended_run(self, graph: Mapping[str, Any], inputs: Mapping[str, Any]) -> dict[str, Any]:
        workflow = await self.workflow(graph)
        answer = await self.post(
            f"/v1/workflows/{workflow['id']}:run", {"inputs": inputs}, headers={"prefer": "wait=20"}
        )
        assert answer.status_code == 200, answer.text
        return answer.json()


def expect_created(answer: httpx2.Response) -> dict[str, Any]:
    assert answer.status_code == 201, answer.text
    return answer.json()


def after_write(answer: httpx2.Response) -> dict[str, str]:
    """Return the header of a read that must see a write."""
    return {"callsheet-min-position": answer.headers["callsheet-position"]}


def expect_problem(answer: httpx2.Response, status: int, code: str) -> dict[str, Any]:
    """Check that a response is a complete problem document, and return it."""
    found = answer.json()
    assert (answer.status_code, found.get("code")) == (status, code), answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert found["status"] == status
    assert found["title"]
    assert found["trace_id"] == answer.headers["traceparent"].split("-")[1]
    assert found["instance"] == answer.request.url.path
    return found


def pointers(found: dict[str, Any]) -> list[str]:
    return [error["pointer"] for error in found["errors"]]
