"""RequestContext: a request whose caller is authorised and whose declared parts are parsed."""

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any, Final, Generic, TypeVar
from uuid import UUID

from msgspec import Struct

from commands.aggregates import Noun
from commands.command import Command
from commands.handler import CommandContended, Context, Outcome, VersionMismatch
from commands.repository import Sources
from domain.folded import Folded
from domain.refusal import Refusal
from gateway.access.open_requests import Stoppable
from gateway.deps import Deps
from gateway.http.idempotency import command_id
from gateway.http.preconditions import NEVER_MET, Precondition
from gateway.http.rejections import Rejection
from gateway.http.trace import Trace
from gateway.identity.caller import Caller
from store.log.records import Metadata

S = TypeVar("S")
Q = TypeVar("Q")
B = TypeVar("B")

ATTEMPTS: Final = 3
CreateCommand = Callable[[Folded[S], int], Awaitable[Command[S]]]
"""Creates a command from the state that it changes; the command requires the version."""


class RequestContext(Struct, Generic[Q, B], kw_only=True, gc=False):
    """The input of a handler.

    `target_id` is the TypeID of the path, `project_id` the project that it belongs to, `texts` the other path
    parameters, `path` the path as the caller wrote it, `raw_body` the bytes that `body` was read from, `precondition`
    what If-Match and If-None-Match allow, and `wait_seconds` what `Prefer: wait` asks for, bounded.
    """

    deps: Deps
    caller: Caller
    trace: Trace
    headers: Mapping[bytes, bytes]
    method: str
    path: str
    target_id: UUID
    project_id: UUID | None
    texts: Mapping[str, str]
    query: Q
    body: B
    raw_body: bytes
    precondition: Precondition
    wait_seconds: float
    has_committed: bool = False
    """Whether a command of this request has been accepted: what fails afterwards does not undo it."""

    @property
    def workspace_id(self) -> UUID:
        """Return the caller's workspace."""
        return self.caller.workspace_id

    def hold(self, waiting: Stoppable) -> AbstractContextManager[None]:
        """Stop what waits when the caller's credential ends, or they leave the team, within a block."""
        return self.deps.open_requests.hold(self.caller, self.project_id, waiting)

    async def execute(self, command: Command[S]) -> Outcome[S]:
        """Execute a command for the caller. Raises what `commands.handler.Handler.execute` raises."""
        outcome = await self.deps.handler.execute(command, self._create_command_context())
        self.has_committed = True
        return outcome

    def _create_command_context(self) -> Context:
        caller, trace = self.caller, self.trace
        route = f"{self.method} {self.path}"
        return Context(
            workspace_id=caller.workspace_id,
            metadata=Metadata(actor=caller.actor, correlation_id=trace.trace_id, traceparent=trace.traceparent),
            command_id=command_id(self.headers.get(b"idempotency-key"), caller, route, self.raw_body),
        )

    async def is_repeated(self, noun: Noun[Any]) -> bool:
        """Return whether an earlier request with this `Idempotency-Key` was accepted, and may be repeated by now.

        A handler asks before it refuses what was right at the first time, such as a time that was in the future.
        Raises IdempotencyKeyReused.
        """
        return await self.deps.handler.find_earlier(noun, self._create_command_context()) is not None

    async def change(self, noun: Noun[S], create_command: CreateCommand[S]) -> Outcome[S]:
        """Change the resource of the path: create the command from its current state and require that version.

        A merge patch describes a change of the current state, so it is merged again after a version conflict.
        Raises VersionMismatch for If-Match and If-None-Match, CommandContended, and what `execute` raises.
        """
        for attempt in range(ATTEMPTS):
            sources = Sources(self.deps.streams, self.workspace_id, fresh=attempt > 0)
            loaded = await sources.load(noun, self.target_id)
            # The handler refuses: the request may repeat one that succeeded before.
            is_met = self.precondition.is_met(loaded.version)
            try:
                command = await self._create_change(noun, create_command, loaded, is_met=is_met)
                return command if isinstance(command, Outcome) else await self.execute(command)
            except VersionMismatch:
                if not is_met and attempt > 0:
                    raise
        raise CommandContended

    async def _create_change(
        self, noun: Noun[S], create_command: CreateCommand[S], loaded: Folded[S], *, is_met: bool
    ) -> Command[S] | Outcome[S]:
        """Return the command of a change, or what an earlier request with the same `Idempotency-Key` came to.

        The patch of a repeated request may not fit the state that the first one made. Raises what the patch raises.
        """
        try:
            return await create_command(loaded, loaded.version if is_met else NEVER_MET)
        except (Refusal, Rejection):
            earlier = await self.deps.handler.find_earlier(noun, self._create_command_context())
            if earlier is None:
                raise
            return earlier
