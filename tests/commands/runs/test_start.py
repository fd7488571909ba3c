"""Runs: how they start, and how people decide the steps that wait for them."""

from datetime import timedelta
from typing import Any
from uuid import UUID

from msgspec.structs import replace

from commands.runs.start import DecideStep, DecisionSources, RunSources, StartRun
from domain.graphs.graph import ErrorClass
from domain.payload import Payload
from domain.project import MemberAdded, ProjectCreated, Role
from domain.runs.facts import (
    Pins,
    RunCompleted,
    RunFailed,
    RunStarted,
    StepDecided,
    StepError,
    StepStarted,
    StepWaiting,
    WaitFor,
)
from domain.runs.refusals import (
    DeadlinePassed,
    DecisionUnacceptable,
    NotAnAssignee,
    RunAlreadyStarted,
    RunNotRunning,
    StepAlreadyDecided,
    StepNotFound,
    StepNotWaiting,
)
from tests.support.commands.scenario import NOW, find_noun, fold_state, given

ID = UUID("0192f000-0000-7000-8000-0000000000d1")
PROJECT_ID = UUID("0192f000-0000-7000-8000-0000000000a1")
WORKFLOW_ID = UUID("0192f000-0000-7000-8000-0000000000c1")
ASSET_ID = UUID("0192f000-0000-7000-8000-0000000000b1")
PINS = Pins(assets={ASSET_ID: 3})
SOURCES = RunSources(project_id=PROJECT_ID, workflow_version=2, pins=PINS)
START = StartRun(target_id=ID, workflow_id=WORKFLOW_ID, inputs=Payload(value={"brief": "x"}))
STARTED = RunStarted(
    workflow_id=WORKFLOW_ID, workflow_version=2, inputs=Payload(value={"brief": "x"}), pins=PINS, started_at=NOW
)
CLAIMED = StepStarted(node="review", attempt=1, executor="engine-1", epoch=1, started_at=NOW)
WAITING = StepWaiting(
    node="review",
    attempt=1,
    waiting_for=WaitFor.HUMAN,
    assignees=("cy",),
    roles=("reviewer",),
    form={"type": "object", "properties": {"stars": {"type": "integer"}}, "required": ["stars"]},
    outcomes=("approve", "reject"),
    shown=Payload(value={"values": {}}),
    shown_hash="hmac-sha256:00",
    waiting_since=NOW,
)
_FACTS = (ProjectCreated(name="Launch", owner="ada"), MemberAdded(user_id="bo", role=Role.REVIEWER))
TEAM = DecisionSources(project=fold_state(find_noun(_FACTS[0]), *_FACTS))
DECIDED = StepDecided(
    node="review",
    outcome="approve",
    data=Payload(value={"stars": 5}),
    comment="good",
    decided_by="bo",
    shown_hash="hmac-sha256:00",
    decided_at=NOW,
)


def decide(
    user: str = "bo", outcome: str = "approve", data: dict[str, Any] | None = None, node: str = "review"
) -> DecideStep:
    answer = {"stars": 5} if data is None else data
    return DecideStep(
        target_id=ID,
        node=node,
        outcome=outcome,
        data=answer,
        data_payload=Payload(value=answer),
        comment="good",
        user_id=user,
    )


def test_a_run_starts_with_all_that_it_depends_on_pinned() -> None:
    given().when(START, SOURCES).then(STARTED)


def test_a_started_run_cannot_start_again() -> None:
    given(STARTED).when(START, SOURCES).refuses(RunAlreadyStarted)


def test_a_reviewer_of_the_team_decides_and_the_hash_of_what_was_shown_is_kept() -> None:
    given(STARTED, CLAIMED, WAITING).when(decide(), TEAM).then(DECIDED)


def test_an_assignee_decides_without_being_in_the_team() -> None:
    scenario = given(STARTED, CLAIMED, WAITING).when(decide("cy"), TEAM)
    scenario.then(replace(DECIDED, decided_by="cy"))


def test_an_owner_without_the_role_does_not_decide() -> None:
    given(STARTED, CLAIMED, WAITING).when(decide("ada"), TEAM).refuses(NotAnAssignee)


