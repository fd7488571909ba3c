"""The content store and the payloads that refer to it."""

import hashlib
from uuid import uuid4

import pytest

from domain.expressions.jmespath_queries import compile_query
from domain.payload import INLINE_BYTES, Payload
from store.contents import ContentStore, PostgresContents, encode_content, inline, keep, resolve
from store.errors import ContentMissing, ContentTooLarge, TooDeep, UnstorableText
from tests.support.servers.postgres import EVERY_POSTGRES
from tests.support.store.given import WORKSPACE, open_log

LARGE = "é" * INLINE_BYTES


@EVERY_POSTGRES
async def test_a_content_comes_back_as_it_was_put_under_its_hash(database: str) -> None:
    content = bytes(range(256)) * 1_000
    async with open_log(database) as log:
        contents: ContentStore = PostgresContents(log.sessions)
        reference = await contents.put(WORKSPACE, content, "image/png")
        assert reference == f"sha256:{hashlib.sha256(content).hexdigest()}"
        assert await contents.get(WORKSPACE, reference) == (content, "image/png")


async def test_a_content_that_is_put_again_stays_as_it_was(database: str) -> None:
    async with open_log(database) as log:
        contents = PostgresContents(log.sessions)
        first = await contents.put(WORKSPACE, b"same", "text/plain")
        assert await contents.put(WORKSPACE, b"same", "text/html") == first
        assert await contents.get(WORKSPACE, first) == (b"same", "text/plain")


async def test_a_content_of_another_workspace_is_not_to_be_had(database: str) -> None:
    async with open_log(database) as log:
        contents = PostgresContents(log.sessions)
        reference = await contents.put(WORKSPACE, b"ours", "text/plain")
        with pytest.raises(ContentMissing):
            await contents.get(uuid4(), reference)


@pytest.mark.parametrize("reference", ["", "sha256:", "sha256:" + "0" * 64, "sha256:" + "G" * 64, "md5:" + "0" * 32])
async def test_a_reference_that_leads_nowhere_is_missing(database: str, reference: str) -> None:
    async with open_log(database) as log:
        with pytest.raises(ContentMissing):
            await PostgresContents(log.sessions).get(WORKSPACE, reference)


async def test_a_content_over_the_limit_is_refused(database: str) -> None:
    async with open_log(database) as log:
        contents = PostgresContents(log.sessions, content_bytes_max=10)
        await contents.put(WORKSPACE, b"x" * 10, "text/plain")
        with pytest.raises(ContentTooLarge, match="11 bytes exceeds the limit of 10"):
            await contents.put(WORKSPACE, b"x" * 11, "text/plain")


async def test_a_small_value_stands_in_the_payload_and_a_large_one_is_referred_to(database: str) -> None:
    async with open_log(database) as log:
        contents = PostgresContents(log.sessions)
        small = await keep(contents, WORKSPACE, {"headline": "Hi"})
        large = await keep(contents, WORKSPACE, {"body": LARGE})
        assert small == Payload(value={"headline": "Hi"})
        assert large.value is None
        assert large.media_type == "application/json"
        assert large.bytes == len(LARGE.encode()) + len('{"body":""}')
        assert await resolve(contents, WORKSPACE, small) == {"headline": "Hi"}
        assert await resolve(contents, WORKSPACE, large) == {"body": LARGE}


def test_a_value_of_just_the_size_is_inline_and_one_more_is_not() -> None:
    most = INLINE_BYTES - len('""')
    assert inline("x" * most) == Payload(value="x" * most)
    assert inline("x" * (most + 1)) is None


async def test_a_value_that_is_written_many_times_is_refused_before_it_is_written(database: str) -> None:
    text = "x" * 5_000_000
    value: dict[str, object] = {"all": [{"one": text, "two": [text]}] * 100_000}
    assert inline(value) is None
    async with open_log(database) as log:
        with pytest.raises(ContentTooLarge):
            await keep(PostgresContents(log.sessions), WORKSPACE, value)


@pytest.mark.parametrize("text", ["a\0b", "\ud800", '\\"\0'])
def test_text_that_postgresql_cannot_hold_is_refused(text: str) -> None:
    with pytest.raises(UnstorableText):
        inline({"deep": [text]})


@pytest.mark.parametrize("text", ["\\u0000", "\\\\u0000", "u0000", '"\\u0000"'])
def test_text_that_only_looks_like_nul_is_kept(text: str) -> None:
    assert inline(text) == Payload(value=text)


@pytest.mark.parametrize("depth", [101, 960, 100_000])
async def test_a_value_that_some_reader_could_not_read_is_refused(database: str, depth: int) -> None:
    deep: object = "x"
    for _ in range(depth):
        deep = [deep]
    with pytest.raises(TooDeep, match="more than 100 levels deep"):
        encode_content(deep)
    async with open_log(database) as log:
        with pytest.raises(TooDeep):
            await keep(PostgresContents(log.sessions), WORKSPACE, deep)


def test_a_wide_value_is_not_taken_for_a_deep_one() -> None:
    wide: list[object] = [[1]] * 1_000
    assert inline(wide) == Payload(value=wide)


def test_what_is_no_json_is_refused() -> None:
    with pytest.raises(UnstorableText, match="not JSON-serializable"):
        inline([compile_query])
