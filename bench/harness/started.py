"""`callsheet` processes that a bench starts, waits for and stops."""

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
"""Log event of a process without a gateway once it is ready."""


class ServerFailed(Exception):  # noqa: N818  # an answer to the person who waits, who reads the message
    """A process did not start, or refused a request of the bench; the message quotes its output."""


class CallsheetProcess(Struct, frozen=True, kw_only=True):
    """A `callsheet` process and the file with its output."""

    process: subprocess.Popen[bytes]
    output: Path

    @property
    def clock(self) -> CpuClock:
        """Return the CPU clock of the process."""
        return CpuClock(pid=self.process.pid)

    def is_working(self) -> bool:
        """Return whether the process has reported that it is ready."""
        return WORKING in self._read_output()

    def wait_until(self, holds: Callable[[], bool]) -> None:
        """Wait until a condition holds while the process runs. Raises ServerFailed."""
        deadline = time.monotonic() + START_SECONDS_MAX
        while self.process.poll() is None and time.monotonic() < deadline:
            if holds():
                return
            time.sleep(POLL_SECONDS)
        raise ServerFailed(f"the process did not come up; it said:\n{self._read_output()[-4_000:]}")

    def stop(self) -> None:
        """Stop the process gracefully; kill it after a timeout."""
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def _read_output(self) -> str:
        return self.output.read_text(errors="replace")


def start_process(command: Sequence[str], environment: Mapping[str, str], directory: Path) -> CallsheetProcess:
    """Start `callsheet` with a command; its output goes to `<command>.log` in the directory."""
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
    return CallsheetProcess(process=process, output=output)
