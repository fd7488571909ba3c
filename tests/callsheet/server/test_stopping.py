"""Graceful shutdown: a process stops in order and without errors, whatever it is doing."""

import asyncio
import signal
from dataclasses import fields
from pathlib import Path
from typing import Any, cast
from uuid import UUID

from psycopg import AsyncConnection

from bus.nats.relay_status import read_relay_status
from callsheet.settings.groups import DataSettings
from callsheet.settings.load import Settings
from callsheet.wiring.core import COMPONENTS, EVERYTHING, Core
from store.log.identity import create_identity
from store.postgres.migrations import migrate
from tests.support.callsheet.separate_processes import apart
from tests.support.servers.nats import NatsForTests
from tests.support.waiting import eventually


class Empty:
    """A database with nothing to prune."""

    async def one(self, *_asked: object) -> None:
        return None

    async def run(self, *_asked: object) -> int:
        return 0


class Idle:
    """A monitor that watches nothing."""

    async def run(self) -> None:
        await asyncio.Event().wait()


class Lasting:
    """A part that takes so many turns of the loop to end."""

    def __init__(self, name: str, turns: int, ended: list[str]) -> None:
        """Create it with the list to which it adds its name when it ends."""
        self._name = name
        self._turns = turns
        self._ended = ended
        self.sessions = Empty()
        self.monitor = Idle()
        self.identity = create_identity(UUID(int=0))

    def create_witness(self, _origin: str) -> None:
        """Remember nothing."""

    async def run(self) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            for _ in range(self._turns):
                await asyncio.sleep(0)
            self._ended.append(self._name)


async def test_the_log_and_the_feed_end_after_all_that_rest_on_them() -> None:
    ended: list[str] = []
    parts: Any = {
        "log": Lasting("log", 0, ended),
        "feed": Lasting("feed", 0, ended),
        "bus": Lasting("bus", 9, ended),
        "worker": Lasting("projections", 3, ended),
        "engine": Lasting("engine", 6, ended),
        "settings": Settings(data=DataSettings(checkpoint_seconds=60)),
    }
    others = {part.name: cast("Any", None) for part in fields(Core) if part.name not in {*parts, "parts"}}
    running = asyncio.create_task(Core(**parts, **others, parts=EVERYTHING).run())
    for _ in range(9):
        await asyncio.sleep(0)
    running.cancel()
    await asyncio.wait({running})
    assert (ended[:3], set(ended[3:])) == (["projections", "engine", "bus"], {"log", "feed"})


async def test_a_process_that_relays_stops_without_a_fault(
    database: str, nats_server: NatsForTests, tmp_path: Path
) -> None:
    await migrate(database, COMPONENTS)
    async with await AsyncConnection.connect(database, autocommit=True) as connection:

        async def relays() -> bool:
            stands = await read_relay_status(connection)
            return stands.begun and stands.holder is not None

        variables = {"NATS_URL": nats_server.url, "CALLSHEET_NATS_STREAM_BYTES": str(64 * 1024 * 1024)}
        for number in (signal.SIGINT, signal.SIGTERM):
            with apart(database, tmp_path, "project", **variables) as started:
                await eventually(relays, what="it relays")
                started.process.send_signal(number)
                assert started.process.wait(20) == 0, "".join(started.said)
