"""The bus over NATS: facts come from the relay, deltas from whoever tells them, and PostgreSQL still says what is new.

`NOTIFY` names the position that was committed. While NATS carries, the log is read only for what has not come over it
within a short patience: so a lost message, or a relay that is gone, costs that long and no event.
"""

import asyncio
from typing import Final

import structlog
from nats.errors import Error

from bus.deltas import DeltaHub
from bus.feed import Feed
from bus.listener import Listener
from bus.nats.connection import NatsAway, answered_within, connected_to_nats
from bus.nats.consumer import Carrying
from bus.nats.deltas import NatsDeltas
from bus.nats.relay import Relay, Relaying
from bus.settings import NatsSettings
from store.log.appender import back_off_seconds
from store.log.log import Log

STEADY_SECONDS: Final = 10.0
"""A connection that lasted so long was no failure of the ones before."""


class NatsBus:
    """Carries over NATS while it is there; while it is not, facts come as they do without it."""

    def __init__(  # what a bus is made of
        self,
        listener: Listener,
        log: Log,
        feed: Feed,
        carrying: Carrying,
        relay: Relay | None,
        settings: NatsSettings,
        *,
        name: str,
    ) -> None:
        """Make it; it carries nothing until `run`. `relay`: this process may be the one that publishes."""
        self._listener = listener
        self._log = log
        self._feed = feed
        self._carrying = carrying
        self._relay = relay
        self._settings = settings
        self._name = name
        self._away: str | None = "not connected yet"
        self._logger = structlog.get_logger("bus.nats")
        self.deltas = DeltaHub()
        self._nats_deltas = NatsDeltas(self.deltas, settings.unsent_deltas)
        feed.be_patient(self._patience_seconds)

    @property
    def connected(self) -> bool:
        """Tell whether NATS carries now."""
        return self._away is None

    @property
    def relay(self) -> Relay | None:
        """Give the relay of this process, if it is one that may relay."""
        return self._relay

    def degraded(self) -> tuple[str, ...]:
        """Say what does not go on: facts still come, but later; subscribers outside wait."""
        said: list[str] = []
        if self._away is not None:
            said.append(f"NATS is away: {self._away}")
        if self._relay is not None and self._relay.doing is Relaying.REFUSED:
            said.append(f"the relay cannot publish: {self._relay.fault}")
        return tuple(said)

    def _patience_seconds(self) -> float:
        """Give how long to wait for NATS; who relays is the first to need what is new."""
        relays = self._relay is not None and self._relay.doing is Relaying.RELAYING
        return 0.0 if relays or not self.connected else self._settings.patience_seconds

    async def run(self) -> None:
        """Carry until cancelled; while NATS is away try again, with jittered back-off."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._listener.run(self._log, self._feed), name="listener")
            group.create_task(self._keep_connected(), name="nats")

    async def _keep_connected(self) -> None:
        failures = 0
        loop = asyncio.get_running_loop()
        while True:
            begun_at = loop.time()
            try:
                await self._serve()
            except* (NatsAway, Error, OSError) as away:
                reason = "; ".join(str(one) for one in away.exceptions)
                if self._away is None or failures == 0:
                    self._logger.warning("bus.nats_away", reason=reason)
                self._away = reason
            failures = 1 if loop.time() - begun_at > STEADY_SECONDS else failures + 1
            await asyncio.sleep(back_off_seconds(failures))

    async def _serve(self) -> None:
        async with connected_to_nats(self._settings, self._name) as session, asyncio.TaskGroup() as group:
            group.create_task(session.until_lost())
            async with answered_within(self._settings.connect_seconds):
                await self._carrying.subscribe(session.client)
            group.create_task(self._nats_deltas.run(session.client))
            if self._relay is not None:
                group.create_task(self._relay.run(session.client))
            self._away = None
            self._logger.info("bus.nats_carries")
