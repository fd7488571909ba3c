"""A cursor belongs to one list: its path, its filters and its order."""

from tests.support.gateway.given import TRANSFORM_CHAIN, Caller, expect_problem


async def test_the_cursor_of_another_list_is_refused(ada: Caller) -> None:
    first = await ada.workflow(TRANSFORM_CHAIN)
    project = f"/v1/projects/{first['project_id']}"
    await ada.workflow(TRANSFORM_CHAIN, first["project_id"])
    other = await ada.workflow(TRANSFORM_CHAIN)
    for _ in range(2):
        await ada.post(f"{project}/assets", {"type": "prompt", "label": "Tone"})
    cursor = (await ada.get(f"{project}/workflows?limit=1")).json()["next_cursor"]
    assert len((await ada.get(f"{project}/workflows?cursor={cursor}")).json()["items"]) == 1
    for path in (
        f"{project}/assets?",
        f"/v1/projects/{other['project_id']}/workflows?",
        f"{project}/workflows?status=active&",
        "/v1/projects?",
        "/v1/tasks?",
        f"/v1/workflows/{first['id']}/versions?",
    ):
        found = expect_problem(await ada.get(f"{path}cursor={cursor}"), 400, "malformed")
        assert [error["parameter"] for error in found["errors"]] == ["cursor"], path


async def test_a_cursor_goes_on_with_another_limit(ada: Caller) -> None:
    names = [f"project {number}" for number in range(4)]
    for name in names:
        await ada.project(name)
    page = (await ada.get("/v1/projects?limit=1&sort=created_at")).json()
    rest = (await ada.get(f"/v1/projects?limit=3&cursor={page['next_cursor']}&sort=created_at")).json()
    assert [item["name"] for item in (*page["items"], *rest["items"])] == names
