"""The handler: the only place that loads, decides and appends."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from msgspec import Struct
from opentelemetry import trace

from commands.aggregates import Noun, fold, new_stream
from commands.command import Command
from commands.refusals import CommandContended, IdempotencyKeyReused, VersionMismatch
from commands.registry import TABLE, Row
from commands.repository import NO_PRICES, Sources, Streams
from domain.fact import Fact, topic_of
from domain.folded import Folded
from domain.refusal import Refusal
from domain.runs.prices import Priced
from store.errors import Conflict, OutcomeUnknown, Unavailable
from store.log.log import Log
from store.log.records import Append, CommandId, Metadata, Repeated

ATTEMPTS: Final = 3
ATTEMPTS_BESIDE: Final = 20
"""For a command that only some facts contradict: what looked like one of them may be of another step."""

# Without an SDK a span started by hand costs 1 µs; as the current one it would cost 12.
tracer: Final = trace.get_tracer("callsheet")


class Context(Struct, frozen=True, kw_only=True):
    """What surrounds a command: whose workspace, the metadata of its facts, and its id where it may be sent again."""

    workspace_id: UUID
    metadata: Metadata
    command_id: CommandId | None = None


class Outcome(Struct, frozen=True, kw_only=True):
    """The stream as the command left it. `replayed` says that an earlier sending did the work."""

    loaded: Folded[Any]
    replayed: bool = False


class Handler:
    """Executes commands against the log."""

    def __init__(
        self,
        log: Log,
        streams: Streams,
        clock: Callable[[], datetime],
        prices: Mapping[str, Priced] = NO_PRICES,
    ) -> None:
        """Make the handler; `clock` gives the time in UTC, `prices` are what models cost today, for runs to pin."""
        self._prices = prices
        self._log = log
        self._streams = streams
        self._clock = clock

    async def execute(self, command: Command, context: Context) -> Outcome:
        """Decide a command and append its facts; on a conflict reload and decide again, a few times in all.

        Raises a Refusal; CommandContended when the stream kept moving; Unavailable, OutcomeUnknown, FactTooLarge.
        """
        span = tracer.start_span("command")
        try:
            return await self._execute(command, context)
        except Refusal:
            raise
        except Exception as fault:
            span.record_exception(fault)
            raise
        finally:
            if span.is_recording():
                span.set_attributes({"command": type(command).__name__, "workspace": str(context.workspace_id)})
            span.end()

    async def _execute(self, command: Command, context: Context) -> Outcome:
        earlier = await self._earlier(command, context)
        if earlier is not None:
            return earlier
        attempts = ATTEMPTS if TABLE[type(command)].contradicted_by is None else ATTEMPTS_BESIDE
        for attempt in range(attempts):
            fresh = attempt > 0
            try:
                outcome = await self._attempt(command, context, fresh=fresh)
            except Conflict:
                continue
            except Refusal:
                if not fresh:
                    continue
                # The same request may have been accepted since it was looked for, and be the reason of the refusal.
                earlier = await self._earlier(command, context)
                if earlier is None:
                    raise
                return earlier
            if outcome is not None:
                return outcome
        raise CommandContended

    async def _attempt(self, command: Command, context: Context, *, fresh: bool) -> Outcome | None:
        """Decide once. None, like a refusal, says that nothing is to be done: true only if what was read is fresh.

        Facts that were decided on a state that lags are found out by the append; where there are none, nothing is.
        """
        row = TABLE[type(command)]
        sources = Sources(self._streams, context.workspace_id, fresh=fresh, prices=self._prices)
        gathered = await row.gather(command, sources)
        target = None
        if row.project_of is None:
            target = await sources.load(row.noun, command.target_id)
        elif fresh:
            target = await sources.find(row.noun, command.target_id)
        now = self._clock()
        if target is None:
            project_id = None if row.project_of is None else row.project_of(command, gathered)
            target = new_stream(row.noun, command.target_id, context.workspace_id, project_id, now)
        if command.if_version is not None and command.if_version != target.version:
            raise VersionMismatch
        facts: tuple[Fact, ...] = row.decide(command, target.state, gathered, now)
        if not facts:
            return Outcome(loaded=target) if fresh else None
        append = Append(
            stream_id=target.stream_id,
            expected_version=target.version,
            workspace_id=target.workspace_id,
            project_id=target.project_id,
            facts=facts,
            metadata=context.metadata,
            guards=sources.guards(target.stream_id),
            command_id=context.command_id,
            contradicted_by=_topics(row) if command.if_version is None else None,
        )
        return await self._append(row.noun, target, append, context)

    async def _append(self, noun: Noun[Any], target: Folded[Any], append: Append, context: Context) -> Outcome:
        accepted = await self._log.append(append)
        if isinstance(accepted, Repeated):
            if context.command_id is None:
                raise OutcomeUnknown("a command without an id was answered as a repeat")
            return await self._replay_of(noun, context.command_id, accepted)
        version = accepted.version - len(accepted.recorded)
        before = target if target.version == version else await self._caught_up(noun, target, version)
        loaded = fold(noun, before, accepted.recorded)
        self._streams.keep(loaded)
        return Outcome(loaded=loaded)

    async def _caught_up(self, noun: Noun[Any], target: Folded[Any], version: int) -> Folded[Any]:
        """Give the stream as it was right before the facts that were appended: others may have come in between."""
        try:
            return await self._streams.onward(noun, target, version) or target
        except Unavailable as away:
            raise OutcomeUnknown(f"it was done, and what it came to cannot be read: {away}") from away

    async def _earlier(self, command: Command, context: Context) -> Outcome | None:
        """Give what an earlier sending of the command came to, None where there was none that was accepted."""
        if context.command_id is None:
            return None
        repeated = await self._log.repeated(context.command_id.key)
        if repeated is None:
            return None
        return await self._replay_of(TABLE[type(command)].noun, context.command_id, repeated)

    async def _replay_of(self, noun: Noun[Any], command_id: CommandId, repeated: Repeated) -> Outcome:
        """Render the first outcome again, from the fold at the version that it had."""
        if repeated.request_hash != command_id.request_hash:
            raise IdempotencyKeyReused
        loaded = await self._streams.at(noun, repeated.stream_id, repeated.version)
        if loaded is None:
            raise IdempotencyKeyReused
        return Outcome(loaded=loaded, replayed=True)


def _topics(row: Row) -> tuple[str, ...] | None:
    return None if row.contradicted_by is None else tuple(map(topic_of, row.contradicted_by))
