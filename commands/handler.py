"""The handler: loads the data of a command, decides, appends, and decides again after a conflict."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Final, Generic, TypeVar
from uuid import UUID

from msgspec import Struct
from opentelemetry import trace

from commands.aggregates import Noun, new_stream
from commands.command import Command, Decider
from commands.registry import find_decider
from commands.repository import NO_PRICES, Admit, Sources, Streams, admit_any
from domain.folded import Folded
from domain.refusal import Refusal, RefusalKind
from domain.runs.prices import Priced
from store.errors import Conflict
from store.log.log import Log
from store.log.records import CommandId, Metadata, Repeated

S = TypeVar("S")

# Without an SDK a span started by hand costs 1 µs; as the current one it would cost 12.
tracer: Final = trace.get_tracer("callsheet")


class CommandContended(Refusal):
    """Other requests kept changing the same resource. Read it again and retry the request."""

    code = "contended"


class IdempotencyKeyReused(Refusal):
    """This `Idempotency-Key` was used with a different request. Send a new key for a new request."""

    code = "idempotency_key_reused"
    kind = RefusalKind.UNACCEPTABLE


class VersionMismatch(Refusal):
    """The resource has changed since the version in `If-Match`. Read it again and send its current `ETag`."""

    code = "version_mismatch"
    kind = RefusalKind.STALE


class Context(Struct, frozen=True, kw_only=True):
    """Context of a command: the workspace, the metadata of its facts, and its id if the caller may repeat it."""

    workspace_id: UUID
    metadata: Metadata
    command_id: CommandId | None = None


class Outcome(Struct, Generic[S], frozen=True, kw_only=True):
    """The stream as the command left it. `replayed`: an earlier request with the same command id did the work."""

    loaded: Folded[S]
    replayed: bool = False


class Handler:
    """Executes commands against the log."""

    def __init__(
        self,
        log: Log,
        streams: Streams,
        clock: Callable[[], datetime],
        prices: Mapping[str, Priced] = NO_PRICES,
        admit: Admit = admit_any,
    ) -> None:
        """Create the handler; `clock` returns the time in UTC, `prices` are those of models today, for runs to pin.

        `admit` bounds the runs of a workspace.
        """
        self._prices = prices
        self._admit = admit
        self._log = log
        self._streams = streams
        self._clock = clock

    async def execute(self, command: Command[S], context: Context) -> Outcome[S]:
        """Decide a command and append its facts; on a conflict decide again on fresh state, up to a limit.

        Raises a Refusal; CommandContended when the stream kept moving; Unavailable, OutcomeUnknown, FactTooLarge.
        """
        span = tracer.start_span("command")
        try:
            return await self._retry_on_conflict(find_decider(command), command, context)
        except Refusal:
            raise
        except Exception as fault:
            span.record_exception(fault)
            raise
        finally:
            if span.is_recording():
                span.set_attributes({"command": type(command).__name__, "workspace": str(context.workspace_id)})
            span.end()

    async def find_earlier(self, noun: Noun[S], context: Context) -> Outcome[S] | None:
        """Return the outcome of an earlier request with the same command id, None if none was accepted.

        Raises IdempotencyKeyReused, Unavailable, OutcomeUnknown.
        """
        return None if context.command_id is None else await self._find_earlier(noun, context.command_id)

    async def _retry_on_conflict(
        self, decider: Decider[Command[S], S, object], command: Command[S], context: Context
    ) -> Outcome[S]:
        if context.command_id is not None:
            earlier = await self._find_earlier(decider.noun, context.command_id)
            if earlier is not None:
                return earlier
        for attempt in range(decider.attempts):
            fresh = attempt > 0
            try:
                outcome = await self._attempt(decider, command, context, fresh=fresh)
            except Conflict:
                continue
            except Refusal:
                if not fresh:
                    continue
                # The same request may have been accepted since the check above, and be the reason of the refusal.
                earlier = context.command_id and await self._find_earlier(decider.noun, context.command_id)
                if not earlier:
                    raise
                return earlier
            if outcome is not None:
                return outcome
        raise CommandContended

    async def _attempt(
        self, decider: Decider[Command[S], S, object], command: Command[S], context: Context, *, fresh: bool
    ) -> Outcome[S] | None:
        """Decide once and append. Return None when the command is a no-op against state that may be stale.

        Facts decided on stale state conflict in the append; a no-op appends nothing, so it, like a refusal, has to be
        confirmed on fresh state.
        """
        sources = Sources(self._streams, context.workspace_id, fresh=fresh, prices=self._prices, admit=self._admit)
        gathered = await decider.gather(command, sources)
        target = None
        if decider.find_project is None:
            target = await sources.load(decider.noun, command.target_id)
        elif fresh:
            target = await sources.find(decider.noun, command.target_id)
        now = self._clock()
        if target is None:
            project_id = None if decider.find_project is None else decider.find_project(gathered)
            target = new_stream(decider.noun, command.target_id, context.workspace_id, project_id, now)
        if command.if_version is not None and command.if_version != target.version:
            raise VersionMismatch
        facts = decider.decide(command, target.state, gathered, now)
        if not facts:
            if not fresh:
                return None
            return await self._confirm_no_op(decider.noun, target, context.command_id)
        appended = await self._streams.append(
            decider.noun,
            target,
            facts,
            context.metadata,
            guards=sources.guards(target.stream_id),
            command_id=context.command_id,
            contradicted_by=decider.contradicting_topics if command.if_version is None else None,
        )
        if isinstance(appended, Repeated):
            return await self._replay(decider.noun, context.command_id, appended)
        self._streams.keep(appended)
        return Outcome(loaded=appended)

    async def _confirm_no_op(self, noun: Noun[S], target: Folded[S], command_id: CommandId | None) -> Outcome[S]:
        """Return the outcome of a command that changes nothing; a repeat must not be decided on a later state."""
        await self._log.confirm_replicated()  # the facts that make this a no-op must survive a failover
        if command_id is not None:
            earlier = await self._log.remember_command(
                command_id, target.stream_id, version=target.version, position=target.position
            )
            if earlier is not None:
                return await self._replay(noun, command_id, earlier)
        return Outcome(loaded=target)

    async def _find_earlier(self, noun: Noun[S], command_id: CommandId) -> Outcome[S] | None:
        """Return the outcome of an earlier request with this command id, None if none was accepted."""
        repeated = await self._log.find_repeated(command_id.key)
        return None if repeated is None else await self._replay(noun, command_id, repeated)

    async def _replay(self, noun: Noun[S], command_id: CommandId | None, repeated: Repeated) -> Outcome[S]:
        """Return the first outcome again: the stream at the version of that time."""
        if command_id is None or repeated.request_hash != command_id.request_hash:
            raise IdempotencyKeyReused
        stream = await self._streams.read_at(noun, repeated.stream_id, repeated.version)
        if stream is None:
            raise IdempotencyKeyReused
        return Outcome(loaded=stream, replayed=True)
