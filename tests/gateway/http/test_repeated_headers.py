"""Headers on several lines: lists are joined, and what may be sent once is refused."""

import pytest

from tests.support.gateway.given import TRANSFORM_CHAIN, Caller, expect_problem, sign_token

Lines = list[tuple[str, str]]


def write_lines(ada: Caller, *lines: tuple[str, str]) -> Lines:
    token = sign_token(ada.workspace_id, ada.user_id)
    return [("authorization", f"Bearer {token}"), ("content-type", "application/json"), *lines]


async def test_the_tags_of_all_lines_of_if_match_count(ada: Caller) -> None:
    created = await ada.post("/v1/projects", {"name": "Spring"})
    path, current = created.headers["location"], created.headers["etag"]
    for tags in ([current, '"99"'], ['"99"', current]):
        lines = write_lines(ada, *(("if-match", tag) for tag in tags))
        answer = await ada.client.patch(path, content=b'{"name": "Spring"}', headers=lines)
        assert answer.status_code == 200, answer.text
    lines = write_lines(ada, ("if-match", '"98"'), ("if-match", '"99"'))
    expect_problem(await ada.client.patch(path, content=b"{}", headers=lines), 412, "version_mismatch")


@pytest.mark.parametrize("others", [["respond-async", "wait=20"], ["wait=20", "respond-async"]])
async def test_the_preferences_of_all_lines_count(ada: Caller, others: list[str]) -> None:
    workflow = await ada.workflow(TRANSFORM_CHAIN)
    lines = write_lines(ada, *(("prefer", value) for value in others))
    answer = await ada.client.post(f"/v1/workflows/{workflow['id']}:run", content=b"{}", headers=lines)
    assert (answer.status_code, answer.headers["preference-applied"]) == (200, "wait=20")


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("Idempotency-Key", ["a", "b"]),
        ("Idempotency-Key", ["a", "a"]),
        ("Authorization", ["Bearer x"]),
        ("Content-Type", ["application/json"]),
        ("Content-Encoding", ["gzip", "identity"]),
        ("Callsheet-Min-Position", ["1", "2"]),
        ("Last-Event-ID", ["1", "2"]),
        ("Origin", ["https://app.example.com", "https://evil.example.com"]),
    ],
)
async def test_two_lines_of_what_may_be_sent_once_are_refused(ada: Caller, name: str, values: list[str]) -> None:
    lines = write_lines(ada, *((name, value) for value in values))
    answer = await ada.client.post("/v1/projects", content=b'{"name": "x"}', headers=lines)
    assert expect_problem(answer, 400, "malformed")["detail"] == f"`{name}` must be sent once."
    assert (await ada.get("/v1/projects")).json()["items"] == []
