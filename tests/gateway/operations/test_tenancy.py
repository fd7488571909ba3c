"""Ids that a caller may not see: of another workspace, of another team, outside of the projects of an API key.

Each is sent to every operation wherever ids go, and must look exactly like an id that never existed.
"""

from collections.abc import Mapping
from typing import Any, Final

import httpx2

from gateway.catalog import OPERATIONS
from gateway.operations.operation import Operation, PathId
from gateway.operations.query import describe_query
from tests.gateway.operations.test_every_operation import (
    BODIES,
    WITH_IDS,
    create_resources,
    create_unknown_ids,
    fill_path,
    send,
)
from tests.support.gateway.given import Caller, expect_created, new_id

VARYING: Final = ("date", "traceparent", "ratelimit")
PREFIXES: Final = frozenset({"prj", "wf", "ast", "run", "key"})
IN_QUERY: Final = [
    (operation, parameter.name, parameter.kind)
    for operation in OPERATIONS
    for parameter in describe_query(operation.query)
    if parameter.kind in PREFIXES
]


def strip_request(response: httpx2.Response, ids: Mapping[str, str]) -> tuple[int, Any, dict[str, str]]:
    """Return a response without what differs from request to request, and without the ids that were sent."""
    text = response.text
    for prefix, text_id in ids.items():
        text = text.replace(text_id, f"<{prefix}>")
    body: Any = httpx2.Response(200, text=text).json()
    if isinstance(body, dict):
        body = {name: value for name, value in body.items() if name != "trace_id"}  # pyright: ignore[reportUnknownVariableType]  # JSON
    return response.status_code, body, {k: v for k, v in response.headers.items() if k not in VARYING}


async def expect_unseen(caller: Caller, ids: Mapping[str, str], operations: list[Operation] = WITH_IDS) -> None:
    """Check that ids look like unknown ones in the path of every operation."""
    for operation in operations:
        unknown = create_unknown_ids()
        seen = await send(caller, operation, fill_path(operation, ids))
        never = await send(caller, operation, fill_path(operation, unknown))
        assert seen.status_code == 404, f"{operation.operation_id}: {seen.text}"
        assert strip_request(seen, ids) == strip_request(never, unknown), operation.operation_id


async def test_ids_of_another_workspace_look_like_unknown_ids(ada: Caller) -> None:
    await expect_unseen(ada.to(new_id()), await create_resources(ada))


async def test_ids_of_a_team_that_the_caller_is_not_in_look_like_unknown_ids(ada: Caller) -> None:
    in_projects = [
        operation
        for operation in WITH_IDS
        if any(
            isinstance(parameter, PathId) and parameter.prefix not in {"key", "ann"}
            for parameter in operation.path_parameters
        )
    ]
    await expect_unseen(ada.as_user("usr_eve"), await create_resources(ada), in_projects)


async def test_ids_in_queries_that_the_caller_may_not_see_look_like_unknown_ids(ada: Caller) -> None:
    ids = await create_resources(ada)
    assert IN_QUERY
    for eve in (ada.to(new_id()), ada.as_user("usr_eve")):
        own = await create_resources(eve)
        for operation, name, prefix in IN_QUERY:
            path = fill_path(operation, own)
            unknown = create_unknown_ids()
            seen = await eve.get(f"{path}?{name}={ids[prefix]}")
            never = await eve.get(f"{path}?{name}={unknown[prefix]}")
            described = strip_request(seen, ids), strip_request(never, unknown)
            for _, body, _ in described:
                body.pop("id", None)  # of insights: a digest of the question
            assert described[0] == described[1], f"{operation.operation_id} {name}"


async def test_ids_in_bodies_that_the_caller_may_not_see_look_like_unknown_ids(ada: Caller) -> None:
    ids = await create_resources(ada)
    for eve in (ada.to(new_id()), ada.as_user("usr_eve")):
        own = await create_resources(eve)
        admin = eve.as_user(eve.user_id, scope="keys:admin runs:read workflows:write")

        def create_requests(sent: Mapping[str, str], own: Mapping[str, str] = own) -> list[tuple[str, Any]]:
            prompt = {
                "nodes": [{"id": "a", "kind": "prompt", "config": {"model": "scripted/x", "asset_id": sent["ast"]}}]
            }
            child = {"nodes": [{"id": "a", "kind": "workflow", "config": {"workflow_id": sent["wf"]}}]}
            return [
                (f"/v1/workflows/{own['wf']}:duplicate", {"project_id": sent["prj"]}),
                ("/v1/api-keys", {**BODIES["createApiKey"], "project_ids": [sent["prj"]]}),
                (f"/v1/projects/{own['prj']}/workflows", {"name": "x", **prompt}),
                (f"/v1/projects/{own['prj']}/workflows", {"name": "x", **child}),
            ]

        unknown = create_unknown_ids()
        for (path, body), (_, other) in zip(create_requests(ids), create_requests(unknown), strict=True):
            seen, never = await admin.post(path, body), await admin.post(path, other)
            assert seen.status_code in {404, 422}, seen.text
            assert strip_request(seen, ids) == strip_request(never, unknown), path
            if "nodes" in body:  # the reference, and nothing else, is wrong
                assert [error["pointer"].rpartition("/")[2] for error in seen.json()["errors"]] in (
                    ["asset_id"],
                    ["workflow_id"],
                )


async def test_an_api_key_that_is_bound_to_projects_sees_no_others(ada: Caller) -> None:
    ids = await create_resources(ada)
    bound_to = (await ada.project())["id"]
    admin = ada.as_user(ada.user_id, scope="keys:admin workspace:admin projects:read projects:write runs:read")
    scopes = ["workspace:admin", "projects:read", "projects:write"]
    key = expect_created(await admin.post("/v1/api-keys", {"name": "x", "scopes": scopes, "project_ids": [bound_to]}))
    robot = ada.with_key(key["secret"])
    listed = (await robot.get("/v1/projects")).json()["items"]
    assert [project["id"] for project in listed] == [bound_to]
    assert (await robot.get(f"/v1/projects/{bound_to}")).status_code == 200
    unknown = create_unknown_ids()
    seen, never = [await robot.get(f"/v1/projects/{found['prj']}") for found in (ids, unknown)]
    assert strip_request(seen, ids) == strip_request(never, unknown)
    assert (await robot.post("/v1/projects", {"name": "x"})).status_code == 403


async def test_lists_have_full_pages_of_what_the_caller_may_see(ada: Caller) -> None:
    bob = ada.as_user("usr_bob")
    mine: list[str] = []
    for number in range(6):
        await ada.project(f"Ada's {number}")
        mine.append((await bob.project(f"Bob's {number}"))["id"])
    found: list[str] = []
    path: str | None = "/v1/projects?limit=2"
    while path is not None:
        page = (await bob.get(path)).json()
        assert len(page["items"]) == 2
        found += [project["id"] for project in page["items"]]
        path = f"/v1/projects?limit=2&cursor={page['next_cursor']}" if page["next_cursor"] else None
    assert found == mine[::-1]
    admin = ada.as_user("usr_root", scope="projects:read workspace:admin")
    assert len((await admin.get("/v1/projects")).json()["items"]) == 12


async def test_an_idempotency_key_of_another_caller_finds_nothing(ada: Caller) -> None:
    headers = {"idempotency-key": "one"}
    for caller in (ada, ada.as_user("usr_bob"), ada.to(new_id())):
        answer = await caller.post("/v1/projects", {"name": "x"}, headers=headers)
        assert "idempotency-replayed" not in answer.headers
