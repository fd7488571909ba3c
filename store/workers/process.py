"""One worker process as its parent sees it."""

import asyncio
import os
import pickle
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Final, Self, TypeVar, cast

from store.workers.messages import LENGTH_BYTES, PackedFault, WorkerMemoryExhausted, unpack_fault

T = TypeVar("T")

START_SECONDS_MAX: Final = 60
MODULE: Final = "store.workers.child"


class WorkStopped(Exception):  # noqa: N818  # a response to the caller
    """The work was stopped because it took more time or memory than one piece of work may."""


class WorkerProcess:
    """A child process that evaluates one piece of work after another."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        """Create it around a running process; use `start`."""
        self._process = process
        self.is_usable = True

    @classmethod
    async def start(cls, *, memory_bytes_max: int, cpu_seconds_max: float) -> Self:
        """Start a process. It inherits neither connections nor environment, and so no secrets."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            MODULE,
            str(memory_bytes_max),
            str(cpu_seconds_max),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env={"PYTHONPATH": os.pathsep.join(sys.path)},
            start_new_session=True,  # Ctrl+C is for the parent
        )
        worker = cls(process)
        await worker.wait_until_ready()
        return worker

    async def wait_until_ready(self) -> None:
        """Wait until the process can work. Raises WorkStopped if it ends, or does not start in time."""
        try:
            async with asyncio.timeout(START_SECONDS_MAX):
                await self._receive()
        except (TimeoutError, ConnectionError, asyncio.IncompleteReadError) as fault:
            await self.kill()
            raise WorkStopped("The work was not done because no worker process could be started.") from fault

    async def evaluate(self, work: Callable[[], T]) -> T:
        """Return what the work returns, and raise what it raises. Raises WorkStopped if the process ends.

        If it is cancelled, the process cannot be used again: kill it.
        """
        self.is_usable = False
        message = pickle.dumps(work, pickle.HIGHEST_PROTOCOL)
        try:
            succeeded, outcome = await self._exchange(message)
        except (ConnectionError, asyncio.IncompleteReadError) as fault:
            raise WorkStopped(WorkStopped.__doc__) from fault
        if succeeded:
            self.is_usable = True
            return cast("T", outcome)
        fault = unpack_fault(cast("PackedFault", outcome))
        if isinstance(fault, WorkerMemoryExhausted):
            raise WorkStopped("The work was stopped because it needs more memory than one piece of work may.")
        self.is_usable = True
        raise fault

    async def _exchange(self, message: bytes) -> tuple[bool, object]:
        sink = self._process.stdin
        if sink is None:
            raise ConnectionError("the worker has no input")
        sink.write(len(message).to_bytes(LENGTH_BYTES, "big"))
        sink.write(message)
        await sink.drain()
        return cast("tuple[bool, object]", pickle.loads(await self._receive()))  # noqa: S301  # of our child

    async def _receive(self) -> bytes:
        source = self._process.stdout
        if source is None:
            raise ConnectionError("the worker has no output")
        size = int.from_bytes(await source.readexactly(LENGTH_BYTES), "big")
        return await source.readexactly(size)

    async def kill(self) -> None:
        """End the process, whatever it does."""
        self.is_usable = False
        with suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()
