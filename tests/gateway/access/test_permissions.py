"""The permission table: every operation, with every role and scope, by a table that is written down here again."""

from collections.abc import Mapping
from typing import Any, Final

import httpx2
import pytest

from domain.project import Role
from gateway.catalog import OPERATIONS
from gateway.identity.scopes import PRIVILEGED, Scope
from gateway.operations.operation import Method, Operation
from tests.gateway.operations.test_every_operation import BODIES, create_resources, fill_path
from tests.support.gateway.given import Caller, expect_problem
from tests.support.waiting import eventually

ALL: Final = {"owner", "editor", "reviewer", "viewer", "workspace:admin"}
DECIDERS: Final = {"owner", "editor", "reviewer"}
EDITORS: Final = {"owner", "editor"}
MANAGERS: Final = {"owner", "workspace:admin"}
EVERYBODY: Final = {*ALL, "nobody"}
"""Of the workspace: a member of a team or not."""

TABLE: Final[Mapping[str, tuple[str, set[str]]]] = {
    "listProjects": ("projects:read", EVERYBODY),
    "createProject": ("projects:write", EVERYBODY),
    "getProject": ("projects:read", ALL),
    "changeProject": ("projects:write", EDITORS),
    "listWorkflows": ("workflows:read", ALL),
    "createWorkflow": ("workflows:write", EDITORS),
    "getWorkflow": ("workflows:read", ALL),
    "changeWorkflow": ("workflows:write", EDITORS),
    "duplicateWorkflow": ("workflows:write", EDITORS),
    "validateWorkflow": ("workflows:read", ALL),
    "listAssets": ("assets:read", ALL),
    "createAsset": ("assets:write", EDITORS),
    "getAsset": ("assets:read", ALL),
    "changeAsset": ("assets:write", EDITORS),
    "uploadAsset": ("assets:write", EDITORS),
    "getAssetContent": ("assets:read", ALL),
    "startRun": ("runs:write", EDITORS),
    "getRun": ("runs:read", ALL),
    "listRunsOfProject": ("runs:read", ALL),
    "listRunsOfWorkflow": ("runs:read", ALL),
    "completeStep": ("runs:approve", DECIDERS),
    "cancelRun": ("runs:write", EDITORS),
    "retryRun": ("runs:write", EDITORS),
    "forkRun": ("runs:write", EDITORS),
    "listRunEvents": ("runs:read", ALL),
    "listProjectEvents": ("runs:read", ALL),
    "createStreamTicket": ("runs:read", EVERYBODY),
    "listCalls": ("runs:read", ALL),
    "signalRun": ("runs:write", EDITORS),
    "getContent": ("runs:read", ALL),
    "getOutput": ("runs:read", ALL),
    "listTasks": ("runs:read", EVERYBODY),
    "getInsights": ("runs:read", ALL),
    "listWorkflowVersions": ("workflows:read", ALL),
    "getWorkflowVersion": ("workflows:read", ALL),
    "listAssetVersions": ("assets:read", ALL),
    "getAssetVersion": ("assets:read", ALL),
    "listAnnouncements": ("announcements:read", EVERYBODY),
    "publishAnnouncement": ("announcements:write", EVERYBODY),
    "withdrawAnnouncement": ("announcements:write", EVERYBODY),
    "getFeatureFlags": ("flags:read", EVERYBODY),
    "listApiKeys": ("keys:admin", EVERYBODY),
    "createApiKey": ("keys:admin", EVERYBODY),
    "revokeApiKey": ("keys:admin", EVERYBODY),
}
"""For each operation its scope, and who may use it."""

REACHED: Final = {"not_an_assignee", "content_not_found"}
"""Problems that only somebody gets who has the permission: no task is theirs, the run has no such content."""

PROJECT_FIELDS: Final[Mapping[str, tuple[Any, set[str]]]] = {
    "name": ("Autumn", EDITORS),
    "settings": ({"tone": "warm"}, EDITORS),
    "status": ("active", MANAGERS),
    "team": (None, MANAGERS),
}
"""For each field of `changeProject` a value (None: the team as it is), and who may change it."""

TEAM: Final = [{"user_id": f"usr_{role}", "role": role.value} for role in Role if role is not Role.OWNER]
SCOPED: Final = [operation for operation in OPERATIONS if operation.scope is not None]


async def create_team(ada: Caller) -> tuple[dict[str, str], list[dict[str, str]]]:
    """Return the ids of resources in a project with one member for each role, and the team."""
    ids = await create_resources(ada)
    team = [{"user_id": ada.user_id, "role": "owner"}, *TEAM]
    changed = await ada.patch(f"/v1/projects/{ids['prj']}", {"team": team})
    assert changed.status_code == 200, changed.text
    return ids, team


