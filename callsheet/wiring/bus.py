"""Which bus a process has, and what it is made of."""

from uuid import UUID

from bus.bus import Bus
from bus.feed import Feed
from bus.in_process import InProcessBus
from bus.listener import Listener
from bus.nats.bus import NatsBounds, NatsBus
from bus.nats.connection import NatsAccess
from bus.nats.consumer import Carrying
from bus.nats.jetstream import StreamBounds
from bus.nats.relay import Relay, RelayBounds
from bus.settings import NatsSettings
from callsheet.settings.load import Settings
from store.failpoint import FailPointHook
from store.log.log import Log


def bus_of(  # what a bus is made of
    settings: Settings,
    conninfo: str,
    log: Log,
    log_id: UUID,
    feed: Feed,
    name: str,
    relayed: FailPointHook | None,
) -> Bus:
    """Make the bus: over NATS when a server is named, else in the process. It may publish if it has `relayed`.

    `relayed` is told of each point where a crash of the relay would matter.
    """
    listener = Listener(conninfo, poll_seconds=settings.feed.poll_seconds)
    access = nats_access(settings.nats)
    if access is None:
        return InProcessBus(listener, log, feed)
    bounds = nats_bounds(settings.nats)
    return NatsBus(
        access,
        listener,
        log,
        feed,
        Carrying(log_id, feed, bounds.pending_events),
        Relay(conninfo, log_id, feed, relay_bounds(settings), failpoint=relayed) if relayed is not None else None,
        bounds,
        name=f"callsheet {name}",
    )


def nats_access(nats: NatsSettings) -> NatsAccess | None:
    """Give how NATS is reached; None when it is not used."""
    if nats.url is None:
        return None
    return NatsAccess(
        servers=nats.url.reveal(),
        user=nats.user,
        password=None if nats.password is None else nats.password.reveal(),
        token=None if nats.token is None else nats.token.reveal(),
        ca_file=nats.ca_file,
        certificate_file=nats.certificate_file,
        key_file=nats.key_file,
        connect_seconds=nats.connect_seconds,
        ping_seconds=nats.ping_seconds,
    )


def nats_bounds(nats: NatsSettings) -> NatsBounds:
    """Give the bounds of the bus over NATS."""
    return NatsBounds(
        patience_seconds=nats.patience_seconds,
        pending_events=nats.pending_events,
        unsent_deltas=nats.unsent_deltas,
    )


def relay_bounds(settings: Settings) -> RelayBounds:
    """Give the bounds of the relay, and of the stream that it publishes to."""
    nats = settings.nats
    return RelayBounds(
        page_events=nats.relay_page_events,
        ack_seconds=nats.relay_ack_seconds,
        standby_seconds=nats.relay_standby_seconds,
        hung_seconds=nats.relay_hung_seconds,
        statement_timeout_ms=settings.store.statement_timeout_ms,
        stream=StreamBounds(
            name=nats.stream,
            replicas=nats.stream_replicas,
            keep_seconds=nats.stream_hours * 3_600.0,
            keep_bytes=nats.stream_bytes,
        ),
    )
