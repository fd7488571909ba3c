"""Contents of the relay's stream: its last fact, and the facts at some sequences.

The stream is outside of the database, so a restored database that has lost facts is noticed by it.
"""

# nats-py is typed in part only.
# pyright: reportUnknownMemberType=false

from typing import Final

import structlog
from msgspec import Struct
from nats.aio.client import Client
from nats.errors import Error
from nats.js.errors import APIError, NotFoundError

from bus.cloudevents import UnusableEnvelope, decode_witness
from bus.nats.connection import NatsAway, answered_within, connected_to_nats
from bus.settings import NatsSettings
from store.log.epochs import Witness
from store.log.identity import LogIdentity
from store.postgres.connections import cancellable
from store.retrying import join_reasons

SEQUENCES_MAX: Final = 100
"""How many messages are read, from the last one back, to find one that is a fact."""

LOG_KEY: Final = "callsheet-log"
EPOCHS_KEY: Final = "callsheet-epochs"
EPOCHS_MAX: Final = 200
"""How many of the latest epochs the metadata of the stream list."""


class WitnessUnreadable(Exception):  # noqa: N818  # expected while JetStream is away
    """JetStream does not answer what is in the stream."""


async def read_last_witness(client: Client, stream: str) -> Witness | None:
    """Return the last fact in the stream; None if there is no stream, or none of its last messages is a fact.

    Raises WitnessUnreadable.
    """
    jetstream = client.jetstream()
    try:
        with cancellable():
            last = (await jetstream.stream_info(stream)).state.last_seq
    except NotFoundError:
        return None
    except (Error, APIError, TimeoutError) as fault:
        raise WitnessUnreadable(f"JetStream does not answer: {fault or type(fault).__name__}") from fault
    for sequence in range(last, max(0, last - SEQUENCES_MAX), -1):
        witness = await read_witness(client, stream, sequence)
        if witness is not None:
            return witness
    return None


async def read_witness(client: Client, stream: str, sequence: int) -> Witness | None:
    """Return the fact at a sequence; None if it was deleted or is no fact. Raises WitnessUnreadable."""
    try:
        with cancellable():
            message = await client.jetstream().get_msg(stream, seq=sequence)
    except NotFoundError:
        return None
    except (Error, APIError, TimeoutError) as fault:
        raise WitnessUnreadable(f"JetStream does not answer: {fault or type(fault).__name__}") from fault
    try:
        return decode_witness(message.data or b"", f"the stream {stream}")
    except UnusableEnvelope:
        return None


async def fetch_last_witness(settings: NatsSettings, name: str) -> Witness | None:
    """Return the last fact in the stream over a connection of its own; None, with a warning, while NATS is away."""
    try:
        async with connected_to_nats(settings, name) as session, answered_within(settings.connect_seconds):
            return await read_last_witness(session.client, settings.stream)
    except (NatsAway, WitnessUnreadable, Error, OSError) as fault:
        structlog.get_logger("bus.nats").warning("bus.stream_not_compared", reason=join_reasons(fault))
        return None


class StreamHealth(Struct, frozen=True, kw_only=True):
    """Number of messages of a stream, and its last fact."""

    messages: int
    witness: Witness | None


async def fetch_stream_health(settings: NatsSettings, name: str) -> StreamHealth | None:
    """Return the state of the stream over a connection of its own; None if it cannot be read."""
    try:
        async with connected_to_nats(settings, name) as session, answered_within(settings.connect_seconds):
            with cancellable():
                info = await session.client.jetstream().stream_info(settings.stream)
            witness = await read_last_witness(session.client, settings.stream)
            return StreamHealth(messages=info.state.messages, witness=witness)
    except (NatsAway, WitnessUnreadable, NotFoundError, Error, APIError, OSError, TimeoutError):
        return None


async def announce_epochs(client: Client, stream: str, identity: LogIdentity) -> None:
    """Write the epochs of the log to the metadata of the stream, for subscribers that get no event of a new one.

    Raises WitnessUnreadable.
    """
    epochs = " ".join(f"{epoch.tag}:{epoch.after}" for epoch in identity.epochs[-EPOCHS_MAX:])
    ours = {LOG_KEY: str(identity.log_id), EPOCHS_KEY: epochs}
    jetstream = client.jetstream()
    try:
        with cancellable():
            config = (await jetstream.stream_info(stream)).config
            there = config.metadata or {}
            if {name: there.get(name) for name in ours} != ours:
                await jetstream.update_stream(config.evolve(metadata={**there, **ours}))
    except (Error, APIError, TimeoutError) as fault:
        raise WitnessUnreadable(f"the metadata of the stream: {fault or type(fault).__name__}") from fault
