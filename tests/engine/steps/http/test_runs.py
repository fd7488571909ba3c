"""Runs with http steps on a real log: retries by policy, and secrets that are nowhere afterwards."""

import logging
from dataclasses import replace

import msgspec
import pytest

from domain.graphs.graph import ErrorClass
from domain.runs.facts import StepFailed
from domain.runs.run import RunStatus
from engine.egress.allow_list import AllowList
from engine.egress.guard import Guard
from engine.settings import OutgoingSettings
from engine.steps.http.secrets import HttpSecret
from engine.steps.http.step import HttpSteps
from tests.support.engine.harness import open_harness
from tests.support.engine.workers import create_evaluator
from tests.support.graphs import graph, node
from tests.support.servers.web import WebServer

SECRET = "sk_live_0123456789"  # noqa: S105  # of nobody


async def test_a_secret_is_in_no_fact_no_log_line_and_no_error(database: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    for name in ("httpcore2", "httpx2"):  # the product lets these two speak of warnings only
        caplog.set_level(logging.WARNING, logger=name)
    secrets = {"token": HttpSecret(SECRET, AllowList("127.0.0.1"))}
    steps = HttpSteps(
        Guard(allowed=AllowList("127.0.0.1")), secrets, OutgoingSettings(timeout_seconds=60), create_evaluator()
    )
    headers = {"Authorization": "Bearer {{ secrets.token }}", "X-Token": "{{ secrets.token }}"}
    with WebServer() as server:
        async with open_harness(database) as plain:
            harness = replace(plain, http=steps)
            async with harness.run_engine():
                good = await harness.begin(
                    graph(
                        node(kind="http", config={"url": server.url("/echo?{{ secrets.token }}"), "headers": headers})
                    )
                )
                bad = await harness.begin(
                    graph(node(kind="http", config={"url": server.url("/status/400"), "headers": headers}))
                )
                ended = await harness.wait_until_ended(good)
                await harness.wait_until_ended(bad, RunStatus.FAILED)
                facts = [*await harness.list_facts(good), *await harness.list_facts(bad)]
        await steps.close()
    assert len(server.heard) == 2
    assert all(request.headers["x-token"] == SECRET for request in server.heard)
    assert ended.outputs["a"].value["body"]["headers"]["x-token"] == "…"  # pyright: ignore[reportIndexIssue, reportOptionalSubscript]  # JSON
    assert SECRET not in msgspec.json.encode(facts).decode()
    assert SECRET not in caplog.text


async def test_a_failing_server_is_called_again_with_the_same_token(database: str) -> None:
    steps = HttpSteps(
        Guard(allowed=AllowList("127.0.0.1")), {}, OutgoingSettings(timeout_seconds=60), create_evaluator()
    )
    retry = {"max_attempts": 3, "backoff": {"initial_seconds": 0.01}, "retry_on": ["unavailable"]}
    with WebServer() as server:
        async with open_harness(database) as plain:
            harness = replace(plain, http=steps)
            async with harness.run_engine():
                run = await harness.begin(
                    graph(node(kind="http", config={"url": server.url("/status/500")}, retry=retry))
                )
                await harness.wait_until_ended(run, RunStatus.FAILED)
                faults = [fact for fact in await harness.list_facts(run) if isinstance(fact, StepFailed)]
        await steps.close()
    assert [fault.error.error_class for fault in faults] == [ErrorClass.UNAVAILABLE] * 3
    assert {request.headers["idempotency-key"] for request in server.heard} == {f"{run}.a"}
