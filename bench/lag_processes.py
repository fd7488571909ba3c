"""The processes of `bench lag`: one that relays, one that projects what NATS brings, as they are started by hand."""

import os
import signal
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from bench.progress import say
from bench.runs_server import FOREIGN, STOP_SECONDS_MAX

RELAYING: Final = ("timers",)
"""What the process that relays folds besides; the other one cannot have it as well."""

ONLY_NATS: Final = {"CALLSHEET_NATS_PATIENCE_SECONDS": "30", "CALLSHEET_FEED_POLL_SECONDS": "30"}
"""Without patience or poll to fall back on, what the other process folds in time has come over NATS."""


class Processes:
    """Starts processes over one database and one NATS."""

    def __init__(self, conninfo: str, url: str, directory: Path) -> None:
        """Start nothing yet."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith((*FOREIGN, "NATS"))}
        self._environ = {
            **kept,
            "DATABASE_URL": conninfo,
            "NATS_URL": url,
            "CALLSHEET_DATA_DIRECTORY": str(directory / "callsheet"),
        }
        self._directory = directory
        self.started: list[subprocess.Popen[bytes]] = []

    def relaying(self) -> None:
        """Start the process that will relay, as the first one that can."""
        self._start("relaying", RELAYING, {})

    def projecting(self) -> None:
        """Start the process that folds what NATS brings."""
        self._start("projecting", (), ONLY_NATS)

    def _start(self, name: str, projections: tuple[str, ...], environ: dict[str, str]) -> None:
        say(f"starting the process that is {name}")
        with (self._directory / f"{name}.log").open("wb") as log:
            self.started.append(
                subprocess.Popen(  # noqa: S603  # our own program
                    [sys.executable, "-m", "callsheet", "project", *projections],
                    env={**self._environ, **environ},
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            )


@contextmanager
def processes(conninfo: str, url: str, directory: Path) -> Generator[Processes]:
    """Give what starts processes, and stop them at the end of the block."""
    made = Processes(conninfo, url, directory)
    try:
        yield made
    finally:
        for process in made.started:
            process.send_signal(signal.SIGTERM)
        for process in made.started:
            try:
                process.wait(STOP_SECONDS_MAX)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
