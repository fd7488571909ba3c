"""Images and files of a run are read over HTTP, by callers of its workspace, and never run in a browser."""

import hashlib
from uuid import UUID

from domain.ids import to_uuid
from tests.support.gateway.given import TRANSFORM_CHAIN, Caller, Environment, expect_problem, new_id

PNG = b"\x89PNG\r\n\x1a\n\x00\xff"


async def keep(environment: Environment, workspace_id: UUID, content: bytes, media_type: str) -> str:
    return await environment.core.contents.put(workspace_id, content, media_type)


async def test_a_content_that_the_run_names_is_read_in_its_type(ada: Caller, environment: Environment) -> None:
    for content, media_type, shown in (
        (PNG, "image/png", "image/png"),
        (b"<svg onload='x'>", "image/svg+xml", "application/octet-stream"),
    ):
        reference = await keep(environment, ada.workspace_id, content, media_type)
        run = await ada.ended_run(TRANSFORM_CHAIN, {"picture": {"content": reference}})
        path = f"/v1/runs/{run['id']}/contents/{hashlib.sha256(content).hexdigest()}"
        response = await ada.get(path)
        assert (response.status_code, response.content) == (200, content)
        assert response.headers["content-type"] == shown
        assert response.headers["x-content-type-options"] == "nosniff"
        assert "sandbox" in response.headers["content-security-policy"]
        assert to_uuid("run", run["id"])
        expect_problem(await ada.to(new_id()).get(path), 404, "run_not_found")


async def test_a_content_is_found_in_a_large_value_of_the_run(ada: Caller, environment: Environment) -> None:
    reference = await keep(environment, ada.workspace_id, PNG, "image/png")
    run = await ada.ended_run(TRANSFORM_CHAIN, {"text": "long " * 10_000, "picture": reference})
    response = await ada.get(f"/v1/runs/{run['id']}/contents/{reference.removeprefix('sha256:')}")
    assert response.content == PNG


async def test_a_content_of_another_run_is_not_found(ada: Caller, environment: Environment) -> None:
    reference = await keep(environment, ada.workspace_id, PNG, "image/png")
    run = await ada.ended_run(TRANSFORM_CHAIN, {})
    for digest in (reference.removeprefix("sha256:"), "0" * 64, "nonsense"):
        expect_problem(await ada.get(f"/v1/runs/{run['id']}/contents/{digest}"), 404, "content_not_found")
