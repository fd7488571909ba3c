"""Bodies: whatever is sent, the answer is a problem that says all that is wrong, and never a bug."""

from collections.abc import AsyncIterator

import httpx2
import pytest

from tests.support.gateway.given import JSON, TRANSFORM_CHAIN, Caller, expect_problem, pointers


async def send_project(ada: Caller, content: bytes, **headers: str) -> httpx2.Response:
    return await ada.ask("POST", "/v1/projects", content=content, headers={**JSON, **headers})


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b'{"name": "x"} trailing',
        b'{"name": NaN}',
        b"\xef\xbb\xbf{}",
        b'{"name": "\x00"}',
        b'{"name": "\\ud800"}',
    ],
)
async def test_malformed_json_is_refused(ada: Caller, content: bytes) -> None:
    expect_problem(await send_project(ada, content), 400, "malformed")


@pytest.mark.parametrize("content", [b"", b" \n"])
async def test_a_body_that_is_needed_and_empty_is_said_to_be_empty(ada: Caller, content: bytes) -> None:
    assert (
        expect_problem(await send_project(ada, content), 400, "malformed")["detail"] == "The body is empty. Send JSON."
    )


@pytest.mark.parametrize(
    ("content", "where"),
    [
        (b'{"name": "\\ud800"}', ["/name"]),
        (b'{"name": "\\udc00"}', ["/name"]),
        (b'{"name": "\\ud83d\\u0041"}', ["/name"]),
        (b'{"settings": {"\\udfff": 1}, "name": "x"}', ["/settings/?"]),
    ],
)
async def test_half_a_surrogate_pair_is_refused_and_named(ada: Caller, content: bytes, where: list[str]) -> None:
    found = expect_problem(await send_project(ada, content), 400, "malformed")
    assert "unpaired surrogate" in found["detail"]
    assert pointers(found) == where


@pytest.mark.parametrize(
    "content", [b'{"name": "\\ud83d\\ude00", "n": NaN}', b'{"name": "\\ud800"', b'["\\ud800", ' + b"[" * 100_000]
)
async def test_what_is_no_json_besides_is_said_to_be_that(ada: Caller, content: bytes) -> None:
    assert "is not JSON" in expect_problem(await send_project(ada, content), 400, "malformed")["detail"]


async def test_a_whole_surrogate_pair_is_a_character(ada: Caller) -> None:
    assert (await send_project(ada, b'{"name": "\\ud83d\\ude00"}')).json()["name"] == "\U0001f600"


@pytest.mark.parametrize("content", [b'{"name": "\xff"}', b'{"\xc3\x28": 1}', '{"name": "é"}'.encode("latin-1")])
async def test_a_body_that_is_not_utf_8_is_refused(ada: Caller, content: bytes) -> None:
    expect_problem(await send_project(ada, content), 400, "malformed")


@pytest.mark.parametrize(
    ("content", "where"),
    [
        (b'{"name": "a\\u0000b"}', ["/name"]),
        (b'{"name": "x", "settings": {"a": [{"b\\u0000": "\\u0000"}]}}', ["/settings/a/0/b\0", "/settings/a/0/b\0"]),
    ],
)
async def test_nul_characters_are_refused_wherever_they_are(ada: Caller, content: bytes, where: list[str]) -> None:
    assert pointers(expect_problem(await send_project(ada, content), 400, "malformed")) == where


async def test_an_escaped_backslash_before_u0000_is_text_like_any_other(ada: Caller) -> None:
    answer = await send_project(ada, b'{"name": "\\\\u0000"}')
    assert answer.status_code == 201
    assert answer.json()["name"] == "\\u0000"


@pytest.mark.parametrize("depth", [33, 500, 20_000])
async def test_deeply_nested_bodies_are_refused(ada: Caller, depth: int) -> None:
    inner = b'{"a":' * depth + b"1" + b"}" * depth
    expect_problem(await send_project(ada, b'{"name": "x", "settings": ' + inner + b"}"), 400, "malformed")


async def test_many_shallow_brackets_are_no_depth(ada: Caller) -> None:
    lists: list[list[int]] = [[] for _ in range(500)]
    answer = await ada.post("/v1/projects", {"name": "x", "settings": {"lists": lists}})
    assert answer.status_code == 201


async def test_an_oversized_body_is_refused_by_what_it_announces(ada: Caller) -> None:
    expect_problem(await send_project(ada, b'{"name": "' + b"x" * 200_000 + b'"}'), 413, "body_too_large")


