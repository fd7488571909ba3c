"""The running server against its own OpenAPI document, by schemathesis: generated requests, and sequences of them.

Two checks are left out. `positive_data_acceptance`: a schema cannot say which positions, cursors and graphs exist.
`not_a_server_error`: waiting for a position that is not reached is 503 by contract, and 500 is no documented status.
"""

import sys
from asyncio import create_subprocess_exec, timeout
from asyncio.subprocess import PIPE, STDOUT
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest

from gateway.identity.scopes import Scope
from tests.support.gateway.given import Caller, Environment, sign_token

UNDOCUMENTED: Final = "^/(metrics|docs)"
"""Paths for people and for Prometheus."""
SECONDS_MAX: Final = 240
SHORT: Final = (
    "--include-operation-id-regex", "^(list|create|get|change)Projects?$", "--phases", "coverage,fuzzing",
    "--max-examples", "5",
)  # fmt: skip
LONG: Final = ("--exclude-path-regex", UNDOCUMENTED, "--max-time", "120")


@pytest.mark.parametrize(
    ("options", "operations", "cases_min"),
    [(SHORT, 4, 30), pytest.param(LONG, 40, 5_000, marks=pytest.mark.long)],
    ids=["short", "long"],
)
async def test_generated_requests_get_what_the_document_promises(
    environment: Environment, ada: Caller, tmp_path: Path, options: tuple[str, ...], operations: int, cases_min: int
) -> None:
    token = sign_token(ada.workspace_id, ada.user_id, scope=" ".join(Scope))
    report = tmp_path / "report.json"
    program = await create_subprocess_exec(
        sys.executable, "-m", "schemathesis.cli", "run", f"{environment.url}/v1/openapi.json", *options,
        "--header", f"Authorization: Bearer {token}", "--exclude-checks", "positive_data_acceptance,not_a_server_error",
        "--workers", "4", "--request-timeout", "60",
        "--continue-on-failure", "--suppress-health-check", "all", "--no-shrink", "--no-color",
        "--report", "json", "--report-json-path", str(report),
        cwd=tmp_path, stdout=PIPE, stderr=STDOUT,
    )  # fmt: skip
    async with timeout(SECONDS_MAX):
        printed, _ = await program.communicate()
    result: dict[str, Any] = msgspec.json.decode(report.read_bytes())
    assert (result["failures"], result["errors"]) == ([], []), printed.decode()
    assert result["operations"]["tested"] == result["operations"]["selected"] >= operations
    assert result["test_cases"]["generated"] >= cases_min
