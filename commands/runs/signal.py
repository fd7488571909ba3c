"""The command that sends a signal to a run, and how it is decided: the first one of a name counts."""

from datetime import datetime
from typing import Any, Final

from msgspec import Struct

from commands.aggregates import RUN
from commands.command import Command
from commands.repository import Sources
from domain.expressions.common import ExpressionFault
from domain.graphs.configs import JsonSchema
from domain.graphs.graph import WaitNode
from domain.graphs.validation.json_schema import compile_schema
from domain.payload import Payload
from domain.refusal import Problem
from domain.runs.facts import RUN_ENDS, RunFact, RunSignalled, StepCompleted, StepFailed, StepSkipped
from domain.runs.refusals import (
    DeadlinePassed,
    RunNotRunning,
    SignalAlreadySent,
    SignalNotAwaited,
    SignalUnacceptable,
)
from domain.runs.run import Run

SIGNAL_CONFLICTS: Final = (RunSignalled, StepCompleted, StepFailed, StepSkipped, *RUN_ENDS)
"""Facts that conflict with a signal: other signals, and results of the steps that wait for it."""


class SendSignal(Command[Run], frozen=True, kw_only=True):
    """Send a signal to the steps of a run that wait for its name, or that will."""

    name: str
    data: Any
    data_payload: Payload
    user_id: str


class SignalSources(Struct, frozen=True, kw_only=True):
    """The nodes of the run's graph that wait for the signal, with the schema that each has for its data."""

    schemas: dict[str, JsonSchema | None]


async def gather_signal(command: SendSignal, sources: Sources) -> SignalSources:
    """Load the graph of the run."""
    run = (await sources.load(RUN, command.target_id)).state
    graph = await sources.load_graph(run.workflow_id, run.workflow_version)
    waits = (node for node in graph.nodes if isinstance(node, WaitNode) and node.config.signal == command.name)
    return SignalSources(schemas={node.id: node.config.schema for node in waits})


def send_signal(command: SendSignal, run: Run, gathered: SignalSources, now: datetime) -> tuple[RunFact, ...]:
    """Decide that a signal came. Raises SignalNotAwaited, SignalAlreadySent, DeadlinePassed, SignalUnacceptable."""
    if run.has_ended:
        raise RunNotRunning
    if not gathered.schemas:
        raise SignalNotAwaited(f"The run's graph has no step that waits for a signal '{command.name[:63]}'.")
    awaiting = [node for node, step in run.steps.items() if step.awaits_signal(command.name)]
    if not awaiting:
        open_nodes = [node for node in gathered.schemas if not _is_over(run, node)]
        if not open_nodes or command.name in run.signals:
            raise SignalAlreadySent if _was_sent(run, command.name) else SignalNotAwaited
        awaiting = open_nodes
    _check_deadlines(run, awaiting, now)
    _check_data(command, [gathered.schemas[node] for node in awaiting])
    return (RunSignalled(name=command.name, data=command.data_payload, signalled_by=command.user_id, signalled_at=now),)


def _is_over(run: Run, node: str) -> bool:
    """Return whether a step has waited already, or never will."""
    step = run.steps.get(node)
    return step is not None and (step.waiting is not None or step.ended_at is not None or step.reason is not None)


def _was_sent(run: Run, name: str) -> bool:
    steps = run.steps.values()
    return name in run.signals or any(step.signal is not None and step.signal.name == name for step in steps)


def _check_deadlines(run: Run, nodes: list[str], now: datetime) -> None:
    waits = [step.waiting for node in nodes if (step := run.steps.get(node)) is not None]
    if any(waiting is not None and waiting.until is not None and now >= waiting.until for waiting in waits):
        raise DeadlinePassed


def _check_data(command: SendSignal, schemas: list[JsonSchema | None]) -> None:
    problems: list[Problem] = []
    for schema in schemas:
        if schema is None:
            continue
        try:
            found = compile_schema(schema).problems(command.data)
        except ExpressionFault as fault:  # the data is too large or too deep to validate
            found = (Problem("", fault.message),)
        problems += [Problem(f"/data{problem.pointer}", problem.message) for problem in found]
    if problems:
        raise SignalUnacceptable(problems=tuple(problems))