def become(ada: Caller, who: str, scope: str) -> Caller:
    """Return a caller with a role, or with none, and with a scope."""
    user_id = ada.user_id if who == "owner" else f"usr_{who}"
    return ada.as_user(user_id, scope=f"{scope} workspace:admin" if who == "workspace:admin" else scope)


async def request(caller: Caller, operation: Operation, ids: Mapping[str, str]) -> httpx2.Response:
    path = fill_path(operation, ids)
    if operation.method is Method.GET:
        return await caller.get(path)
    body = BODIES.get(operation.operation_id, {"name": "x"} if operation.operation_id == "changeProject" else {})
    if operation.operation_id == "createApiKey":
        body = {"name": "x", "scopes": ["keys:admin"]}
    return await caller.ask(operation.method, path, body)


def test_the_table_lists_every_operation_and_its_scope() -> None:
    assert {operation.operation_id: operation.scope for operation in SCOPED} == {
        name: scope for name, (scope, _) in TABLE.items()
    }


@pytest.mark.parametrize("operation", SCOPED, ids=lambda operation: operation.operation_id)
async def test_an_operation_is_open_to_the_roles_and_the_scope_of_the_table(ada: Caller, operation: Operation) -> None:
    ids, _ = await create_team(ada)
    scope, permitted = TABLE[operation.operation_id]
    for who in sorted(EVERYBODY, key=lambda who: who == "owner"):  # the owner last: the key is revoked by then
        refused = await request(become(ada, who, next(other for other in Scope if other != scope)), operation, ids)
        expect_problem(refused, 403, "not_permitted")
        response = await request(become(ada, who, scope), operation, ids)
        if who in permitted:
            assert response.status_code not in {401, 403, 404} or response.json()["code"] in REACHED, who
        elif who == "nobody":
            assert response.status_code == 404, who
        else:
            expect_problem(response, 403, "not_permitted")


@pytest.mark.parametrize("field", PROJECT_FIELDS)
async def test_a_field_of_a_project_is_changed_by_the_roles_of_the_table(ada: Caller, field: str) -> None:
    ids, team = await create_team(ada)
    value, permitted = PROJECT_FIELDS[field]
    for who in ALL:
        caller = become(ada, who, "projects:write")
        response = await caller.patch(f"/v1/projects/{ids['prj']}", {field: team if value is None else value})
        assert (response.status_code == 200) == (who in permitted), f"{who}: {response.text}"
        if who not in permitted:
            expect_problem(response, 403, "not_permitted")


async def test_a_change_of_several_fields_needs_the_permission_of_each(ada: Caller) -> None:
    ids, team = await create_team(ada)
    editor = ada.as_user("usr_editor")
    both = {"name": "Autumn", "team": [*team, {"user_id": "usr_eve", "role": "viewer"}]}
    detail = expect_problem(await editor.patch(f"/v1/projects/{ids['prj']}", both), 403, "not_permitted")["detail"]
    assert detail == "This requires the role `owner` in the project. You are `editor`."
    assert (await ada.get(f"/v1/projects/{ids['prj']}")).json()["name"] == "Spring"


async def test_a_workflow_is_duplicated_only_into_a_project_that_the_caller_may_change(ada: Caller) -> None:
    ids, _ = await create_team(ada)
    viewer = ada.as_user("usr_viewer")
    own = (await viewer.project())["id"]
    path = f"/v1/workflows/{ids['wf']}:duplicate"
    assert (await viewer.post(path, {"project_id": own})).status_code == 201, "what a viewer reads they may copy"
    expect_problem(await viewer.post(path, {"project_id": ids["prj"]}), 403, "not_permitted")
    expect_problem(await ada.post(path, {"project_id": own}), 404, "project_not_found")


@pytest.mark.parametrize("scope", sorted(PRIVILEGED))
async def test_a_token_without_scopes_has_no_privileged_ones(ada: Caller, scope: Scope) -> None:
    for operation in SCOPED:
        if operation.scope is scope:
            ids = await create_resources(ada)
            expect_problem(await request(ada, operation, ids), 403, "not_permitted")
    stranger = ada.as_user("usr_stranger")
    await ada.project()
    assert (await stranger.get("/v1/projects")).json()["items"] == []


async def test_a_role_that_another_gateway_took_away_counts_here_too(ada: Caller, other_ada: Caller) -> None:
    ids, team = await create_team(ada)
    editor = other_ada.as_user("usr_editor")
    path = f"/v1/workflows/{ids['wf']}"
    assert (await editor.get(path)).status_code == 200
    less = [member for member in team if member["user_id"] != "usr_editor"]
    await ada.patch(f"/v1/projects/{ids['prj']}", {"team": less})

    async def is_refused() -> bool:
        return (await editor.get(path)).status_code == 404

    await eventually(is_refused, what="the other gateway has read that the editor left", seconds=5)
    await ada.patch(f"/v1/projects/{ids['prj']}", {"team": team})
    assert (await editor.get(path)).status_code == 200, "a refusal is confirmed by reading the log"
