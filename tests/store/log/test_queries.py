"""Reading: a stream by version, the log by position, with filters, and events that this code cannot read."""

from uuid import uuid4

import psycopg
import pytest

from domain.workflow import WorkflowArchived, WorkflowRenamed
from store.errors import UnreadableEvent
from store.log.log import STRETCH, Log
from store.log.queries import LogFilter
from store.log.records import Unreadable
from store.settings import StoreSettings
from tests.support.servers.postgres import EVERY_POSTGRES
from tests.support.store.given import CREATED, RENAMED, WORKSPACE, create_append, open_log

INSERT = """
insert into events (notification_id, originator_id, originator_version, workspace_id, topic, state, state_format,
                    key_id, metadata, recorded_at)
values (1, %(stream)s, 1, %(stream)s, %(topic)s, %(state)s, %(format)s, %(key)s, %(metadata)s, now())
"""
METADATA_JSON = '{"actor":{"kind":"user","id":"ada"},"correlation_id":"c"}'


def change(conninfo: str, statement: str, parameters: dict[str, object] | None = None) -> None:
    with psycopg.connect(conninfo, autocommit=True) as connection:
        connection.execute(statement.encode(), parameters)


@EVERY_POSTGRES
async def test_a_stream_is_read_page_by_page_in_order_of_version(database: str) -> None:
    stream = uuid4()
    async with open_log(database) as log:
        await log.append(create_append(uuid4(), 0))
        await log.append(create_append(stream, 0, CREATED, *[RENAMED] * 4))
        assert [event.version for event in await log.read_stream(stream)] == [1, 2, 3, 4, 5]
        assert [event.version for event in await log.read_stream(stream, after=1, limit=2)] == [2, 3]
        assert await log.read_stream(stream, after=5) == []
        assert await log.read_stream(uuid4()) == []


@EVERY_POSTGRES
async def test_every_filter_and_any_of_them_together(database: str) -> None:
    first, second, project, other_workspace = uuid4(), uuid4(), uuid4(), uuid4()
    async with open_log(database) as log:
        await log.append(create_append(first, 0, CREATED, RENAMED))
        await log.append(create_append(second, 0, WorkflowRenamed(name="W"), WorkflowArchived(), project=project))
        await log.append(create_append(uuid4(), 0, workspace=other_workspace))

        async def positions(**only: object) -> list[int]:
            page = await log.read_log(after=0, limit=10, only=LogFilter(**only))  # pyright: ignore[reportArgumentType]  # filters of several types
            assert page.through == 5
            return [event.position for event in page.events]

        assert await positions() == [1, 2, 3, 4, 5]
        assert await positions(workspace_id=WORKSPACE) == [1, 2, 3, 4]
        assert await positions(workspace_id=other_workspace) == [5]
        assert await positions(project_id=project) == [3, 4]
        assert await positions(stream_id=first) == [1, 2]
        assert await positions(topics=("project.created", "workflow.archived")) == [1, 4, 5]
        assert await positions(workspace_id=WORKSPACE, topics=("project.created",)) == [1]
        assert await positions(topics=()) == []


@EVERY_POSTGRES
async def test_a_page_says_how_far_it_looked(database: str) -> None:
    async with open_log(database) as log:
        await log.append(create_append(uuid4(), 0, CREATED, *[RENAMED] * 5))
        full = await log.read_log(after=0, limit=2)
        assert ([event.position for event in full.events], full.through) == ([1, 2], 2)
        rare = await log.read_log(after=2, limit=2, only=LogFilter(topics=("project.created",)))
        assert (rare.events, rare.through) == ((), 6)
        end = await log.read_log(after=6, limit=2)
        assert (end.events, end.through) == ((), 6)
        beyond = await log.read_log(after=60, limit=2)
        assert (beyond.events, beyond.through) == ((), 60)
        with pytest.raises(ValueError, match="at least one"):
            await log.read_log(after=0, limit=0)


@EVERY_POSTGRES
async def test_what_follows_a_position_is_read_without_a_gap(database: str) -> None:
    async with open_log(database) as log:
        await log.append(create_append(uuid4(), 0, CREATED, *[RENAMED] * 5))

        async def following(after: int, limit: int) -> tuple[list[int], int]:
            page = await log.read_next(after=after, limit=limit)
            return [event.position for event in page.events], page.through

        assert await following(0, 4) == ([1, 2, 3, 4], 4)
        assert await following(4, 4) == ([5, 6], 6)
        assert await following(6, 4) == ([], 6)
        change(database, "update events set state_format = 0 where notification_id < 6")
        assert await following(0, 4) == ([], 4), "records of outside libraries are passed over, however many"
        assert await following(4, 4) == ([6], 6)


async def test_one_read_looks_at_a_bounded_stretch_of_the_log(database: str) -> None:
    change(database, "update log_head set position = %(position)s", {"position": STRETCH + 7})
    async with open_log(database) as log:
        page = await log.read_log(after=0, limit=10)
        assert (page.events, page.through) == ((), STRETCH)
        assert (await log.read_log(after=page.through, limit=10)).through == STRETCH + 7


@EVERY_POSTGRES
@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ({"topic": "run.dreamt", "state": b'{"fact":"run.dreamt"}'}, "run.dreamt"),
        ({"state": b'{"fact":"project.renamed","name":7}'}, "name"),
        ({"state": b"not JSON"}, "malformed"),
        ({"state": b'{"fact":"project.renamed","name":"\xff"}'}, "utf-8"),
        ({"state": b'{"fact":"project.renamed","later":' + b"[" * 100_000}, "recursion"),
        ({"format": 2}, "does not know format 2 with key None"),
        ({"key": "k1"}, "does not know format 1 with key k1"),
        ({"metadata": "{}"}, "metadata: "),
    ],
)
async def test_an_event_that_this_code_cannot_read_is_named(
    database: str, fault: dict[str, object], reason: str
) -> None:
    stream = uuid4()
    event: dict[str, object] = {
        "stream": stream,
        "topic": "project.renamed",
        "state": b'{"fact":"project.renamed","name":"R"}',
        "format": 1,
        "key": None,
        "metadata": METADATA_JSON,
    }
    change(database, INSERT, {**event, **fault})
    change(database, "update log_head set position = 1")
    async with open_log(database) as log:
        with pytest.raises(UnreadableEvent, match=f"event 1 .*{reason}") as unreadable:
            await log.read_stream(stream)
        assert unreadable.value.position == 1
        (event_read,) = (await log.read_log(after=0, limit=10)).events
        assert isinstance(event_read.fact, Unreadable)
        assert reason in event_read.fact.reason
        assert (event_read.position, event_read.stream_id) == (1, stream), "it keeps its place, and holds nobody up"


async def test_a_field_that_a_newer_version_added_is_passed_over(database: str) -> None:
    newer = b'{"fact":"project.renamed","name":"R","colour":"red"}'
    event = {"stream": uuid4(), "topic": "project.renamed", "state": newer, "format": 1, "key": None}
    change(database, INSERT, {**event, "metadata": METADATA_JSON})
    change(database, "update log_head set position = 1")
    async with open_log(database) as log:
        assert [event.fact for event in (await log.read_log(after=0, limit=1)).events] == [
            type(RENAMED)(name="R"),
        ]


async def test_a_log_keeps_its_id_and_another_has_another(database: str) -> None:
    async with Log(database, StoreSettings()).open_readers() as first:
        pass
    async with Log(database, StoreSettings()).open_readers() as again:
        assert again == first
    change(database, "update log_head set log_id = gen_random_uuid()")
    async with Log(database, StoreSettings()).open_readers() as restored:
        assert restored != first
