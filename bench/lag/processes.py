"""The processes of `bench lag`: one that relays, one that projects what NATS brings, as they are started by hand."""

import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from bench.harness.progress import print_progress
from bench.harness.started import CallsheetProcess, start_process
from bench.runs.server import FOREIGN

RELAYING: Final = ("timers",)
"""What the process that relays folds besides; the other one cannot have it as well."""

ONLY_NATS: Final = {"CALLSHEET_NATS_PATIENCE_SECONDS": "30", "CALLSHEET_FEED_POLL_SECONDS": "30"}
"""Without patience or poll to fall back on, what the other process folds in time has come over NATS."""


class Processes:
    """Starts processes over one database and one NATS."""

    def __init__(self, conninfo: str, url: str, directory: Path) -> None:
        """Start nothing yet."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}
        self._environ = {
            **kept,
            "DATABASE_URL": conninfo,
            "NATS_URL": url,
            "CALLSHEET_DATA_DIRECTORY": str(directory / "callsheet"),
        }
        self._directory = directory
        self.started: list[CallsheetProcess] = []

    def relaying(self) -> None:
        """Start the process that will relay, as the first one that can. Raises ServerFailed."""
        self._start("relaying", RELAYING, {})

    def projecting(self) -> None:
        """Start the process that folds what NATS brings. Raises ServerFailed."""
        self._start("projecting", (), ONLY_NATS)

    def _start(self, name: str, projections: tuple[str, ...], environ: dict[str, str]) -> None:
        print_progress(f"starting the process that is {name}")
        directory = self._directory / name
        directory.mkdir()
        process = start_process(("project", *projections), {**self._environ, **environ}, directory)
        self.started.append(process)
        process.wait_until(process.is_working)


@contextmanager
def processes(conninfo: str, url: str, directory: Path) -> Generator[Processes]:
    """Yield a function that starts processes, which are stopped at the end of the block."""
    made = Processes(conninfo, url, directory)
    try:
        yield made
    finally:
        for process in made.started:
            process.stop()
