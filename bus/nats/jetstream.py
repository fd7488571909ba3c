"""The stream on JetStream that keeps facts for outside subscribers: set up, and checked at every start."""

# nats-py is typed in part only.
# pyright: reportUnknownMemberType=false

from typing import Final

import structlog
from msgspec import Struct
from nats.aio.client import Client
from nats.errors import Error
from nats.js import JetStreamContext
from nats.js.api import DiscardPolicy, RetentionPolicy, StorageType, StreamConfig
from nats.js.errors import APIError, NotFoundError

from bus.nats.subjects import EVERY_FACT
from store.log.codec import MAX_FACT_BYTES

LARGEST_MESSAGE: Final = 2 * MAX_FACT_BYTES
"""A fact in its envelope, also when its bytes are written in base64."""

DUPLICATE_WINDOW_SECONDS: Final = 120.0


class StreamBounds(Struct, frozen=True, kw_only=True):
    """What the stream keeps; `callsheet.settings.load` names and documents each."""

    name: str = "CALLSHEET"
    replicas: int = 1
    keep_seconds: float = 7 * 24 * 3_600.0
    keep_bytes: int = 1024 * 1024 * 1024


class StreamUnusable(Exception):  # noqa: N818  # an answer to the person who runs NATS
    """The stream cannot be had as it has to be; the message says what an operator has to mend."""


async def ensure_stream(client: Client, bounds: StreamBounds) -> None:
    """Make the stream, or bring it to what the settings say; nothing happens when it is so already.

    Raises StreamUnusable.
    """
    if client.max_payload < LARGEST_MESSAGE:
        raise StreamUnusable(f"NATS takes {client.max_payload} bytes a message, and facts need {LARGEST_MESSAGE}")
    jetstream = client.jetstream()
    try:
        await _ensure(jetstream, bounds)
    except APIError as refused:
        raise StreamUnusable(f"the stream {bounds.name}: {refused.description or refused}") from refused
    except (Error, TimeoutError) as silent:
        raise StreamUnusable(f"JetStream does not answer: {silent or type(silent).__name__}") from silent


async def _ensure(jetstream: JetStreamContext, bounds: StreamBounds) -> None:
    try:
        there = (await jetstream.stream_info(bounds.name)).config
    except NotFoundError:
        await jetstream.add_stream(_wanted(StreamConfig(), bounds))
        structlog.get_logger("bus.stream").info("stream.made", stream=bounds.name)
        return
    others = there.retention not in (None, RetentionPolicy.LIMITS) or there.sealed or there.no_ack
    if others or there.mirror is not None or there.subject_transform is not None:
        raise StreamUnusable(f"the stream {bounds.name} is there, and is not one that keeps facts for all who ask")
    if there.subjects and EVERY_FACT not in there.subjects:
        raise StreamUnusable(f"the stream {bounds.name} is there, for other subjects: {', '.join(there.subjects)}")
    wanted = _wanted(there, bounds)
    if wanted != there:
        await jetstream.update_stream(wanted)
        structlog.get_logger("bus.stream").info("stream.changed", stream=bounds.name)


def _wanted(there: StreamConfig, bounds: StreamBounds) -> StreamConfig:
    """Give the stream as it has to be, and for the rest as it is: an operator may have added to it."""
    return there.evolve(
        name=bounds.name,
        subjects=there.subjects or [EVERY_FACT],
        retention=RetentionPolicy.LIMITS,
        storage=there.storage or StorageType.FILE,
        discard=DiscardPolicy.OLD,
        num_replicas=bounds.replicas,
        max_age=bounds.keep_seconds,
        max_bytes=bounds.keep_bytes,
        max_msgs=-1,  # no other limit than the two above: it would drop facts that subscribers have not seen
        max_msgs_per_subject=-1,
        max_msg_size=-1,
        duplicate_window=min(DUPLICATE_WINDOW_SECONDS, bounds.keep_seconds),
        allow_direct=True,
    )
