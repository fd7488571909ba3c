"""What the tests of the gateway have in common: a whole Callsheet behind a real server, and callers of it."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

import httpx2
import uuid_utils.compat
import uvicorn
from msgspec import UNSET, Struct
from msgspec.structs import replace

from callsheet.server.bounded_http import BoundedHttp
from callsheet.server.serve import Server, listen
from callsheet.settings.load import Settings
from callsheet.wiring.core import EVERYTHING, Core, gateway_of, opened
from domain.setting_types import SigningSecret
from gateway.drain import Drain
from gateway.identity.development_tokens import development_token

SECRET: Final = SigningSecret("a secret of the tests, of 32 bytes or more")
PATIENCE_SECONDS: Final = 20.0
JSON: Final = {"content-type": "application/json"}


def new_id() -> UUID:
    return uuid_utils.compat.uuid7()


class Serving(Struct, frozen=True, kw_only=True):
    """A running server and what is behind it."""

    url: str
    core: Core
    drain: Drain
    server: Server


@asynccontextmanager
async def serving(conninfo: str, settings: Settings) -> AsyncGenerator[Serving]:
    """Serve a migrated database on a free port for the length of a block."""
    async with opened(settings, conninfo, name="test", secret=SECRET, parts=EVERYTHING) as core:
        listening = listen("127.0.0.1", 0)
        drain = Drain(core.feed)
        config = uvicorn.Config(
            gateway_of(core, settings, SECRET, drain),
            http=BoundedHttp,
            log_config=None,
            access_log=False,
            proxy_headers=False,
            ws="none",
            timeout_graceful_shutdown=10,
        )
        server = Server(config)
        parts = asyncio.create_task(core.run())
        served = asyncio.create_task(server.serve(sockets=[listening]))
        try:
            connected = asyncio.create_task(core.log.connected())
            await asyncio.wait({connected, parts}, return_when=asyncio.FIRST_COMPLETED)
            if parts.done():
                parts.result()
            host, port = listening.getsockname()[:2]
            yield Serving(url=f"http://{host}:{port}", core=core, drain=drain, server=server)
        finally:
            drain.begin()
            server.should_exit = True
            await served
            parts.cancel()
            with suppress(asyncio.CancelledError):
                await parts


def token_of(workspace_id: UUID, user_id: str = "usr_ada") -> str:
    return development_token(
        SECRET.reveal().encode(),
        workspace_claim="workspace",
        workspace_id=workspace_id,
        user_id=user_id,
        now=datetime.now(UTC),
        lasts=timedelta(hours=1),
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


class Caller(Struct, frozen=True, kw_only=True):
    """Someone in a workspace of their own, with a client."""

    client: httpx2.AsyncClient
    workspace_id: UUID
    user_id: str

    def to(self, workspace_id: UUID) -> "Caller":
        """The same client, speaking for another workspace."""
        return replace(self, workspace_id=workspace_id)

    async def ask(
        self,
        method: str,
        path: str,
        body: object = UNSET,
        *,
        content: bytes | AsyncIterator[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> httpx2.Response:
        """Send a body as JSON, or content as it is."""
        more = {"authorization": f"Bearer {token_of(self.workspace_id, self.user_id)}", **(headers or {})}
        if body is not UNSET:
            return await self.client.request(method, path, headers=more, json=body)
        return await self.client.request(method, path, headers=more, content=content)

    async def get(self, path: str, headers: Mapping[str, str] | None = None) -> httpx2.Response:
        return await self.ask("GET", path, headers=headers)

    async def post(self, path: str, body: object = UNSET, headers: Mapping[str, str] | None = None) -> httpx2.Response:
        return await self.ask("POST", path, body, headers=headers)

    async def patch(self, path: str, body: object, headers: Mapping[str, str] | None = None) -> httpx2.Response:
        return await self.ask("PATCH", path, body, headers=headers)

    async def project(self, name: str = "Spring") -> dict[str, Any]:
        return created(await self.post("/v1/projects", {"name": name}))

    async def workflow(self, graph: Mapping[str, Any], project_id: str | None = None) -> dict[str, Any]:
        found = project_id or (await self.project())["id"]
        return created(await self.post(f"/v1/projects/{found}/workflows", {"name": "Launch", **graph}))

    async def ended_run(self, graph: Mapping[str, Any], inputs: Mapping[str, Any]) -> dict[str, Any]:
        workflow = await self.workflow(graph)
        answer = await self.post(
            f"/v1/workflows/{workflow['id']}:run", {"inputs": inputs}, headers={"prefer": "wait=20"}
        )
        assert answer.status_code == 200, answer.text
        return answer.json()


def created(answer: httpx2.Response) -> dict[str, Any]:
    assert answer.status_code == 201, answer.text
    return answer.json()


def since(answer: httpx2.Response) -> dict[str, str]:
    """The header of a read that must see a write."""
    return {"callsheet-min-position": answer.headers["callsheet-position"]}


def problem(answer: httpx2.Response, status: int, code: str) -> dict[str, Any]:
    """Check that an answer is a whole problem, and give it."""
    told = answer.json()
    assert (answer.status_code, told.get("code")) == (status, code), answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert told["status"] == status
    assert told["title"]
    assert told["trace_id"] == answer.headers["traceparent"].split("-")[1]
    assert told["instance"] == answer.request.url.path
    return told


def pointers(told: dict[str, Any]) -> list[str]:
    return [error["pointer"] for error in told["errors"]]
