"""Every code on the page of problems can be raised: a test expects it. Those that no other test raises are here."""

import asyncio
import re
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import pytest
from structlog.testing import capture_logs

from domain.ids import from_uuid
from gateway.catalog import OPERATIONS
from gateway.http.problems import describe_fault
from gateway.identity.scopes import Scope
from gateway.operations.problem_codes import list_problem_kinds
from gateway.operations.problems_page import list_problems
from tests.support.gateway.given import TRANSFORM_CHAIN, Caller, Environment, expect_problem, new_id, sign_token
from tests.support.waiting import eventually

TESTS: Final = Path(__file__).parents[2]
KINDS: Final = {kind.code: kind.__name__ for operation in OPERATIONS for kind in list_problem_kinds(operation)}
SOURCES: Final = {
    folder: "\n".join(page.read_text() for page in sorted((TESTS / folder).rglob("test_*.py")))
    for folder in ("callsheet", "commands", "engine", "gateway", "hostile")
}


@pytest.mark.parametrize("code", [row.code for row in list_problems(OPERATIONS)])
def test_a_test_expects_every_code(code: str) -> None:
    over_http = re.search(rf'"{code}"', SOURCES["gateway"] + SOURCES["callsheet"] + SOURCES["hostile"])
    inner = SOURCES["commands"] + SOURCES["engine"] + SOURCES["hostile"]
    decided = code in KINDS and re.search(rf"\b{KINDS[code]}\b", inner)
    assert over_http or decided, f"no test raises the problem {code}"


async def test_what_never_existed_is_not_found(ada: Caller) -> None:
    admin = ada.as_user(ada.user_id, scope=" ".join(Scope))
    answer = await admin.post(f"/v1/announcements/{from_uuid('ann', new_id())}:withdraw", {})
    expect_problem(answer, 404, "announcement_not_found")
    expect_problem(await ada.get(f"/v1/workflows/{from_uuid('wf', new_id())}"), 404, "workflow_not_found")
    run = await ada.ended_run(TRANSFORM_CHAIN, {})
    expect_problem(await ada.get(f"/v1/runs/{run['id']}/outputs/nothing"), 404, "output_not_found")


async def test_a_body_that_breaks_off_is_never_taken_for_a_shorter_one(environment: Environment, ada: Caller) -> None:
    token = sign_token(ada.workspace_id, ada.user_id)
    head = (
        f"POST /v1/projects HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n"
        'Content-Type: application/json\r\nContent-Length: 20\r\n\r\n{"name":"x"}'
    )
    with capture_logs() as lines:
        parts = urlsplit(environment.url)
        _, writer = await asyncio.open_connection(parts.hostname, parts.port)
        writer.write(head.encode())
        await writer.drain()
        writer.close()

        async def is_refused() -> bool:
            return any(line.get("code") == "body_broken_off" for line in lines)

        await eventually(is_refused, what="the request is refused")
    assert (await ada.get("/v1/projects")).json()["items"] == []


def test_a_bug_says_nothing_of_itself() -> None:
    found = describe_fault(RuntimeError("password=hunter2"))
    assert (found.status, found.code) == (500, "internal")
    assert "hunter2" not in found.detail


async def test_a_run_pins_a_bounded_number_of_workflows(ada: Caller) -> None:
    project = await ada.project()
    inner = [await ada.workflow(TRANSFORM_CHAIN, project["id"]) for _ in range(201)]
    nodes: list[dict[str, Any]] = [
        {"id": f"n{number}", "kind": "workflow", "config": {"workflow_id": workflow["id"]}}
        for number, workflow in enumerate(inner)
    ]
    outer = await ada.workflow({"nodes": nodes}, project["id"])
    expect_problem(await ada.post(f"/v1/workflows/{outer['id']}:run", {}), 422, "workflows_too_many")
