"""The bus over NATS: facts from the relay, deltas from any process, and PostgreSQL NOTIFY announces new positions.

While NATS is connected the log is read only for announced events that NATS has not delivered within a short delay. So
a lost message, or a relay that is down, costs that delay and no event.
"""

import asyncio
from typing import Final
from uuid import uuid4

import structlog
from nats.errors import Error

from bus.deltas import DeltaHub
from bus.feed import Feed
from bus.listener import Listener
from bus.nats.connection import NatsAway, answered_within, connected_to_nats
from bus.nats.consumer import FactConsumer
from bus.nats.deltas import NatsDeltas
from bus.nats.presence import NatsPresence
from bus.nats.relay import Relay, Relaying
from bus.presence import PresenceHub
from bus.settings import NatsSettings
from store.log.log import Log
from store.outage_log import OutageLog
from store.retrying import Retrying, join_reasons

STEADY_SECONDS: Final = 10.0
"""A connection that lasted that long starts the back-off over when it is lost."""


class NatsBus:
    """Carry facts and deltas over NATS while it is connected; otherwise facts are read from the log."""

    def __init__(  # the parts of a bus
        self,
        listener: Listener,
        log: Log,
        feed: Feed,
        carrying: FactConsumer,
        relay: Relay | None,
        settings: NatsSettings,
        presence: PresenceHub,
        *,
        name: str,
    ) -> None:
        """Create the bus; it carries nothing until `run`. `relay` is None in a process that never relays."""
        self._listener = listener
        self._log = log
        self._feed = feed
        self._carrying = carrying
        self._relay = relay
        self._settings = settings
        self._name = name
        self._away: str | None = "not connected yet"
        self._logger = structlog.get_logger("bus.nats")
        self._outages = OutageLog("bus.nats", lost="bus.nats_away", back="bus.nats_back")
        self.deltas = DeltaHub()
        self.presence = presence
        self._nats_presence = NatsPresence(presence, f"{name} {uuid4()}")
        self._nats_deltas = NatsDeltas(self.deltas, settings.unsent_deltas)
        feed.delay_fetch(self._fetch_delay_seconds)

    @property
    def is_connected(self) -> bool:
        """Return whether NATS is connected."""
        return self._away is None

    @property
    def relay(self) -> Relay | None:
        """Return the relay of this process; None when it never relays."""
        return self._relay

    def list_degraded(self) -> tuple[str, ...]:
        """Return the current fault, if any: facts still arrive, but later; outside subscribers wait."""
        said: list[str] = []
        if self._away is not None:
            said.append(f"NATS is not connected: {self._away}")
        if self._relay is not None and self._relay.doing is Relaying.REFUSED:
            said.append(f"the relay cannot publish: {self._relay.fault}")
        return tuple(said)

    def _fetch_delay_seconds(self) -> float:
        """Return the delay before the log is read: zero for the process that relays, which must read it first."""
        relays = self._relay is not None and self._relay.doing is Relaying.RELAYING
        return 0.0 if relays or not self.is_connected else self._settings.patience_seconds

    async def run(self) -> None:
        """Run until cancelled; while NATS is unavailable retry with back-off."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._listener.run(self._log, self._feed), name="listener")
            group.create_task(self._keep_connected(), name="nats")
            group.create_task(self.presence.run(), name="presence")

    async def _keep_connected(self) -> None:
        async for attempt in Retrying(
            NatsAway, Error, OSError, on_failure=self._handle_failure, steady_seconds=STEADY_SECONDS
        ):
            with attempt:
                await self._serve()

    def _handle_failure(self, fault: Exception, _failures: int) -> None:
        reason = join_reasons(fault)
        self._outages.note_failure(reason)
        self._away = reason

    async def _serve(self) -> None:
        async with connected_to_nats(self._settings, self._name) as session, asyncio.TaskGroup() as group:
            group.create_task(session.until_lost())
            async with answered_within(self._settings.connect_seconds):
                await self._carrying.subscribe(session.client)
            group.create_task(self._nats_deltas.run(session.client))
            group.create_task(self._nats_presence.run(session.client))
            if self._relay is not None:
                group.create_task(self._relay.run(session.client))
            self._away = None
            self._logger.info("bus.nats_carries")
            self._outages.note_success()
