"""An environment to kill engines in: a log with its read models, a model server, and engines that are processes."""

import asyncio
import signal
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from uuid import UUID

from callsheet.wiring.core import COMPONENTS
from commands.aggregates import RUN
from commands.runs.start import StartRun
from domain.fact import Fact
from domain.payload import Payload
from domain.runs.run import Run
from store.postgres.migrations import migrate
from tests.callsheet.test_dev import environ
from tests.support.callsheet.separate_processes import apart
from tests.support.commands.processes import Process, new_id, process
from tests.support.kills.engine_process import VARIABLE, format_last_words
from tests.support.model_server.server import ModelServer
from tests.support.store.given import read_whole_log
from tests.support.waiting import eventually

WAIT_SECONDS: Final = 120.0
TOP: Final = Path(__file__).parents[3]
HASTE: Final = {
    "CALLSHEET_FEED_POLL_SECONDS": "0.1",
    "CALLSHEET_ENGINE_HEARTBEAT_SECONDS": "0.1",
    "CALLSHEET_ENGINE_LEASE_DELAY_SECONDS": "0.05",
    "CALLSHEET_ENGINE_TAKEOVER_GRACE_SECONDS": "0.3",
    "CALLSHEET_ENGINE_TIMER_POLL_SECONDS": "0.5",
    "CALLSHEET_ENGINE_HELD_BACK_OFF_SECONDS": "0.01",
    "CALLSHEET_ENGINE_LOST_ATTEMPTS_IN_A_ROW": "1000",
    "CALLSHEET_MODEL_CALLS": "1000",
    "CALLSHEET_MODEL_CALLS_PER_WORKSPACE": "1000",
}
"""Engines that look about more often than they need to, leave every back-off to the timers, and let no call wait.

They are killed more often than a step is tried that may be the cause: it is not, and each is tried until it is done.
"""


@dataclass
class Environment:
    """Starts engines, and runs for them to drive."""

    database: str
    directory: Path
    commands: Process
    models: ModelServer
    engines: list[asyncio.subprocess.Process] = field(default_factory=list[asyncio.subprocess.Process])
    logs: list[Path] = field(default_factory=list[Path])

    async def engine(self, kill_at: str | None = None, **settings: str) -> asyncio.subprocess.Process:
        """Start an engine, perhaps with settings of its own; it kills itself at a point when it is told one."""
        said = self.directory / f"engine-{len(self.logs)}.log"
        self.logs.append(said)
        ours = {
            **environ(self.database, self.directory),
            **HASTE,
            "PYTHONPATH": str(TOP),
            "OPENAI_API_KEY": "a-key",
            "OPENAI_BASE_URL": self.models.base_url,
            "CALLSHEET_OUTGOING_ALLOWED": "127.0.0.1",
            **({} if kill_at is None else {VARIABLE: kill_at}),
            **settings,
        }
        with said.open("wb") as log:
            started = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "tests.support.kills.engine_process", env=ours, stderr=log, cwd=TOP
            )
        self.engines.append(started)
        return started

    async def start(self, workflow: UUID, inputs: Any) -> UUID:  # noqa: ANN401  # JSON
        run = new_id()
        await self.commands.does(StartRun(target_id=run, workflow_id=workflow, inputs=Payload(value=inputs)))
        return run

    async def of(self, run: UUID) -> list[Fact]:
        return [event.fact for event in await self.commands.facts(run)]

    async def run(self, run: UUID) -> Run:
        """Return a run, folded from the log."""
        state = RUN.initial
        for fact in await self.of(run):
            state = RUN.evolve(state, fact)
        return state

    async def streams(self) -> dict[UUID, list[Fact]]:
        """Return the facts of the whole log by stream."""
        by_stream: dict[UUID, list[Fact]] = {}
        for event in await read_whole_log(self.commands.log):
            by_stream.setdefault(event.stream_id, []).append(event.fact)
        return by_stream

    async def wait_until_ended(self, run: UUID) -> Run:
        """Wait for the end of a run."""

        async def holds() -> bool:
            return (await self.run(run)).has_ended

        await eventually(holds, what=f"the run {run} has ended; {self.read_logs()}", seconds=WAIT_SECONDS)
        return await self.run(run)

    def read_logs(self) -> str:
        """Return the last output of the engines."""
        return "\n".join(log.read_text()[-2_000:] for log in self.logs[-3:] if log.exists())

    def count_killed(self) -> int:
        """Return how many engines died by SIGKILL. Raises AssertionError if one ended otherwise."""
        ended = [engine.returncode for engine in self.engines if engine.returncode is not None]
        assert set(ended) <= {-signal.SIGKILL}, self.read_logs()
        return len(ended)

    def count_killed_at(self, point: str) -> int:
        """Return how many engines logged that they kill themselves at a point."""
        self.count_killed()  # for the fault
        return sum(format_last_words(point) in log.read_text() for log in self.logs)

    async def close(self) -> None:
        """End every engine."""
        for engine in self.engines:
            if engine.returncode is None:
                engine.kill()
            await engine.wait()


@asynccontextmanager
async def open_environment(database: str, directory: Path) -> AsyncGenerator[Environment]:
    """Open an environment without engines."""
    await migrate(database, COMPONENTS)
    with ModelServer() as models, apart(database, directory, "project", PYTHONPATH=str(TOP)):
        async with process(database) as commands:
            commands.log.wake_others = True
            here = Environment(database, directory, commands, models)
            try:
                yield here
            finally:
                await here.close()
