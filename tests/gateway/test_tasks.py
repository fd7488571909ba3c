"""The inbox over HTTP, end to end: tasks by assignee and role, and when they disappear."""

from typing import Any

import httpx2

from tests.support.gateway.given import HUMAN as REVIEW_BY_ADA
from tests.support.gateway.given import PATIENCE_SECONDS, Caller, after_write, expect_created, expect_problem
from tests.support.waiting import eventually


def asks(name: str, *assignees: dict[str, str]) -> dict[str, Any]:
    return {"id": name, "kind": "human", "config": {"assignees": list(assignees)}}


BY_ROLE = {"nodes": [asks("look", {"role": "reviewer"}), asks("sign", {"user": "usr_cleo"}, {"role": "owner"})]}


async def start_run(ada: Caller, workflow: dict[str, Any], inputs: dict[str, Any] | None = None) -> httpx2.Response:
    """Start a run and wait until nothing moves in it: then its human steps wait."""
    answer = await ada.post(f"/v1/workflows/{workflow['id']}:run", {"inputs": inputs or {}})
    assert answer.status_code == 202, answer.text
    path = f"/v1/runs/{answer.json()['id']}"

    async def waits() -> bool:
        return (await ada.get(path, headers=after_write(answer))).json()["status"] == "waiting"

    await eventually(waits, what="the run waits", seconds=PATIENCE_SECONDS)
    return answer


async def inbox(caller: Caller, query: str = "") -> list[str]:
    answer = await caller.get(f"/v1/tasks{query}")
    assert answer.status_code == 200, answer.text
    return [task["node"] for task in answer.json()["items"]]


async def becomes(caller: Caller, nodes: list[str], query: str = "") -> None:
    """Wait until the inbox holds just these."""

    async def holds() -> bool:
        return sorted(await inbox(caller, query)) == sorted(nodes)

    await eventually(holds, what=f"the inbox of {caller.user_id} holds {nodes}", seconds=PATIENCE_SECONDS)


async def test_a_task_says_all_that_a_person_needs_to_decide_it(ada: Caller) -> None:
    config = {
        **REVIEW_BY_ADA["nodes"][0]["config"],
        "instructions": "Read it, {{ inputs.name }}.",
        "shows": {"it": "inputs"},
    }
    workflow = await ada.workflow({"nodes": [{**REVIEW_BY_ADA["nodes"][0], "config": config}]})
    run = (await start_run(ada, workflow, {"name": "Ada"})).json()
    await becomes(ada, ["review"])
    (task,) = (await ada.get("/v1/tasks")).json()["items"]
    waiting = (await ada.get(f"/v1/runs/{run['id']}")).json()["steps"]["review"]["waiting"]
    assert task == {
        "run_id": run["id"],
        "node": "review",
        "run_name": "",
        "workflow_id": workflow["id"],
        "workflow_name": "Launch",
        "project_name": "Spring",
        "project_id": workflow["project_id"],
        "attempt": 1,
        "assignees": ["usr_ada"],
        "roles": [],
        "outcomes": ["approve", "reject"],
        "form": config["form"],
        "shown": {"instructions": "Read it, Ada.", "values": {"it": {"name": "Ada"}}},
        "until": None,
        "waiting_since": waiting["waiting_since"],
    }


async def test_a_decided_task_is_gone_for_whoever_reads_after_the_decision(ada: Caller) -> None:
    run = (await start_run(ada, await ada.workflow(REVIEW_BY_ADA))).json()
    await becomes(ada, ["review"])
    decision = {"outcome": "approve", "data": {"note": "fine"}}
    decided = await ada.post(f"/v1/runs/{run['id']}/steps/review:complete", decision)
    assert decided.status_code == 200, decided.text
    left = await ada.get("/v1/tasks", headers=after_write(decided))
    assert left.json() == {"items": [], "next_cursor": None}


async def test_tasks_are_found_by_name_and_by_the_role_in_the_team_as_it_is_now(ada: Caller) -> None:
    bob, cleo, dan = (ada.as_user(user_id) for user_id in ("usr_bob", "usr_cleo", "usr_dan"))
    team = [
        {"user_id": "usr_ada", "role": "owner"},
        {"user_id": "usr_cleo", "role": "editor"},
        {"user_id": "usr_bob", "role": "reviewer"},
    ]
    project = expect_created(await ada.post("/v1/projects", {"name": "Spring", "team": team[1:]}))
    await start_run(ada, await ada.workflow(BY_ROLE, project["id"]))
    await becomes(ada, ["sign"])
    await becomes(bob, ["look"])
    await becomes(cleo, ["sign"])
    assert await inbox(dan) == []
    changed = await ada.patch(
        f"/v1/projects/{project['id']}", {"team": [team[0], {"user_id": "usr_dan", "role": "reviewer"}]}
    )
    assert changed.status_code == 200, changed.text
    assert await inbox(cleo) == [], "who has left the team has no tasks in it"
    seen = await dan.get("/v1/tasks", headers=after_write(changed))
    assert [task["node"] for task in seen.json()["items"]] == ["look"]
    assert await inbox(bob) == []