async def test_an_oversized_body_of_unknown_length_is_refused_while_it_comes(ada: Caller) -> None:
    async def parts() -> AsyncIterator[bytes]:
        yield b'{"name": "'
        for _ in range(20):
            yield b"x" * 10_000
        yield b'"}'

    answer = await ada.ask("POST", "/v1/projects", content=parts(), headers=JSON)
    expect_problem(answer, 413, "body_too_large")


@pytest.mark.parametrize(
    "media_type",
    [
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/json; charset=utf-16",
        "application/merge-patch+json",
    ],
)
async def test_a_wrong_content_type_is_refused(ada: Caller, media_type: str) -> None:
    answer = await ada.ask("POST", "/v1/projects", content=b'{"name": "x"}', headers={"content-type": media_type})
    expect_problem(answer, 415, "media_type_unsupported")


async def test_an_absent_content_type_is_refused(ada: Caller) -> None:
    expect_problem(await ada.ask("POST", "/v1/projects", content=b'{"name": "x"}'), 415, "media_type_unsupported")


@pytest.mark.parametrize("media_type", ["application/json;charset=UTF-8", 'Application/JSON; charset="utf-8"'])
async def test_json_may_say_that_it_is_utf_8(ada: Caller, media_type: str) -> None:
    answer = await ada.ask("POST", "/v1/projects", content=b'{"name": "x"}', headers={"content-type": media_type})
    assert answer.status_code == 201


async def test_all_faults_of_a_body_are_told_at_once(ada: Caller) -> None:
    body = {
        "name": "",
        "nmae": "x",
        "team": [{"user_id": 1, "role": "king"}, {"role": "owner", "x": 1}],
        "settings": [],
    }
    found = expect_problem(await ada.post("/v1/projects", body), 422, "body_unacceptable")
    assert pointers(found) == [
        "/name",
        "/nmae",
        "/team/0/user_id",
        "/team/0/role",
        "/team/1/user_id",
        "/team/1/x",
        "/settings",
    ]


@pytest.mark.parametrize("content", [b"[]", b'"text"', b"1", b"null", b"true"])
async def test_a_body_that_is_no_object_is_refused(ada: Caller, content: bytes) -> None:
    assert pointers(expect_problem(await send_project(ada, content), 422, "body_unacceptable")) == [""]


async def test_unknown_fields_are_refused_everywhere(ada: Caller) -> None:
    project = await ada.project()
    workflow = await ada.workflow(TRANSFORM_CHAIN, project["id"])
    for method, path in (
        ("PATCH", f"/v1/projects/{project['id']}"),
        ("PATCH", f"/v1/workflows/{workflow['id']}"),
        ("POST", f"/v1/workflows/{workflow['id']}:run"),
        ("POST", f"/v1/workflows/{workflow['id']}:duplicate"),
    ):
        answer = await ada.ask(method, path, {"surprise": 1})
        assert pointers(expect_problem(answer, 422, "body_unacceptable")) == ["/surprise"]


async def test_a_member_named_twice_is_refused(ada: Caller) -> None:
    team = [{"user_id": "usr_bob", "role": "editor"}, {"user_id": "usr_bob", "role": "viewer"}]
    found = expect_problem(await ada.post("/v1/projects", {"name": "x", "team": team}), 422, "body_unacceptable")
    assert pointers(found) == ["/team/0/user_id", "/team/1/user_id"]


async def test_settings_too_large_for_a_fact_are_refused(ada: Caller) -> None:
    project = await ada.project()
    texts = {str(n): "\x01" * 1_000 for n in range(15)}  # a control character takes six bytes in JSON
    statuses = [
        (await ada.patch(f"/v1/projects/{project['id']}", {"settings": {key: texts}})).status_code for key in "abc"
    ]
    assert statuses == [200, 200, 413]
    answer = await ada.patch(f"/v1/projects/{project['id']}", {"settings": {"c": texts}})
    expect_problem(answer, 413, "content_too_large")


async def test_huge_numbers_are_kept_or_refused_but_never_a_bug(ada: Caller) -> None:
    workflow = await ada.workflow(TRANSFORM_CHAIN)
    path = f"/v1/workflows/{workflow['id']}:run"
    kept = await ada.ask("POST", path, content=b'{"inputs": {"n": ' + b"9" * 40 + b"}}", headers=JSON)
    assert kept.status_code == 202
    assert kept.json()["inputs"] == {"n": int("9" * 40)}
    for number in (b"1e999", b"9" * 5_000):
        answer = await ada.ask("POST", path, content=b'{"inputs": {"n": ' + number + b"}}", headers=JSON)
        expect_problem(answer, 400, "malformed")
