"""The NATS that `bench lag` measures with: the development server, in a temporary directory."""

import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from bench.harness.progress import print_progress
from bench.harness.started import ServerFailed
from bench.runs.server import HOST

START_SECONDS_MAX: Final = 10.0
POLL_SECONDS: Final = 0.05


@contextmanager
def nats(directory: Path) -> Generator[str]:
    """Run a server with JetStream for the length of a block, and yield its URL. Raises ServerFailed."""
    beside = Path(sys.executable).parent / "nats-server"
    program = str(beside) if beside.exists() else shutil.which("nats-server")
    if program is None:
        raise ServerFailed("there is no nats-server: it comes with `make lock`'s development packages, or install one")
    port = _free_port()
    print_progress("starting NATS")
    output = directory / "nats.log"
    process = subprocess.Popen(  # noqa: S603  # a program of the environment
        [program, "-a", HOST, "-p", str(port), "-js", "-sd", str(directory / "nats"), "-l", str(output)],
        start_new_session=True,
    )
    try:
        _await_ready(process, port, output)
        yield f"nats://{HOST}:{port}"
    finally:
        process.terminate()
        process.wait()


def _await_ready(process: subprocess.Popen[bytes], port: int, output: Path) -> None:
    deadline = time.monotonic() + START_SECONDS_MAX
    while process.poll() is None and time.monotonic() < deadline:
        try:
            with socket.create_connection((HOST, port), timeout=1):
                return
        except OSError:
            time.sleep(POLL_SECONDS)
    raise ServerFailed(f"NATS did not come up; it said:\n{output.read_text(errors='replace')[-4_000:]}")


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind((HOST, 0))
        return int(listener.getsockname()[1])
