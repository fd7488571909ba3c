"""Processes of `callsheet` that a bench starts, waits for and stops."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from msgspec import Struct

from bench.harness.processes import CpuClock

START_SECONDS_MAX: Final = 60
STOP_SECONDS_MAX: Final = 30
POLL_SECONDS: Final = 0.05
WORKING: Final = "callsheet.working"
"""What a process without a gateway says once it is ready."""


class ServerFailed(Exception):  # noqa: N818  # an answer to the person who waits, who reads the message
    """A process did not come up, or refused what the bench needs; the message holds what it said."""


class Started(Struct, frozen=True, kw_only=True):
    """A process of `callsheet` that was started, and where what it says goes."""

    process: subprocess.Popen[bytes]
    output: Path

    @property
    def clock(self) -> CpuClock:
        """Give its processor clock."""
        return CpuClock(pid=self.process.pid)

    def works(self) -> bool:
        """Tell whether it has said that it is ready."""
        return WORKING in self._said()

    def wait_until(self, holds: Callable[[], bool]) -> None:
        """Wait until something holds, for as long as it runs. Raises ServerFailed."""
        deadline = time.monotonic() + START_SECONDS_MAX
        while self.process.poll() is None and time.monotonic() < deadline:
            if holds():
                return
            time.sleep(POLL_SECONDS)
        raise ServerFailed(f"the process did not come up; it said:\n{self._said()[-4_000:]}")

    def stop(self) -> None:
        """Stop it in order, or else kill it."""
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def _said(self) -> str:
        return self.output.read_text(errors="replace")


def started(command: Sequence[str], environment: Mapping[str, str], directory: Path) -> Started:
    """Start `callsheet` with a command; what it says goes to a file of the directory, named for the command."""
    output = directory / f"{command[0]}.log"
    with output.open("wb") as log:
        process = subprocess.Popen(  # noqa: S603  # our own program
            [sys.executable, "-m", "callsheet", *command],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,  # Ctrl-C reaches the bench alone, which stops its processes in order
        )
    return Started(process=process, output=output)
