"""The channel `runs`: each fact of the runs of a project, of a workflow, or of one run, with the run as it then was."""

from collections.abc import AsyncGenerator, Sequence
from datetime import datetime
from typing import Any, Final, get_args
from uuid import UUID

from msgspec import Struct

from bus.deltas import DeltaFollower
from bus.texts import TextKey
from commands.aggregates import PROJECT, RUN, WORKFLOW, Noun
from domain.fact import get_topic
from domain.folded import Folded
from domain.ids import Prefix
from domain.runs.facts import RunFact
from domain.runs.run import Run
from gateway.access.permissions import Permission
from gateway.deps import Deps
from gateway.http.ids import format_id, parse_id
from gateway.http.rejections import BodyUnacceptable
from gateway.identity.scopes import Scope
from gateway.operations.positions import PositionCodec
from gateway.runs.bodies import RunBody, create_run_body
from gateway.streams.channels.channel import Client
from gateway.streams.channels.durable import After, LogSubscription, StartPosition, find_start
from gateway.streams.messages import (
    ChannelName,
    MessageKind,
    Sender,
    describe_common,
    describe_durable,
    describe_server_message,
)
from gateway.streams.sources import ProjectFacts, ProjectFilters, RunFacts
from gateway.streams.tail import Source
from store.log.records import Actor, Recorded

RUN_TOPICS: Final = frozenset(get_topic(kind) for kind in get_args(RunFact))
ONE_OF: Final = "Send exactly one of `project_id`, `workflow_id` and `run_id`."
OF_A_RUN: Final = "Deltas are sent to a subscription with `run_id` only."


