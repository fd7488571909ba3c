"""Rate limits over HTTP, at two gateways over one database."""

from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Final
from uuid import UUID

import httpx2
import msgspec
import pytest
from msgspec.structs import replace

from callsheet.wiring.core import Part
from domain.ids import from_uuid
from gateway.catalog import OPERATIONS
from gateway.limits.policies import OverridesFile
from gateway.settings import LimitSettings
from tests.gateway.conftest import SETTINGS
from tests.gateway.operations.test_every_operation import SCOPED, create_unknown_ids, fill_path, send
from tests.support.gateway.given import PATIENCE_SECONDS, Caller, expect_problem, new_id, serving

LIMITED: Final = new_id()
"""A workspace with a limit of its own, which nothing comes back to within a test."""
BURST: Final = 40
CREDENTIAL_BURST: Final = 20
GATEWAY: Final = frozenset({Part.GATEWAY})


@pytest.fixture(scope="module")
async def urls(gateway_database: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[list[str]]:
    """Two gateways with the limits of a file."""
    path = tmp_path_factory.mktemp("limits") / "limits.json"
    path.write_bytes(
        msgspec.json.encode(
            {
                from_uuid("ws", LIMITED): {
                    "workspace": {"per_second": 0.01, "burst": BURST},
                    "credential": {"per_second": 0.01, "burst": CREDENTIAL_BURST},
                }
            }
        )
    )
    settings = replace(SETTINGS, limit=LimitSettings(overrides_file=OverridesFile(str(path))))
    async with (
        serving(gateway_database, settings, process_parts=GATEWAY) as first,
        serving(gateway_database, settings, process_parts=GATEWAY) as second,
    ):
        yield [first.url, second.url]


def create_callers(clients: list[httpx2.AsyncClient], workspace_id: UUID, user_id: str) -> list[Caller]:
    return [Caller(client=client, workspace_id=workspace_id, user_id=user_id) for client in clients]


async def test_a_workspace_is_limited_at_all_gateways_together(urls: list[str]) -> None:
    async with (
        httpx2.AsyncClient(base_url=urls[0], timeout=PATIENCE_SECONDS) as first,
        httpx2.AsyncClient(base_url=urls[1], timeout=PATIENCE_SECONDS) as second,
    ):
        answers: dict[str, list[httpx2.Response]] = {}
        for user_id in ("usr_a", "usr_b", "usr_c"):
            callers = create_callers([first, second], LIMITED, user_id)
            answers[user_id] = [await callers[number % 2].get("/v1/projects") for number in range(30)]
        admitted = {user: sum(answer.status_code == 200 for answer in got) for user, got in answers.items()}
        assert CREDENTIAL_BURST - 8 <= admitted["usr_a"] <= CREDENTIAL_BURST
        assert BURST - 16 <= sum(admitted.values()) <= BURST
        refused = next(answer for answer in answers["usr_a"] if answer.status_code == 429)
        found = expect_problem(refused, 429, "rate_limited")
        assert found["type"] == "https://iana.org/assignments/http-problem-types#quota-exceeded"
        assert found["violated-policies"] == ["credential"]
        assert 1 <= int(refused.headers["retry-after"]) <= 101
        last = expect_problem(answers["usr_c"][-1], 429, "rate_limited")
        assert last["violated-policies"] == ["workspace"]
        others = create_callers([first, second], new_id(), "usr_a")
        assert (await others[0].get("/v1/projects")).status_code == 200


async def test_responses_say_what_is_left(ada: Caller) -> None:
    answer = await ada.get("/v1/projects")
    assert answer.headers["ratelimit-policy"] == '"workspace";q=10000;w=5, "credential";q=5000;w=5'
    workspace, credential = (part.strip().split(";") for part in answer.headers["ratelimit"].split(","))
    assert (workspace[0], credential[0]) == ('"workspace"', '"credential"')
    assert 0 < int(workspace[1].removeprefix("r=")) < 10_000
    assert 0 < int(credential[1].removeprefix("r=")) < 5_000


async def test_every_operation_with_a_token_is_limited_and_no_other(ada: Caller) -> None:
    for operation in OPERATIONS:
        answer = await send(ada, operation, fill_path(operation, create_unknown_ids()))
        assert ("ratelimit" in answer.headers) is (operation in SCOPED), operation.operation_id


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "is invalid"),
        (b'{"ws_nothing": {}}', "not a workspace"),
        (b'{"ws_01h455vb4pex5vsknk084sn02q": {"workspace": {"per_second": 0, "burst": 9}}}', "is invalid"),
        (b'{"ws_01h455vb4pex5vsknk084sn02q": {"workplace": {}}}', "workplace"),
    ],
)
def test_a_file_of_limits_that_cannot_be_used_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "limits.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        OverridesFile(str(path))
