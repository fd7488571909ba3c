"""Checks of a log and of the model server's ledger, however often engines were killed."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import cast
from uuid import UUID

from domain.fact import Fact
from domain.graphs.graph import ErrorClass
from domain.runs.facts import (
    RUN_ENDS,
    RunStarted,
    StepCompleted,
    StepFailed,
    StepStarted,
)
from tests.support.engine.harness import check_history
from tests.support.model_server.ledger import Call

Step = tuple[str, str]
"""The name of a run and a node."""


def check(streams: dict[UUID, list[Fact]], calls: list[Call]) -> None:
    """Hold every run to its history, and the calls that reached the models to the attempts that are recorded."""
    runs = [facts for facts in streams.values() if isinstance(facts[0], RunStarted)]
    for facts in runs:
        check_history(facts)
        assert sum(isinstance(fact, RUN_ENDS) for fact in facts) == 1, "a run ends once"
        assert isinstance(facts[-1], RUN_ENDS), "and nothing follows"
    attempts = Counter(step for facts in runs for step in list_attempts(facts))
    asked = Counter(parse_step(call) for call in calls)
    assert asked.keys() <= attempts.keys(), "nobody is asked for a step that is not recorded"
    assert all(times <= attempts[step] for step, times in asked.items()), "no call without a recorded attempt"
    tokens: dict[Step, set[str | None]] = defaultdict(set)
    for call in calls:
        tokens[parse_step(call)].add(call.idempotency_token)
    assert all(len(sent) == 1 for sent in tokens.values()), "every attempt of a step carries the same token"
    assert len({token for sent in tokens.values() for token in sent}) == len(tokens), "and each step one of its own"


def has_ended(facts: list[Fact]) -> bool:
    return any(isinstance(fact, RUN_ENDS) for fact in facts)


def read_run_name(facts: list[Fact]) -> str:
    """Return the name that a run was started with."""
    first = facts[0]
    assert isinstance(first, RunStarted)
    inputs = cast("dict[str, object]", first.inputs.value)
    return str(inputs["name"])


def list_attempts(facts: list[Fact]) -> list[Step]:
    name = read_run_name(facts)
    return [(name, fact.node) for fact in facts if isinstance(fact, StepStarted)]


def parse_step(call: Call) -> Step:
    """Return the step that a call was made for, parsed from its prompt."""
    messages = cast("list[dict[str, object]]", call.body["messages"])
    name, node = str(messages[-1]["content"]).split()
    return name, node


def count_lost_attempts(histories: Iterable[list[Fact]]) -> int:
    """Count the attempts that were lost with their engine."""
    failures = [fact for facts in histories for fact in facts if isinstance(fact, StepFailed)]
    return sum(fact.error.error_class is ErrorClass.OWNER_LOST for fact in failures)


def list_completions(facts: list[Fact], node: str) -> list[StepCompleted]:
    return [fact for fact in facts if isinstance(fact, StepCompleted) and fact.node == node]
