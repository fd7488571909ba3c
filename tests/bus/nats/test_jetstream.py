"""The stream on JetStream: made, checked and brought to what it has to be; a stream of somebody else is not taken."""

from typing import Any

import pytest
from nats.js.api import RetentionPolicy, StreamConfig, SubjectTransform

from bus.nats.jetstream import StreamUnusable, ensure_stream
from bus.settings import NatsSettings
from tests.support.bus.given import (
    STREAM,
    append_project,
    compute_event_ids,
    migrate_components,
    open_client,
    open_process,
    read_stream_ids,
    wait_until_published,
)
from tests.support.servers.nats import NatsForTests

# nats-py is typed in part only.
# pyright: reportUnknownMemberType=false


async def test_a_stream_is_made_checked_and_changed_and_left_alone_when_it_is_right(
    nats_server: NatsForTests,
) -> None:
    async with open_client(nats_server) as client:
        jetstream = client.jetstream()
        await ensure_stream(client, STREAM)
        first = await jetstream.stream_info(STREAM.stream)
        await ensure_stream(client, STREAM)
        assert (await jetstream.stream_info(STREAM.stream)).config == first.config
        await ensure_stream(client, NatsSettings(stream_bytes=STREAM.stream_bytes, stream_hours=1))
        changed = (await jetstream.stream_info(STREAM.stream)).config
        assert (changed.max_age, changed.max_bytes) == (3_600.0, STREAM.stream_bytes)


@pytest.mark.parametrize(
    "limits",
    [{"max_msgs": 2}, {"max_msgs_per_subject": 1}, {"max_msg_size": 100}, {"max_msgs": 2, "discard": "new"}],
    ids=str,
)
async def test_limits_that_would_drop_facts_are_taken_off_a_stream(
    database: str, nats_server: NatsForTests, limits: dict[str, Any]
) -> None:
    await migrate_components(database)
    async with open_client(nats_server) as client:
        await client.jetstream().add_stream(StreamConfig(name=STREAM.stream, subjects=["callsheet.v1.>"], **limits))
    async with open_process(database, nats_server, relays=True) as process:
        last = await append_project(process.log, 10)
        await wait_until_published(process, last)
        assert await read_stream_ids(nats_server) == await compute_event_ids(process, last)


@pytest.mark.parametrize(
    "theirs",
    [
        StreamConfig(name=STREAM.stream, subjects=["theirs.>"]),
        StreamConfig(name=STREAM.stream, subjects=["callsheet.v1.>"], retention=RetentionPolicy.WORK_QUEUE),
        StreamConfig(name="THEIRS", subjects=["callsheet.>"]),
        StreamConfig(
            name=STREAM.stream,
            subjects=["callsheet.v1.>"],
            subject_transform=SubjectTransform(src="callsheet.v1.>", dest="theirs.>"),
        ),
    ],
)
async def test_a_stream_of_somebody_else_is_not_taken(nats_server: NatsForTests, theirs: StreamConfig) -> None:
    async with open_client(nats_server) as client:
        await client.jetstream().add_stream(theirs)
        with pytest.raises(StreamUnusable):
            await ensure_stream(client, STREAM)
