"""The door: what every route does with a request, from telling the caller to executing a command."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, TypeVar
from uuid import UUID

from litestar import Request
from litestar.types import Receive
from msgspec import Struct

from commands.aggregates import Noun
from commands.command import Command
from commands.handler import CommandContended, Context, Outcome, VersionMismatch
from commands.repository import Sources
from domain.folded import Folded
from domain.ids import Prefix
from domain.project import ProjectNotFound
from domain.refusal import Refusal
from gateway.deps import Deps
from gateway.http.bodies import Shape, read_body
from gateway.http.ids import parsed_id
from gateway.http.paging import Paging
from gateway.http.positions import LogMark
from gateway.http.preconditions import etag, wanted_versions
from gateway.http.query import Query, query_of
from gateway.http.replies import Header, Reply, json_reply
from gateway.http.trace import Trace
from gateway.idempotency import REPLAYED, command_id
from gateway.identity.tokens import Caller
from store.log.records import Metadata

S = TypeVar("S")
T = TypeVar("T", bound=Struct)

ATTEMPTS: Final = 3
AnyRequest = Request[Any, Any, Any]
Make = Callable[[Folded[S], int], Awaitable[Command[S]]]
"""Makes a command from the state that it is to change, insisting on a version of it."""


class Entry(Struct, frozen=True, gc=False):
    """A request whose caller is known. `path` is as the caller wrote it."""

    caller: Caller
    trace: Trace
    headers: Mapping[bytes, bytes]
    method: str
    path: str
    path_parameters: Mapping[str, str]
    query: Query
    receive: Receive

    @property
    def workspace_id(self) -> UUID:
        """Give the tenant."""
        return self.caller.workspace_id

    def id(self, prefix: Prefix, parameter: str, not_found: type[Refusal]) -> UUID:
        """Read an id of the path. A malformed one names nothing, so it raises the same refusal as an unknown one."""
        try:
            return parsed_id(prefix, self.path_parameters[parameter])
        except ValueError:
            raise not_found from None


class Door:
    """Lets requests in and commands through; every noun's routes share one."""

    def __init__(self, deps: Deps) -> None:
        """Make it of what the gateway is built from."""
        self._deps = deps
        self._settings = deps.settings
        self.mark = LogMark(deps.log_id)
        self.paging = Paging(self.mark, items=deps.settings.page_items, items_max=deps.settings.page_items_max)

    def enter(self, request: AnyRequest, scope: str, *parameters: str) -> Entry:
        """Tell who asks, whether they may, and what their query says: `parameters` are those that the route takes.

        Raises Unauthenticated, NotPermitted, Malformed.
        """
        about: Any = request.scope
        headers: dict[bytes, bytes] = dict(about["headers"])
        caller = self._deps.identity.caller(headers.get(b"authorization"))
        caller.require(scope)
        state = about["state"]
        return Entry(
            caller,
            state["trace"],
            headers,
            about["method"],
            state["path"],
            about["path_params"],
            query_of(request, parameters),
            request.receive,
        )

    async def read(self, entry: Entry, shape: Shape[T]) -> tuple[T, bytes]:
        """Read the body and give it with its bytes. Raises what `gateway.http.bodies` raises."""
        raw = await self.raw(entry)
        return self.shaped(entry, shape, raw), raw

    def shaped(self, entry: Entry, shape: Shape[T], raw: bytes) -> T:
        """Read the bytes of a body. Raises what `gateway.http.bodies` raises."""
        return shape.read(raw, entry.headers, depth_max=self._settings.json_depth_max)

    async def raw(self, entry: Entry) -> bytes:
        """Read the body's bytes alone."""
        return await read_body(entry.receive, entry.headers, bytes_max=self._settings.body_bytes_max)

    async def execute(self, entry: Entry, command: Command[S], raw: bytes) -> Outcome[S]:
        """Execute a command for the caller. Raises what the handler raises."""
        caller = entry.caller
        trace = entry.trace
        context = Context(
            workspace_id=caller.workspace_id,
            metadata=Metadata(actor=caller.actor, correlation_id=trace.trace_id, traceparent=trace.traceparent),
            command_id=command_id(entry.headers.get(b"idempotency-key"), caller, f"{entry.method} {entry.path}", raw),
        )
        return await self._deps.handler.execute(command, context)

    async def change(self, entry: Entry, noun: Noun[S], target_id: UUID, raw: bytes, make: Make[S]) -> Outcome[S]:
        """Change something that there is: make the command from the state as it is and insist on that version.

        A merge patch means a change of what is there now, so when that moves in between it is merged again.
        Raises VersionMismatch for If-Match, CommandContended, and what the handler raises.
        """
        wanted = wanted_versions(entry.headers.get(b"if-match"))
        for attempt in range(ATTEMPTS):
            sources = Sources(self._deps.streams, entry.workspace_id, fresh=attempt > 0)
            loaded = await sources.load(noun, target_id)
            # The handler judges a version that is not wanted: the request may be a repeat that has succeeded before.
            version = loaded.version if wanted is None or loaded.version in wanted else min(wanted)
            try:
                return await self.execute(entry, await make(loaded, version), raw)
            except VersionMismatch:
                if wanted is not None and attempt > 0:
                    raise
        raise CommandContended

    async def reach(self, entry: Entry, projection: str) -> None:
        """Wait for the position that a read asks for. Raises ProjectionBehind or -Parked, Malformed, OtherLog."""
        text = entry.headers.get(b"callsheet-min-position")
        if text is not None:
            position = self.mark.read(text.decode("latin-1").strip())
            timeout = self._settings.position_wait_seconds_max
            await self._deps.checkpoints.wait_for(projection, position, timeout, workspace_id=entry.workspace_id)

    async def project(self, entry: Entry, projection: str) -> UUID:
        """Give the project of the path once a read model of it is where the caller needs it. Raises ProjectNotFound."""
        project_id = entry.id("prj", "projectId", ProjectNotFound)
        await self.reach(entry, "projects")
        await self.reach(entry, projection)
        if await self._deps.projects.get(entry.workspace_id, project_id) is None:
            raise ProjectNotFound
        return project_id


def written(status: int, outcome: Outcome[S], body: Any, *more: Header) -> Reply:  # noqa: ANN401  # a wire struct
    """Reply to a write: the thing as it is now, its version and the position to read from."""
    loaded = outcome.loaded
    position = (b"callsheet-position", b"%d" % loaded.position)
    replayed = (REPLAYED,) if outcome.replayed else ()
    return json_reply(status, body, etag(loaded.version), position, *replayed, *more)


def location(path: str) -> Header:
    """Give the header that says where a new thing is."""
    return b"location", path.encode()
