"""Output of the demo on a terminal of 80 columns."""

from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from callsheet.demo.demo import explain_scripted_model, has_scripted_step
from callsheet.demo.story import DemoConsole

COLUMNS = 80
USAGE = {"model": "scripted/openai/default", "input_tokens": 120, "output_tokens": 9}


def format_fact(topic: str, **fact: Any) -> list[str]:  # noqa: ANN401  # the fields of any fact
    told = StringIO()
    DemoConsole(Console(file=told, width=COLUMNS)).print_event({"type": topic, "data": fact}, 48.2)
    return [line.rstrip() for line in told.getvalue().splitlines()]


def test_a_step_of_the_scripted_provider_is_one_line() -> None:
    assert format_fact("step.completed", node="outline", usage={**USAGE, "latency_ms": 0.0}) == [
        "    48 ms ✓ step.completed outline    scripted/openai/default, 120 + 9 tokens"
    ]


def test_the_time_of_a_model_is_shown_where_it_took_any() -> None:
    lines = format_fact("step.completed", node="outline", usage={**USAGE, "model": "gpt-5-mini", "latency_ms": 1234.4})
    assert lines == ["    48 ms ✓ step.completed outline    gpt-5-mini, 120 + 9 tokens, 1,234 ms"]


@pytest.mark.parametrize(
    ("waits", "said"),
    [
        ({"waiting_for": "human", "assignees": ["usr_ana"], "roles": ["owner"]}, "for usr_ana, owner"),
        ({"waiting_for": "timer", "until": "2027-01-01T00:00:00Z"}, "until 2027-01-01T00:00:00Z"),
        ({"waiting_for": "child", "children": 1}, "for one run"),
        ({"waiting_for": "child", "children": 3}, "for 3 runs"),
    ],
)
def test_what_a_step_waits_for_is_said(waits: dict[str, Any], said: str) -> None:
    assert format_fact("step.waiting", node="a", **waits) == [f"    48 ms … step.waiting   a          {said}"]


def test_an_event_of_the_run_itself_has_no_step() -> None:
    assert format_fact("run.started") == ["    48 ms ▶ run.started"]


def test_a_long_reason_goes_on_below_itself() -> None:
    message = "the provider refused the connection, " * 3
    lines = format_fact("step.failed", node="press", error={"message": message})
    assert len(lines) > 1
    assert all(line[:38] == " " * 38 and len(line) <= COLUMNS for line in lines[1:])
    assert " ".join(line[38:].strip() for line in lines) == message.strip()


def test_what_a_fact_says_in_brackets_is_no_markup() -> None:
    assert "[/red] went wrong" in format_fact("run.failed", error={"message": "[/red] went wrong"})[0]


def test_the_longest_topic_is_not_cut() -> None:
    assert format_fact("step.items-settled", node="markets", items=[{}]) == [
        "    48 ms ✓ step.items-settled markets    1 of its runs have ended"
    ]


@pytest.mark.parametrize(("model", "scripted"), [("scripted/openai/default", True), ("gpt-5-mini", False)])
def test_a_run_is_scripted_where_the_provider_that_answered_says_so(model: str, *, scripted: bool) -> None:
    steps = {"outline": {"usage": {**USAGE, "model": model}}, "review": {"usage": None}, "sent_back": {}}
    assert has_scripted_step({"steps": steps}) is scripted


def test_a_scripted_run_in_spite_of_a_key_is_explained() -> None:
    assert "OPENAI_API_KEY" in explain_scripted_model(has_key=False)
    assert "make dev" in explain_scripted_model(has_key=True)


def test_a_command_to_be_copied_is_not_broken_into_lines() -> None:
    told = StringIO()
    command = "curl " + "a-long-argument " * 10 + "end"
    DemoConsole(Console(file=told, width=COLUMNS)).print_text(command)
    assert told.getvalue() == command + "\n"
