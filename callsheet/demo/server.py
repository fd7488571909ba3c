"""A real server process for the demo: started on a free port, watched while it starts, stopped as by Ctrl-C."""

import asyncio
import json
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections import deque
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final, cast

START_SECONDS_MAX: Final = 120
STOP_SECONDS_MAX: Final = 30
LINES_KEPT: Final = 30


class ServerFailed(Exception):  # noqa: N818  # what the demo says when there is nothing to show
    """The server did not start, or did not stop."""


@asynccontextmanager
async def start_server(environ: Mapping[str, str]) -> AsyncGenerator[str]:
    """Run `callsheet dev` on a free port until the end of the block; yield its base URL. Raises ServerFailed."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "callsheet",
        "dev",
        "--port",
        "0",
        stdin=DEVNULL,
        stdout=DEVNULL,
        stderr=PIPE,
        env={**environ, "CALLSHEET_LOG_RENDERER": "json"},
        start_new_session=True,  # Ctrl-C reaches the demo alone, which then stops the server in order
    )
    said: deque[str] = deque(maxlen=LINES_KEPT)
    reading: asyncio.Task[None] | None = None
    try:
        async with asyncio.timeout(START_SECONDS_MAX):
            url = await _wait_for_url(process, said)
        reading = asyncio.create_task(_forward_problems(process, said))
        yield url
    except TimeoutError as late:
        raise ServerFailed("the server did not start in time; its output:\n" + "\n".join(said)) from late
    finally:
        await _stop(process)
        if reading is not None:
            await reading


async def _wait_for_url(process: Process, said: deque[str]) -> str:
    """Read the server's output until it serves."""
    async for line in _read_lines(process, said):
        event = _parse_event(line)
        if event.get("event") == "callsheet.serving":
            return str(event["url"])
    raise ServerFailed("the server ended before it served; its output:\n" + "\n".join(said))


async def _forward_problems(process: Process, said: deque[str]) -> None:
    """Read the output, so that the server never blocks on it, and print errors."""
    async for line in _read_lines(process, said):
        event = _parse_event(line)
        if event.get("level") in {"warning", "error", "critical"}:
            sys.stderr.write(f"server: {line}\n")


async def _read_lines(process: Process, said: deque[str]) -> AsyncGenerator[str]:
    if process.stderr is None:
        return
    while raw := await process.stderr.readline():
        line = raw.decode(errors="replace").rstrip()
        said.append(line)
        yield line


def _parse_event(line: str) -> dict[str, Any]:
    try:
        event = json.loads(line)
    except ValueError:
        return {}
    return cast("dict[str, Any]", event) if isinstance(event, dict) else {}


async def _stop(process: Process) -> None:
    if process.returncode is not None:
        return
    process.send_signal(signal.SIGINT)
    try:
        async with asyncio.timeout(STOP_SECONDS_MAX):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
        raise ServerFailed(f"the server did not stop within {STOP_SECONDS_MAX} s and was killed") from None
