"""Many requests at once: one change per version, one effect per Idempotency-Key, also when the process is killed."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import httpx2
import pytest

from tests.support.callsheet.separate_processes import Started, apart, create_token
from tests.support.gateway.given import PATIENCE_SECONDS, Caller, after_write, expect_problem

AT_ONCE = 50
LIMITED_MAX = 20
ROUNDS = pytest.mark.parametrize("rounds", [4, pytest.param(100, marks=pytest.mark.long)])


async def respect_limits(send: Callable[[], Awaitable[httpx2.Response]]) -> httpx2.Response:
    """Send a request again after a 429, as long as the response says: what is tested is not how many pass at once."""
    for _ in range(LIMITED_MAX):
        answer = await send()
        if answer.status_code != 429:
            return answer
        await asyncio.sleep(float(answer.headers["retry-after"]))
    raise AssertionError("refused by the rate limit again and again")


@ROUNDS
async def test_of_many_changes_of_one_version_one_is_made(ada: Caller, rounds: int) -> None:
    created = await ada.post("/v1/projects", {"name": "Spring"})
    path, tag = created.headers["location"], created.headers["etag"]
    for number in range(rounds):
        names = [f"{number} {index}" for index in range(AT_ONCE)]
        match = {"if-match": tag}
        changes = [partial(ada.patch, path, {"name": name}, headers=match) for name in names]
        answers = await asyncio.gather(*map(respect_limits, changes))
        assert Counter(answer.status_code for answer in answers) == {200: 1, 412: AT_ONCE - 1}
        for answer in answers:
            if answer.status_code == 412:
                expect_problem(answer, 412, "version_mismatch")
        (made,) = (answer for answer in answers if answer.status_code == 200)
        tag = made.headers["etag"]
        assert (await ada.get(path)).json() == made.json()


@ROUNDS
async def test_many_requests_with_one_key_have_one_effect_and_equal_answers(ada: Caller, rounds: int) -> None:
    last: httpx2.Response | None = None
    for number in range(rounds):
        key = {"idempotency-key": f"key-{number}"}
        body = {"name": f"project {number}"}
        creation = partial(ada.post, "/v1/projects", body, headers=key)
        answers = await asyncio.gather(*(respect_limits(creation) for _ in range(AT_ONCE)))
        assert {(answer.status_code, answer.content) for answer in answers} == {(201, answers[0].content)}
        assert sum("idempotency-replayed" not in answer.headers for answer in answers) == 1
        last = answers[0]
    assert last is not None
    listed = await ada.get("/v1/projects?limit=200", headers=after_write(last))
    assert len(listed.json()["items"]) == rounds


async def send_until_answered(client: httpx2.AsyncClient, key: str, name: str) -> httpx2.Response | None:
    """Send a request once; None if the process died before it answered."""
    try:
        return await respect_limits(
            partial(client.post, "/v1/projects", json={"name": name}, headers={"idempotency-key": key})
        )
    except httpx2.TransportError:
        return None


def open_client(serving: Started, token: str) -> httpx2.AsyncClient:
    assert serving.url is not None
    limits = httpx2.Limits(max_connections=AT_ONCE)
    headers = {"authorization": f"Bearer {token}"}
    return httpx2.AsyncClient(base_url=serving.url, headers=headers, limits=limits, timeout=PATIENCE_SECONDS)


async def test_a_killed_process_leaves_one_effect_for_each_key(database: str, tmp_path: Path) -> None:
    keys = [f"key-{index % 10}" for index in range(AT_ONCE)]
    token = create_token(tmp_path)
    with apart(database, tmp_path, "serve", "--port", "0") as serving:
        async with open_client(serving, token) as client:
            sent = [asyncio.create_task(send_until_answered(client, key, key)) for key in keys]
            await asyncio.wait(sent, return_when=asyncio.FIRST_COMPLETED)  # some are committed, some are not
            serving.process.kill()
            first = await asyncio.gather(*sent)
    with (
        apart(database, tmp_path, "serve", "--port", "0") as serving,
        apart(database, tmp_path, "project"),
    ):
        async with open_client(serving, token) as client:
            again = await asyncio.gather(*(send_until_answered(client, key, key) for key in keys))
            by_key: dict[str, set[bytes]] = {key: set() for key in keys}
            for key, answer in zip(keys + keys, [*first, *again], strict=True):
                if answer is not None:
                    assert answer.status_code == 201, answer.text
                    by_key[key].add(answer.content)
            assert all(len(contents) == 1 for contents in by_key.values()), "the answers to one key are equal"
            last = max(int(answer.headers["callsheet-position"]) for answer in again if answer is not None)
            listed = await client.get("/v1/projects?limit=200", headers={"callsheet-min-position": str(last)})
    assert sorted(item["name"] for item in listed.json()["items"]) == sorted(set(keys))
