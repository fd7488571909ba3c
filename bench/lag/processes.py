"""The processes of `bench lag`: one that relays, one that projects what NATS brings, as they are started by hand."""

import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from bench.harness.progress import say
from bench.harness.started import Started, started
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
        self.started: list[Started] = []

    def relaying(self) -> None:
        """Start the process that will relay, as the first one that can. Raises ServerFailed."""
        self._start("relaying", RELAYING, {})

    def projecting(self) -> None:
        """Start the process that folds what NATS brings. Raises ServerFailed."""
        self._start("projecting", (), ONLY_NATS)

    def _start(self, name: str, projections: tuple[str, ...], environ: dict[str, str]) -> None:
        say(f"starting the process that is {name}")
        directory = self._directory / name
        directory.mkdir()
        one = started(("project", *projections), {**self._environ, **environ}, directory)
        self.started.append(one)
        one.wait_until(one.works)


@contextmanager
def processes(conninfo: str, url: str, directory: Path) -> Generator[Processes]:
    """Give what starts processes, and stop them at the end of the block."""
    made = Processes(conninfo, url, directory)
    try:
        yield made
    finally:
        for one in made.started:
            one.stop()
