"""gzip: bodies of requests within the size limit, and large JSON responses for callers that accept it."""

import gzip
import zlib

import pytest

from tests.support.gateway.given import JSON, TRANSFORM_CHAIN, Caller, expect_problem

GZIP = {**JSON, "content-encoding": "gzip"}


async def test_a_compressed_body_is_read(ada: Caller) -> None:
    answer = await ada.ask("POST", "/v1/projects", content=gzip.compress(b'{"name": "Spring"}'), headers=GZIP)
    assert (answer.status_code, answer.json()["name"]) == (201, "Spring")


@pytest.mark.parametrize(
    ("content", "status", "code"),
    [
        (gzip.compress(b" " * 200_000), 413, "body_too_large"),
        (gzip.compress(b" " * 50_000_000), 413, "body_too_large"),
        (b'{"name": "Spring"}', 400, "malformed"),
        (b"", 400, "malformed"),
        (gzip.compress(b'{"name": "Spring"}')[:-4], 400, "malformed"),
        (gzip.compress(b'{"name":') + gzip.compress(b'"x"}'), 400, "malformed"),
        (zlib.compress(b'{"name": "Spring"}'), 400, "malformed"),
    ],
    ids=["too large", "a bomb", "not compressed", "empty", "cut off", "two streams", "zlib"],
)
async def test_a_compressed_body_is_bounded_and_whole(ada: Caller, content: bytes, status: int, code: str) -> None:
    expect_problem(await ada.ask("POST", "/v1/projects", content=content, headers=GZIP), status, code)


@pytest.mark.parametrize("coding", ["br", "deflate", "gzip, gzip", "zstd"])
async def test_another_coding_is_refused_with_those_that_are_accepted(ada: Caller, coding: str) -> None:
    answer = await ada.ask("POST", "/v1/projects", content=b"{}", headers={**JSON, "content-encoding": coding})
    expect_problem(answer, 415, "media_type_unsupported")
    assert answer.headers["accept-encoding"] == "gzip, identity"


async def test_identity_is_no_coding(ada: Caller) -> None:
    headers = {**JSON, "content-encoding": "identity"}
    assert (await ada.ask("POST", "/v1/projects", content=b'{"name": "x"}', headers=headers)).status_code == 201


async def test_a_large_response_is_compressed_for_those_who_accept_it(ada: Caller) -> None:
    run = await ada.ended_run(TRANSFORM_CHAIN, {"text": "word " * 5_000})
    path = f"/v1/runs/{run['id']}"
    plain = await ada.get(path, headers={"accept-encoding": "identity"})
    packed = await ada.get(path, headers={"accept-encoding": "br, gzip;q=0.5"})
    assert "content-encoding" not in plain.headers
    assert packed.headers["content-encoding"] == "gzip"
    assert int(packed.headers["content-length"]) < int(plain.headers["content-length"]) / 10
    assert packed.content == plain.content
    assert packed.headers["etag"] == f"W/{plain.headers['etag']}"
    assert plain.headers["vary"] == packed.headers["vary"] == "Accept-Encoding, Origin"
    again = await ada.get(path, headers={"if-none-match": packed.headers["etag"]})
    assert again.status_code == 304


async def test_a_small_response_is_not_compressed(ada: Caller) -> None:
    answer = await ada.get("/v1/projects", headers={"accept-encoding": "gzip"})
    assert "content-encoding" not in answer.headers


async def test_too_many_values_are_refused(ada: Caller) -> None:
    workflow = await ada.workflow(TRANSFORM_CHAIN)
    content = b'{"inputs": {"n": [' + b",".join([b"1"] * 62_001) + b"]}}"
    answer = await ada.ask("POST", f"/v1/workflows/{workflow['id']}:run", content=content, headers=JSON)
    assert "62000 values" in expect_problem(answer, 400, "malformed")["detail"]
