"""Commands whose facts stand beside others: cancelling and deciding while a run moves on in the very moment."""

from collections.abc import Callable
from datetime import datetime
from uuid import UUID

import pytest

from commands.command import Command
from commands.handler import VersionMismatch
from commands.runs.lifecycle import CancelRun
from commands.runs.start import DecideStep
from domain.fact import Fact, get_topic
from domain.graphs.graph import ErrorClass
from domain.payload import NOTHING, Payload
from domain.refusal import Refusal
from domain.runs.facts import (
    Pins,
    RunCompleted,
    RunStarted,
    StepCompleted,
    StepDecided,
    StepError,
    StepFailed,
    StepStarted,
    StepWaiting,
    WaitFor,
)
from domain.runs.refusals import RunNotRunning, StepAlreadyDecided
from domain.runs.run import Run
from store.log.records import Append, CommandId
from tests.support.commands.processes import Process, meanwhile, new_id, now, process
from tests.support.commands.scenario import NOW
from tests.support.store.given import create_append

BEGUN = (
    RunStarted(workflow_id=UUID(int=1), workflow_version=1, inputs=NOTHING, pins=Pins(), started_at=NOW),
    StepStarted(node="d", attempt=1, executor="engine", epoch=1, started_at=NOW),
    StepWaiting(
        node="d", attempt=1, waiting_for=WaitFor.HUMAN, outcomes=("ok",), assignees=("rita",), waiting_since=NOW
    ),
)
OTHER_STEPS = (
    StepStarted(node="a", attempt=1, executor="engine", epoch=1, started_at=NOW),
    StepCompleted(node="a", attempt=1, output=NOTHING, completed_at=NOW),
    StepStarted(node="b", attempt=1, executor="engine", epoch=1, started_at=NOW),
)
ENDED = RunCompleted(output_nodes=(), completed_at=NOW)
DECIDED = StepDecided(node="d", outcome="ok", data=NOTHING, decided_by="bo", shown_hash=None, decided_at=NOW)
FAILED = StepFailed(node="b", attempt=1, error=StepError(error_class=ErrorClass.AUTH, message="no"), failed_at=NOW)


def cancel(run: UUID, version: int | None = None) -> CancelRun:
    return CancelRun(target_id=run, user_id="rita", if_version=version)


def decide(run: UUID, version: int | None = None) -> DecideStep:
    return DecideStep(
        target_id=run,
        node="d",
        outcome="ok",
        data={},
        data_payload=Payload(value={}),
        comment=None,
        user_id="rita",
        if_version=version,
    )


async def begin_run(first: Process, project: UUID) -> UUID:
    run = new_id()
    await first.log.append(create_append(run, 0, *BEGUN, project=project))
    return run


class Meanwhile:
    """A clock for the handler: while it decides, for the first time, something else is appended to the run."""

    def __init__(self, do: Callable[[Append], None]) -> None:
        """Create it around the streams that append."""
        self._do = do
        self.appends: list[Append] = []
        self.decisions = 0

    def __call__(self) -> datetime:
        self.decisions += 1
        while self.appends:
            self._do(self.appends.pop())
        return now()


async def when(
    database: str, command: type[Command[Run]], *facts: Fact, version: int | None = None
) -> tuple[list[str], int]:
    """Return the facts of a run that is cancelled or decided during other appends, and the number of attempts.

    Raises Refusal.
    """
    with meanwhile(database) as do:
        clock = Meanwhile(do)
        async with process(database, clock) as first:
            project = await first.project()
            run = await begin_run(first, project)
            clock.appends.append(create_append(run, len(BEGUN), *facts, project=project))
            clock.decisions = 0
            give = cancel if command is CancelRun else decide
            outcome = await first.does(give(run, version), CommandId(key=b"k" * 32, request_hash=b"r" * 32))
            again = await first.does(give(run, version), CommandId(key=b"k" * 32, request_hash=b"r" * 32))
            recorded = await first.facts(run)
    assert outcome.loaded.version == again.loaded.version == len(recorded)
    assert outcome.loaded.state == again.loaded.state, "a repeat is answered with what it came to, others included"
    assert again.replayed
    return [get_topic(type(fact.fact)) for fact in recorded[len(BEGUN) :]], clock.decisions


@pytest.mark.parametrize("command", [CancelRun, DecideStep])
async def test_what_other_steps_come_to_meanwhile_does_not_contradict_it(
    database: str, command: type[Command[Run]]
) -> None:
    said = "run.cancel-requested" if command is CancelRun else "step.decided"
    topics, decisions = await when(database, command, *OTHER_STEPS)
    assert topics == ["step.started", "step.completed", "step.started", said]
    assert decisions == 1, "it need not be decided again"


async def test_a_failure_meanwhile_may_be_of_this_step_so_that_it_is_decided_again(database: str) -> None:
    topics, decisions = await when(database, DecideStep, *OTHER_STEPS, FAILED)
    assert topics[-2:] == ["step.failed", "step.decided"]
    assert decisions == 2


@pytest.mark.parametrize(
    ("command", "fact", "refusal"),
    [
        (CancelRun, ENDED, RunNotRunning),
        (DecideStep, ENDED, RunNotRunning),
        (DecideStep, DECIDED, StepAlreadyDecided),
    ],
)
async def test_what_contradicts_it_has_it_decided_again(
    database: str, command: type[Command[Run]], fact: Fact, refusal: type[Refusal]
) -> None:
    with pytest.raises(refusal):
        await when(database, command, *OTHER_STEPS, fact)


async def test_a_version_that_the_caller_names_is_held_to(database: str) -> None:
    with pytest.raises(VersionMismatch):
        await when(database, CancelRun, *OTHER_STEPS, version=len(BEGUN))
