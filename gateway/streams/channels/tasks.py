"""The channel `tasks`: human steps that begin to wait for the client, or no longer do."""

from collections.abc import Mapping, Sequence
from typing import Final
from uuid import UUID

from msgspec import Struct
from msgspec.structs import replace

from commands.aggregates import PROJECT, WORKFLOW
from domain.fact import Fact, get_topic
from domain.folded import Folded
from domain.project import ProjectNotFound
from domain.runs.facts import StepDecided, StepWaiting, WaitFor
from domain.runs.run import Run
from domain.runs.steps import StepStatus
from gateway.access.permissions import Permission, is_permitted
from gateway.http.ids import format_id, parse_id
from gateway.identity.scopes import Scope
from gateway.operations.positions import PositionCodec
from gateway.streams.channels.channel import Client
from gateway.streams.channels.durable import After, LogSubscription, find_start
from gateway.streams.messages import (
    ChannelName,
    MessageKind,
    Sender,
    describe_common,
    describe_durable,
    describe_server_message,
)
from gateway.streams.sources import WorkspaceFacts
from gateway.tasks import TaskBody, create_task_body
from projections.read_models.tasks import CLOSING
from projections.read_models.tasks_view import Assigned, Task
from store.log.records import Recorded

KINDS: Final[tuple[type[Fact], ...]] = (StepWaiting, *CLOSING)
NO_TASKS: Final[Mapping[str, StepWaiting]] = {}


