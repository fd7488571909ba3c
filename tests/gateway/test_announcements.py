"""Announcements over HTTP: published, listed and withdrawn."""

from tests.support.gateway.given import Caller, expect_created, expect_problem, new_id, pointers


async def test_an_announcement_is_published_listed_and_withdrawn(ada: Caller) -> None:
    admin = ada.as_user("usr_ops", scope="announcements:write")
    body = {"title": "Maintenance", "message": "On Sunday.", "level": "warning", "ends_at": "2099-01-01T00:00:00Z"}
    published = expect_created(await admin.post("/v1/announcements", body))
    assert published.items() >= {**body, "status": "published", "published_by": "usr_ops"}.items()
    assert (await ada.get("/v1/announcements")).json()["items"] == [published]
    assert (await ada.to(new_id()).get("/v1/announcements")).json()["items"] == []
    withdrawn = await admin.post(f"/v1/announcements/{published['id']}:withdraw")
    assert withdrawn.json()["status"] == "withdrawn"
    again = await admin.post(f"/v1/announcements/{published['id']}:withdraw")
    assert again.headers["etag"] == withdrawn.headers["etag"]
    assert (await ada.get("/v1/announcements?status=published")).json()["items"] == []


async def test_an_announcement_that_has_ended_already_is_refused(ada: Caller) -> None:
    admin = ada.as_user("usr_ops", scope="announcements:write")
    answer = await admin.post("/v1/announcements", {"title": "x", "ends_at": "2020-01-01T00:00:00Z"})
    assert pointers(expect_problem(answer, 422, "body_unacceptable")) == ["/ends_at"]
    expect_problem(await ada.post("/v1/announcements", {"title": "x"}), 403, "not_permitted")
