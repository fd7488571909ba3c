"""The bus of a process: in-process, or over NATS."""

from bus.bus import Bus
from bus.feed import Feed
from bus.in_process import InProcessBus
from bus.listener import Listener
from bus.nats.bus import NatsBus
from bus.nats.consumer import FactConsumer
from bus.nats.relay import Relay
from bus.presence import PresenceHub
from callsheet.settings.load import Settings
from store.failpoint import FailPointHook
from store.log.identity import LogIdentity
from store.log.log import Log


def create_bus(  # the parts of a bus
    settings: Settings,
    conninfo: str,
    log: Log,
    identity: LogIdentity,
    feed: Feed,
    name: str,
    relayed: FailPointHook | None,
) -> Bus:
    """Create the bus: over NATS if CALLSHEET_NATS_URL is set, else in the process. It relays if `relayed` is given.

    `relayed` is a test hook called at each crash-sensitive point of the relay.
    """
    listener = Listener(conninfo, poll_seconds=settings.feed.poll_seconds)
    nats, presence = settings.nats, PresenceHub(settings.presence)
    if nats.url is None:
        return InProcessBus(listener, log, feed, presence)
    relay = None
    if relayed is not None:
        timeout_ms = settings.store.statement_timeout_ms
        relay = Relay(
            conninfo,
            identity,
            feed,
            nats,
            statement_timeout_ms=timeout_ms,
            connections=log.monitor.connections,
            failpoint=relayed,
        )
    consumer = FactConsumer(identity, feed, nats.pending_events)
    return NatsBus(listener, log, feed, consumer, relay, nats, presence, name=f"callsheet {name}")