class TextOffset(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Number of characters of a model's answer that the client has already."""

    node: str
    attempt: int
    call: int = 1
    offset: int


class SubscribeRuns(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Payload of `subscribe`: one of the three ids.

    `deltas` asks for the model's answers as they are written, of one run; `texts` says how much the client has of them.
    """

    project_id: str | None = None
    workflow_id: str | None = None
    run_id: str | None = None
    after: After | None = None
    deltas: bool = False
    texts: tuple[TextOffset, ...] = ()


class RunUpdated(Struct, frozen=True, kw_only=True):
    """Payload of `run.updated`: the run after a fact. Large values in it are references; the run itself has them."""

    topic: str
    version: int
    recorded_at: datetime
    actor: Actor
    run: RunBody


class TextDelta(Struct, frozen=True, kw_only=True):
    """Payload of `text.delta`: characters of a model's answer from `offset` on. A later `call` is a repair."""

    run_id: str
    node: str
    attempt: int
    call: int
    offset: int
    text: str


class TextDropped(Struct, frozen=True, kw_only=True):
    """Payload of `text.dropped`: how many deltas were dropped, since the client did not read them in time."""

    run_id: str
    count: int


COMMON: Final = describe_common(ChannelName.RUNS)
DURABLE: Final = describe_durable(ChannelName.RUNS)
SUBSCRIBE: Final = MessageKind(
    sender=Sender.CLIENT,
    channel=ChannelName.RUNS,
    event="subscribe",
    payload=SubscribeRuns,
    description="Subscribe to the runs of a project or a workflow, or to one run.",
)
RUN_UPDATED: Final = describe_server_message(
    ChannelName.RUNS, "run.updated", RunUpdated, "A fact was recorded: the run after it."
)
TEXT_DELTA: Final = describe_server_message(
    ChannelName.RUNS, "text.delta", TextDelta, "A piece of a model's answer; on joining, what was written so far."
)
TEXT_DROPPED: Final = describe_server_message(
    ChannelName.RUNS, "text.dropped", TextDropped, "The oldest deltas were dropped."
)


class RunsChannel:
    """The channel of runs."""

    name = ChannelName.RUNS
    scope = Scope.RUNS_READ
    common = COMMON
    messages = (SUBSCRIBE, *COMMON.list_all(), *DURABLE.list_all(), RUN_UPDATED, TEXT_DELTA, TEXT_DROPPED)

    async def subscribe(self, client: Client, payload: SubscribeRuns) -> LogSubscription:
        """Create a subscription. Raises the not-found refusal of what the client may not see, BodyUnacceptable."""
        ids = (payload.project_id, payload.workflow_id, payload.run_id)
        if sum(given is not None for given in ids) != 1:
            raise BodyUnacceptable(ONE_OF)
        if payload.deltas and payload.run_id is None:
            raise BodyUnacceptable(OF_A_RUN)
        start = await find_start(client, payload.after)
        if payload.run_id is not None:
            return await self._subscribe_to_run(client, payload, payload.run_id, start)
        if payload.workflow_id is not None:
            project_id, workflow_id = await check_target(client, WORKFLOW, "wf", payload.workflow_id)
        else:
            (project_id, _), workflow_id = await check_target(client, PROJECT, "prj", payload.project_id or ""), None
        source = create_project_source(client, project_id, ProjectFilters(topics=RUN_TOPICS, workflow_id=workflow_id))
        return create_subscription(client, source, start, project_id)

    async def _subscribe_to_run(
        self, client: Client, payload: SubscribeRuns, text: str, start: StartPosition
    ) -> LogSubscription:
        deps = client.deps
        project_id, run_id = await check_target(client, RUN, "run", text)
        source = RunFacts(deps.feed, deps.log, deps.drain, run_id)
        if not payload.deltas:
            return create_subscription(client, source, start, project_id)
        return DeltaSubscription(client, source, start, project_id, run_id, payload.texts)


async def check_target(client: Client, noun: Noun[Any], prefix: Prefix, text: str) -> tuple[UUID, UUID]:
    """Return the project of an id, and the id. Raises the noun's not-found refusal, NotPermitted, Unavailable."""
    try:
        target_id = parse_id(prefix, text)
    except ValueError:
        raise noun.not_found from None
    deps = client.deps
    project_id = await deps.access.check_target(client.caller, target_id, (Permission.READ,), noun.not_found)
    if project_id is None or await deps.streams.load(noun, target_id) is None:
        raise noun.not_found
    return project_id, target_id


def create_project_source(client: Client, project_id: UUID, filters: ProjectFilters) -> ProjectFacts:
    """Return the facts of a project that match."""
    deps = client.deps
    return ProjectFacts(
        deps.feed,
        deps.log,
        deps.drain,
        deps.history,
        deps.workflows_of_runs,
        workspace_id=client.caller.workspace_id,
        project_id=project_id,
        filters=filters,
    )


def create_subscription(client: Client, source: Source, start: StartPosition, project_id: UUID) -> LogSubscription:
    """Create a subscription to the runs of a source."""

    async def write(recorded: Recorded) -> Sequence[bytes]:
        return (await write_update(client.deps, recorded),)

    return LogSubscription(client, DURABLE, source, start, write, project_id=project_id)


async def write_update(deps: Deps, recorded: Recorded) -> bytes:
    """Return a fact of a run as a message, written once for all who get it. Raises Unavailable, UnreadableEvent."""
    key = (RUN_UPDATED.event, recorded.position)
    known = deps.messages.find(key)
    if known is not None:
        return known
    folded = deps.run_states.find_after(recorded)
    if folded is None:  # whoever asks meanwhile waits for the same read

        async def load_and_write() -> bytes:
            return _write(deps, recorded, await deps.run_states.load_after(recorded))

        return await deps.messages.get(key, load_and_write)
    message = _write(deps, recorded, folded)
    deps.messages.put(key, message)
    return message


def _write(deps: Deps, recorded: Recorded, folded: Folded[Run]) -> bytes:
    payload = RunUpdated(
        topic=get_topic(type(recorded.fact)),
        version=recorded.version,
        recorded_at=recorded.recorded_at,
        actor=recorded.metadata.actor,
        run=create_run_body(folded),
    )
    return RUN_UPDATED.write(payload, position=PositionCodec(deps.log.identity).encode(recorded.position))


class DeltaSubscription(LogSubscription):
    """A subscription to one run, with the answers of its models as they are written."""

    def __init__(
        self,
        client: Client,
        source: RunFacts,
        start: StartPosition,
        project_id: UUID,
        run_id: UUID,
        texts: Sequence[TextOffset],
    ) -> None:
        """Create it; `texts` is how much the client has of each answer."""

        async def write(recorded: Recorded) -> Sequence[bytes]:
            return (await write_update(client.deps, recorded),)

        super().__init__(client, DURABLE, source, start, write, project_id=project_id)
        self._hub = client.deps.deltas
        self._run_id = run_id
        self._offsets = {TextKey(node=text.node, attempt=text.attempt, call=text.call): text.offset for text in texts}
        self._follower: DeltaFollower | None = None

    async def follow(self) -> AsyncGenerator[Sequence[bytes]]:
        """Yield the messages, and between them the pieces of answers."""
        with self._hub.follow(self._run_id, self.tail.nudge, self._offsets) as self._follower:
            async for messages in super().follow():
                yield messages

    def take_more(self) -> list[bytes]:
        """Return the deltas that have arrived."""
        if self._follower is None:
            return []
        run_id = format_id("run", self._run_id)
        dropped, deltas = self._follower.take()
        gap = [TEXT_DROPPED.write(TextDropped(run_id=run_id, count=dropped))] if dropped else []
        return gap + [
            TEXT_DELTA.write(
                TextDelta(
                    run_id=run_id,
                    node=delta.node,
                    attempt=delta.attempt,
                    call=delta.call,
                    offset=delta.offset,
                    text=delta.text,
                )
            )
            for delta in deltas
        ]
