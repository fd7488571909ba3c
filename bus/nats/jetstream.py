"""The JetStream stream that keeps facts for outside subscribers: created, and checked at every start."""

# nats-py is typed in part only.
# pyright: reportUnknownMemberType=false

from typing import Final

import structlog
from nats.aio.client import Client
from nats.errors import Error
from nats.js import JetStreamContext
from nats.js.api import DiscardPolicy, RetentionPolicy, StorageType, StreamConfig
from nats.js.errors import APIError, NotFoundError

from bus.nats.subjects import EVERY_FACT
from bus.settings import NatsSettings
from store.log.codec import MAX_FACT_BYTES

LARGEST_MESSAGE: Final = 2 * MAX_FACT_BYTES
"""A fact of the largest size in its envelope, also in base64."""


class StreamUnusable(Exception):  # noqa: N818  # a message for the operator of NATS
    """The stream cannot be created or configured; the message says what an operator has to fix."""


async def ensure_stream(client: Client, settings: NatsSettings) -> None:
    """Create the stream, or update it to the settings; a no-op when it matches them.

    Raises StreamUnusable.
    """
    if client.max_payload < LARGEST_MESSAGE:
        raise StreamUnusable(
            f"NATS accepts messages of {client.max_payload} bytes, but facts need {LARGEST_MESSAGE}; raise it"
        )
    jetstream = client.jetstream()
    try:
        await _ensure(jetstream, settings)
    except APIError as refused:
        raise StreamUnusable(f"the stream {settings.stream}: {refused.description or refused}") from refused
    except (Error, TimeoutError) as silent:
        raise StreamUnusable(f"JetStream does not answer: {silent or type(silent).__name__}") from silent


async def _ensure(jetstream: JetStreamContext, settings: NatsSettings) -> None:
    try:
        there = (await jetstream.stream_info(settings.stream)).config
    except NotFoundError:
        await jetstream.add_stream(_build_config(StreamConfig(), settings))
        structlog.get_logger("bus.stream").info("stream.made", stream=settings.stream)
        return
    others = there.retention not in (None, RetentionPolicy.LIMITS) or there.sealed or there.no_ack
    if others or there.mirror is not None or there.subject_transform is not None:
        raise StreamUnusable(
            f"the stream {settings.stream} exists with other retention or acknowledgements: rename or delete it"
        )
    if there.subjects and EVERY_FACT not in there.subjects:
        raise StreamUnusable(f"the stream {settings.stream} exists for other subjects: {', '.join(there.subjects)}")
    wanted = _build_config(there, settings)
    if wanted != there:
        await jetstream.update_stream(wanted)
        structlog.get_logger("bus.stream").info("stream.changed", stream=settings.stream)


def _build_config(there: StreamConfig, settings: NatsSettings) -> StreamConfig:
    """Return the configuration with our fields set; others are left as they are, an operator may have set them."""
    return there.evolve(
        name=settings.stream,
        subjects=there.subjects or [EVERY_FACT],
        retention=RetentionPolicy.LIMITS,
        storage=there.storage or StorageType.FILE,
        discard=DiscardPolicy.OLD,
        num_replicas=settings.stream_replicas,
        max_age=settings.stream_seconds,
        max_bytes=settings.stream_bytes,
        max_msgs=-1,  # no limit but the two above: it would drop facts that subscribers have not seen
        max_msgs_per_subject=-1,
        max_msg_size=-1,
        duplicate_window=min(settings.stream_duplicate_seconds, settings.stream_seconds),
        allow_direct=True,
    )