async def test_members_see_all_tasks_of_their_projects_and_nobody_else_does(ada: Caller) -> None:
    bob, cleo, dan = (ada.as_user(user_id) for user_id in ("usr_bob", "usr_cleo", "usr_dan"))
    team = [{"user_id": "usr_bob", "role": "viewer"}]
    project = expect_created(await ada.post("/v1/projects", {"name": "Spring", "team": team}))
    await start_run(ada, await ada.workflow(BY_ROLE, project["id"]))
    await becomes(bob, ["look", "sign"], "?assigned=all")
    assert await inbox(bob) == []
    assert await inbox(cleo, "?assigned=all") == [], "though a task names them: they are not in the team"
    admin = ada.as_user("usr_admin", scope="runs:read workspace:admin")
    assert sorted(await inbox(admin, "?assigned=all")) == ["look", "sign"]
    assert await inbox(admin) == []
    assert await inbox(dan, "?assigned=all") == []
    stranger = ada.to(workspace_id=type(ada.workspace_id)(int=ada.workspace_id.int ^ 1))
    assert await inbox(stranger, "?assigned=all") == []


async def test_tasks_are_filtered_by_project_workflow_run_and_node(ada: Caller) -> None:
    here, there = await ada.workflow(BY_ROLE), await ada.workflow(REVIEW_BY_ADA)
    first, second = (await start_run(ada, here)).json(), (await start_run(ada, there)).json()
    await becomes(ada, ["sign", "review"])
    assert await inbox(ada, f"?project_id={here['project_id']}") == ["sign"]
    assert await inbox(ada, f"?workflow_id={there['id']}") == ["review"]
    assert await inbox(ada, f"?run_id={first['id']}") == ["sign"]
    assert await inbox(ada, f"?run_id={second['id']}&node=review") == ["review"]
    assert await inbox(ada, f"?run_id={second['id']}&node=sign") == []
    assert await inbox(ada, f"?project_id={here['project_id']}&assigned=all&sort=created_at") == ["look", "sign"]


async def test_tasks_come_in_pages_newest_first_unless_asked_otherwise(ada: Caller) -> None:
    workflow = await ada.workflow(REVIEW_BY_ADA)
    runs = [(await start_run(ada, workflow)).json()["id"] for _ in range(3)]
    await becomes(ada, ["review"] * 3)
    page = await ada.get("/v1/tasks?limit=2")
    cursor = page.json()["next_cursor"]
    assert page.headers["link"].startswith("</v1/tasks?limit=2&cursor=")
    rest = (await ada.get(f"/v1/tasks?limit=2&cursor={cursor}")).json()
    assert [task["run_id"] for task in page.json()["items"] + rest["items"]] == runs[::-1]
    assert rest["next_cursor"] is None
    oldest = (await ada.get("/v1/tasks?sort=created_at")).json()
    assert [task["run_id"] for task in oldest["items"]] == runs


async def test_what_cannot_be_understood_is_a_problem(ada: Caller) -> None:
    expect_problem(await ada.get("/v1/tasks?assigned=us"), 400, "malformed")
    expect_problem(await ada.get("/v1/tasks?run_id=wf_1"), 400, "malformed")
    expect_problem(await ada.get("/v1/tasks?limit=0"), 400, "malformed")
    expect_problem(await ada.get("/v1/tasks?cursor=x"), 400, "malformed")
    expect_problem(await ada.client.get("/v1/tasks"), 401, "unauthenticated")


async def test_a_task_of_another_role_is_seen_by_members_and_decided_by_none_of_them(ada: Caller) -> None:
    roles = {"usr_ed": "editor", "usr_rea": "reviewer", "usr_vic": "viewer"}
    team = [{"user_id": user, "role": role} for user, role in roles.items()]
    project = expect_created(await ada.post("/v1/projects", {"name": "Spring", "team": team}))
    nodes = [asks("edit", {"role": "editor"}), asks("look", {"role": "reviewer"}), asks("sign", {"role": "owner"})]
    run = (await start_run(ada, await ada.workflow({"nodes": nodes}, project["id"]))).json()
    of_role = {"ada": "sign", "ed": "edit", "rea": "look", "vic": None}
    callers = {"ada": ada, **{user.removeprefix("usr_"): ada.as_user(user) for user in roles}}
    for name, own in of_role.items():
        await becomes(callers[name], [] if own is None else [own])
        await becomes(callers[name], ["edit", "look", "sign"], "?assigned=all")
    path = f"/v1/runs/{run['id']}/steps"
    for name, own in of_role.items():
        for node in {"edit", "look", "sign"} - {own}:
            answer = await callers[name].post(f"{path}/{node}:complete", {"outcome": "approve"})
            expect_problem(answer, 403, "not_permitted" if name == "vic" else "not_an_assignee")
    decided = await callers["rea"].post(f"{path}/look:complete", {"outcome": "approve"})
    assert decided.status_code == 200, decided.text
    for caller in callers.values():
        left = await caller.get("/v1/tasks?assigned=all", headers=after_write(decided))
        assert sorted(task["node"] for task in left.json()["items"]) == ["edit", "sign"]


async def test_a_person_whose_role_has_changed_decides_by_the_new_one(ada: Caller) -> None:
    rea = ada.as_user("usr_rea")
    team = [{"user_id": "usr_ada", "role": "owner"}, {"user_id": "usr_rea", "role": "reviewer"}]
    project = expect_created(await ada.post("/v1/projects", {"name": "Spring", "team": team}))
    nodes = [asks("edit", {"role": "editor"}), asks("look", {"role": "reviewer"})]
    run = (await start_run(ada, await ada.workflow({"nodes": nodes}, project["id"]))).json()
    await becomes(rea, ["look"])
    changed = await ada.patch(
        f"/v1/projects/{project['id']}", {"team": [team[0], {"user_id": "usr_rea", "role": "editor"}]}
    )
    assert changed.status_code == 200, changed.text
    path = f"/v1/runs/{run['id']}/steps"
    expect_problem(await rea.post(f"{path}/look:complete", {"outcome": "approve"}), 403, "not_an_assignee")
    assert (await rea.post(f"{path}/edit:complete", {"outcome": "approve"})).status_code == 200
