"""Answers of every operation to bad requests, by walking all of them."""

from collections.abc import Mapping
from typing import Any, Final

import httpx2
import pytest

from domain.ids import from_uuid
from gateway.catalog import OPERATIONS
from gateway.identity.scopes import PRIVILEGED, Scope
from gateway.operations.operation import Method, Operation, PathId
from tests.support.gateway.given import TRANSFORM_CHAIN, Caller, expect_created, expect_problem, new_id, sign_token

BODIES: Final[Mapping[str, Mapping[str, Any]]] = {
    "createProject": {"name": "x"},
    "createWorkflow": {"name": "x", **TRANSFORM_CHAIN},
    "createAsset": {"type": "prompt", "label": "x"},
    "completeStep": {"outcome": "approve"},
    "forkRun": {"node": "one"},
    "signalRun": {"name": "paid"},
    "publishAnnouncement": {"title": "x"},
    "createApiKey": {"name": "x", "scopes": ["runs:read"]},
}
"""A body that is accepted, for the operations that do not accept `{}`."""

PATH_TEXTS: Final[Mapping[str, str]] = {"nodeId": "one", "version": "1", "digest": "0" * 64}

EACH = pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.operation_id)
SCOPED = [operation for operation in OPERATIONS if operation.scope is not None]
EACH_SCOPED = pytest.mark.parametrize("operation", SCOPED, ids=lambda operation: operation.operation_id)
WITH_IDS = [
    operation for operation in SCOPED if any(isinstance(parameter, PathId) for parameter in operation.path_parameters)
]
EACH_WITH_ID = pytest.mark.parametrize("operation", WITH_IDS, ids=lambda operation: operation.operation_id)


def fill_path(operation: Operation, ids: Mapping[str, str]) -> str:
    """Return the path of an operation with ids by prefix, and with any text for other parameters."""
    path = operation.path
    for parameter in operation.path_parameters:
        value = ids[parameter.prefix] if isinstance(parameter, PathId) else PATH_TEXTS[parameter.name]
        path = path.replace(f"{{{parameter.name}}}", value)
    return path


def create_unknown_ids() -> dict[str, str]:
    return {prefix: from_uuid(prefix, new_id()) for prefix in ("prj", "wf", "ast", "run", "key", "ann")}


async def send(
    caller: Caller, operation: Operation, path: str, headers: dict[str, str] | None = None
) -> httpx2.Response:
    """Send a request that the operation accepts if its ids exist, with its scope if a token has to name that."""
    if operation.scope in PRIVILEGED:
        caller = caller.as_user(caller.user_id, scope=" ".join(Scope))
    if operation.method is Method.GET:
        return await caller.get(path, headers=headers)
    return await caller.ask(operation.method, path, BODIES.get(operation.operation_id, {}), headers=headers)


@EACH_SCOPED
async def test_a_request_without_a_token_is_refused(ada: Caller, operation: Operation) -> None:
    response = await send(ada, operation, fill_path(operation, create_unknown_ids()), {"authorization": ""})
    expect_problem(response, 401, "unauthenticated")


@EACH_SCOPED
async def test_a_token_with_all_other_scopes_is_refused(ada: Caller, operation: Operation) -> None:
    others = " ".join(scope for scope in Scope if scope is not operation.scope)
    token = sign_token(ada.workspace_id, ada.user_id, scope=others)
    response = await send(
        ada, operation, fill_path(operation, create_unknown_ids()), {"authorization": f"Bearer {token}"}
    )
    assert f"`{operation.scope}`" in expect_problem(response, 403, "not_permitted")["detail"]


@EACH
async def test_an_unknown_query_parameter_is_refused(ada: Caller, operation: Operation) -> None:
    response = await send(ada, operation, fill_path(operation, create_unknown_ids()) + "?colour=red")
    found = expect_problem(response, 400, "malformed")
    assert [error["parameter"] for error in found["errors"]] == ["colour"]
    assert "Unknown query parameter `colour`." in found["detail"]


@EACH_WITH_ID
async def test_unknown_and_malformed_ids_are_not_found(ada: Caller, operation: Operation) -> None:
    unknown = create_unknown_ids()
    malformed = dict.fromkeys(unknown, "nonsense")
    for ids in (unknown, malformed):
        response = await send(ada, operation, fill_path(operation, ids))
        assert response.status_code == 404, response.text
        assert response.json()["code"] in {
            parameter.not_found.code for parameter in operation.path_parameters if isinstance(parameter, PathId)
        }


async def create_resources(ada: Caller) -> dict[str, str]:
    """Return the ids of a project, a workflow, an asset, an ended run and an API key."""
    run = await ada.ended_run(TRANSFORM_CHAIN, {})
    asset = expect_created(
        await ada.post(f"/v1/projects/{run['project_id']}/assets", {"type": "prompt", "label": "Tone"})
    )
    admin = ada.as_user(ada.user_id, scope=" ".join(Scope))
    key = expect_created(await admin.post("/v1/api-keys", BODIES["createApiKey"]))
    announcement = expect_created(await admin.post("/v1/announcements", BODIES["publishAnnouncement"]))
    return {
        "prj": run["project_id"],
        "wf": run["workflow_id"],
        "ast": asset["id"],
        "run": run["id"],
        "key": key["id"],
        "ann": announcement["id"],
    }


async def test_every_operation_succeeds_on_existing_resources_or_refuses_with_a_declared_problem(ada: Caller) -> None:
    ids = await create_resources(ada)
    succeeded = {
        operation.operation_id
        for operation in SCOPED
        if (await send(ada, operation, fill_path(operation, ids))).is_success
    }
    # The run has ended: nothing of it can be decided, cancelled or retried; and it has no contents.
    assert {operation.operation_id for operation in SCOPED} - succeeded == {
        "completeStep",
        "cancelRun",
        "retryRun",
        "signalRun",
        "getContent",
        # The asset is a prompt, which has no file.
        "uploadAsset",
        "getAssetContent",
    }