class SubscribeTasks(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Payload of `subscribe`. `assigned: all` adds tasks of other people in the client's projects."""

    project_id: str | None = None
    assigned: Assigned = Assigned.ME
    after: After | None = None


class TaskWaiting(Struct, frozen=True, kw_only=True):
    """Payload of `task.waiting`: what is to be decided."""

    task: TaskBody


class TaskClosed(Struct, frozen=True, kw_only=True):
    """Payload of `task.closed`: the task no longer waits. `outcome` and `decided_by` are null if nobody decided."""

    run_id: str
    node: str
    project_id: str
    topic: str
    outcome: str | None = None
    decided_by: str | None = None


COMMON: Final = describe_common(ChannelName.TASKS)
DURABLE: Final = describe_durable(ChannelName.TASKS)
SUBSCRIBE: Final = MessageKind(
    sender=Sender.CLIENT,
    channel=ChannelName.TASKS,
    event="subscribe",
    payload=SubscribeTasks,
    description="Subscribe to the human steps that wait for the client, of all its projects or of one.",
)
TASK_WAITING: Final = describe_server_message(
    ChannelName.TASKS, "task.waiting", TaskWaiting, "A human step began to wait."
)
TASK_CLOSED: Final = describe_server_message(
    ChannelName.TASKS, "task.closed", TaskClosed, "A human step was decided, or no longer waits for another reason."
)


class TaskChange(Struct, frozen=True, kw_only=True):
    """A human step that began or ceased to wait."""

    waiting: StepWaiting
    is_open: bool


def find_changes(before: Run | None, after: Run) -> tuple[TaskChange, ...]:
    """Return the human steps that wait before or after a fact, but not on both sides of it, or wait anew."""
    old = NO_TASKS if before is None else list_open(before)
    new = list_open(after)
    closed = (TaskChange(waiting=waiting, is_open=False) for node, waiting in old.items() if node not in new)
    opened = (TaskChange(waiting=waiting, is_open=True) for node, waiting in new.items() if old.get(node) != waiting)
    return (*closed, *opened)


def list_open(run: Run) -> Mapping[str, StepWaiting]:
    """Return the human steps of a run that wait, by node."""
    if run.has_ended:
        return NO_TASKS
    return {
        node: step.waiting
        for node, step in run.steps.items()
        if step.status is StepStatus.WAITING and step.waiting is not None and step.waiting.waiting_for is WaitFor.HUMAN
    }


class TasksChannel:
    """The channel of tasks."""

    name = ChannelName.TASKS
    scope = Scope.RUNS_READ
    common = COMMON
    messages = (SUBSCRIBE, *COMMON.list_all(), *DURABLE.list_all(), TASK_WAITING, TASK_CLOSED)

    async def subscribe(self, client: Client, payload: SubscribeTasks) -> LogSubscription:
        """Create a subscription. Raises ProjectNotFound for a project that the client may not see."""
        deps, caller = client.deps, client.caller
        project_id = None
        if payload.project_id is not None:
            try:
                project_id = parse_id("prj", payload.project_id)
            except ValueError:
                raise ProjectNotFound from None
            await deps.access.check_project(caller, project_id, (Permission.READ,))
        source = WorkspaceFacts(deps.feed, deps.log, deps.drain, workspace_id=caller.workspace_id, kinds=KINDS)
        inbox = Inbox(client, project_id, payload.assigned)
        start = await find_start(client, payload.after)
        return LogSubscription(client, DURABLE, source, start, inbox.write, project_id=project_id)


class Inbox:
    """Selects the tasks of one client."""

    def __init__(self, client: Client, project_id: UUID | None, assigned: Assigned) -> None:
        """Create an inbox for all projects of a client, or for one."""
        self._client = client
        self._project_id = project_id
        self._assigned = assigned

    async def write(self, recorded: Recorded) -> Sequence[bytes]:
        """Return the messages of a fact for this client. Raises Unavailable, UnreadableEvent."""
        if recorded.project_id is None or self._project_id not in {None, recorded.project_id}:
            return ()
        states = self._client.deps.run_states
        before = await states.load_before(recorded)
        after = await states.load_after(recorded)
        changes = find_changes(None if before is None else before.state, after.state)
        return [
            await self._write_change(recorded, after, change)
            for change in changes
            if await self._is_for_client(recorded.project_id, change.waiting)
        ]

    async def _is_for_client(self, project_id: UUID, waiting: StepWaiting) -> bool:
        caller = self._client.caller
        if caller.project_ids is not None and project_id not in caller.project_ids:
            return False
        project = await self._client.deps.streams.load(PROJECT, project_id)
        role = None if project is None else project.state.team.get(caller.user_id)
        if self._assigned is Assigned.ALL:
            return role is not None or caller.sees_workspace
        is_named = caller.user_id in waiting.assignees or (role is not None and role.value in waiting.roles)
        return is_named and is_permitted(Permission.DECIDE, role, sees_workspace=False)

    async def _write_change(self, recorded: Recorded, run: Folded[Run], change: TaskChange) -> bytes:
        deps = self._client.deps
        kind = TASK_WAITING if change.is_open else TASK_CLOSED
        key = (f"{kind.event} {change.waiting.node}", recorded.position)

        async def write() -> bytes:
            position = PositionCodec(deps.log.identity).encode(recorded.position)
            if not change.is_open:
                return TASK_CLOSED.write(describe_closed(recorded, change.waiting.node), position=position)
            task = await self._describe(run, change.waiting)
            return TASK_WAITING.write(TaskWaiting(task=task), position=position)

        return await deps.messages.get(key, write)

    async def _describe(self, run: Folded[Run], waiting: StepWaiting) -> TaskBody:
        streams = self._client.deps.streams
        workflow = await streams.load(WORKFLOW, run.state.workflow_id)
        project = None if run.project_id is None else await streams.load(PROJECT, run.project_id)
        task = Task(
            workflow_id=run.state.workflow_id,
            waiting=waiting,
            run_name=run.state.name,
            workflow_name=None if workflow is None else workflow.state.name,
            project_name=None if project is None else project.state.name,
        )
        return create_task_body(
            Folded(
                stream_id=run.stream_id,
                workspace_id=run.workspace_id,
                project_id=run.project_id,
                version=run.version,
                position=run.position,
                created_position=run.created_position,
                created_at=run.created_at,
                updated_at=run.updated_at,
                state=task,
            )
        )


def describe_closed(recorded: Recorded, node: str) -> TaskClosed:
    """Return the end of a task by a fact."""
    closed = TaskClosed(
        run_id=format_id("run", recorded.stream_id),
        node=node,
        project_id=format_id("prj", recorded.project_id or recorded.stream_id),
        topic=get_topic(type(recorded.fact)),
    )
    if isinstance(recorded.fact, StepDecided):
        return replace(closed, outcome=recorded.fact.outcome, decided_by=recorded.fact.decided_by)
    return closed
