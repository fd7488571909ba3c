"""Golden histories: facts as they were stored once, and the states they fold to. These files are never edited."""

import json
from pathlib import Path
from typing import Any, Final, cast

import msgspec
import pytest

from commands.aggregates import ANNOUNCEMENT, API_KEY, ASSET, PROJECT, RUN, WORKFLOW, Noun
from domain.fact import Fact
from domain.graphs.compiled import compile_graph
from domain.graphs.graph import Graph
from domain.runs.run import Run, RunStatus
from engine.turns.schedule import DueSteps, find_due_on_resume, is_all_settled
from store.log.codec import PLAIN_JSON, TOPICS, decode_fact, encode_fact

GOLDEN: Final = Path(__file__).parent.parent / "golden"
HISTORIES: Final = sorted(path.stem for path in GOLDEN.glob("*.jsonl"))
SCHEDULED: Final = sorted(path.name.removesuffix(".graph.json") for path in GOLDEN.glob("*.graph.json"))
NOUNS: Final[dict[str, Noun[Any]]] = {
    "project": PROJECT,
    "workflow": WORKFLOW,
    "asset": ASSET,
    "run": RUN,
    "api-key": API_KEY,
    "announcement": ANNOUNCEMENT,
}


def read_lines(name: str) -> list[bytes]:
    return (GOLDEN / f"{name}.jsonl").read_bytes().splitlines()


def decode_line(line: bytes) -> Fact:
    return decode_fact(1, msgspec.json.decode(line)["fact"], PLAIN_JSON, None, line)


def fold_history(name: str) -> Any:  # noqa: ANN401  # the state of whichever noun
    noun = NOUNS[name.partition("_")[0]]
    state = noun.initial
    for line in read_lines(name):
        state = noun.evolve(state, decode_line(line))
    return state


def find_losses(before: object, now: object, where: str = "") -> list[str]:
    """Return the parts of a stored state that a folded one lacks or has otherwise; new fields are no loss."""
    if isinstance(before, dict) and isinstance(now, dict):
        old, new = cast("dict[str, object]", before), cast("dict[str, object]", now)
        return [at for key in old for at in find_losses(old[key], new.get(key, "absent"), f"{where}/{key}")]
    if isinstance(before, list) and isinstance(now, list):
        old_items, new_items = cast("list[object]", before), cast("list[object]", now)
        if len(old_items) == len(new_items):
            pairs = zip(old_items, new_items, strict=True)
            return [
                at
                for index, (wanted, other) in enumerate(pairs)
                for at in find_losses(wanted, other, f"{where}/{index}")
            ]
    return [] if before == now else [f"{where}: was {before!r}, is {now!r}"]


@pytest.mark.parametrize("name", HISTORIES)
def test_a_golden_history_folds_to_what_it_always_folded_to(name: str) -> None:
    state = json.loads((GOLDEN / f"{name}.state.json").read_text())
    assert find_losses(state, json.loads(msgspec.json.encode(fold_history(name)))) == []


@pytest.mark.parametrize("name", HISTORIES)
def test_a_golden_fact_would_be_stored_the_same_today(name: str) -> None:
    for line in read_lines(name):
        assert encode_fact(decode_line(line)) == line


@pytest.mark.parametrize("name", HISTORIES)
def test_a_golden_fact_is_read_though_it_has_fields_that_nobody_knows(name: str) -> None:
    for line in read_lines(name):
        assert decode_line(line[:-1] + b',"of_a_later_version":{"x":[1]}}') == decode_line(line)


def test_every_topic_stands_in_a_golden_history() -> None:
    seen = {msgspec.json.decode(line)["fact"] for name in HISTORIES for line in read_lines(name)}
    assert seen == TOPICS


@pytest.mark.parametrize("name", SCHEDULED)
def test_nothing_more_is_due_in_a_golden_run_that_came_to_rest(name: str) -> None:
    graph = compile_graph(msgspec.json.decode((GOLDEN / f"{name}.graph.json").read_bytes(), type=Graph))
    run: Run = fold_history(name)
    if run.status is not RunStatus.FAILED:
        assert find_due_on_resume(graph, run) == DueSteps(start=(), skip=())
        assert is_all_settled(graph, run) is run.has_ended