def test_a_stranger_does_not_decide() -> None:
    given(STARTED, CLAIMED, WAITING).when(decide("eve"), TEAM).refuses(NotAnAssignee)


def test_one_decision_wins() -> None:
    given(STARTED, CLAIMED, WAITING, DECIDED).when(decide("cy", "reject"), TEAM).refuses(StepAlreadyDecided)


def test_the_same_decision_twice_is_refused_too_for_one_person_decided_once() -> None:
    given(STARTED, CLAIMED, WAITING, DECIDED).when(decide(), TEAM).refuses(StepAlreadyDecided)


def test_a_step_that_has_not_begun_is_not_decided() -> None:
    given(STARTED).when(decide(), TEAM).refuses(StepNotWaiting)


def test_a_step_that_does_its_work_is_not_decided() -> None:
    given(STARTED, CLAIMED).when(decide(), TEAM).refuses(StepNotWaiting)


def test_a_step_that_the_graph_lacks_is_not_decided() -> None:
    given(STARTED, CLAIMED, WAITING).when(decide(node="nope"), replace(TEAM, has_node=False)).refuses(StepNotFound)
    ended = RunCompleted(output_nodes=(), completed_at=NOW)
    given(STARTED, ended).when(decide(node="nope"), replace(TEAM, has_node=False)).refuses(StepNotFound)


def test_a_step_that_waits_for_a_timer_is_not_decided_by_a_person() -> None:
    timer = StepWaiting(node="review", attempt=1, waiting_for=WaitFor.TIMER, until=NOW, waiting_since=NOW)
    given(STARTED, CLAIMED, timer).when(decide(), TEAM).refuses(StepNotWaiting)


def test_a_decision_comes_before_the_deadline_or_is_refused() -> None:
    in_time = replace(WAITING, until=NOW + timedelta(microseconds=1))
    given(STARTED, CLAIMED, in_time).when(decide(), TEAM).then(DECIDED)
    over = given(STARTED, CLAIMED, replace(WAITING, until=NOW))
    over.when(decide(), TEAM).refuses(DeadlinePassed)
    over.when(decide("eve"), TEAM).refuses(NotAnAssignee)


def test_a_step_started_anew_has_to_wait_anew() -> None:
    again = StepStarted(node="review", attempt=2, executor="engine-2", epoch=2, started_at=NOW)
    given(STARTED, CLAIMED, WAITING, again).when(decide(), TEAM).refuses(StepNotWaiting)


def test_a_run_that_has_ended_is_not_decided() -> None:
    error = StepError(error_class=ErrorClass.INTERNAL, message="no")
    for end in (RunCompleted(output_nodes=(), completed_at=NOW), RunFailed(node="a", error=error, failed_at=NOW)):
        given(STARTED, CLAIMED, WAITING, end).when(decide(), TEAM).refuses(RunNotRunning)


def test_an_outcome_and_a_form_are_judged_together() -> None:
    command = decide(outcome="maybe", data={"stars": "many"})
    refusal = (
        given(STARTED, CLAIMED, WAITING).when(command, TEAM).refuses(DecisionUnacceptable, "/outcome", "/data/stars")
    )
    assert refusal.problems[0].message == "must be one of approve, reject"


def test_a_missing_answer_is_told() -> None:
    given(STARTED, CLAIMED, WAITING).when(decide(data={}), TEAM).refuses(DecisionUnacceptable, "/data")


def test_an_answer_that_cannot_be_judged_is_refused_and_is_no_fault_of_ours() -> None:
    deep: dict[str, Any] = {"stars": 5}
    for _ in range(200):
        deep = {"stars": 5, "more": deep}
    given(STARTED, CLAIMED, WAITING).when(decide(data=deep), TEAM).refuses(DecisionUnacceptable, "/data")


def test_without_a_form_any_answer_will_do() -> None:
    bare = replace(WAITING, form=None)
    given(STARTED, CLAIMED, bare).when(decide(data={"any": []}), TEAM).then(
        replace(DECIDED, data=Payload(value={"any": []}))
    )
