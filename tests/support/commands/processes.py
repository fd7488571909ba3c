"""Processes that handle commands on one log: each with a log, a cache of streams and a handler of its own."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from threading import Thread
from typing import Any, Final, TypeVar
from uuid import UUID

import uuid_utils.compat

from commands.command import Command
from commands.handler import Context, Handler, Outcome
from commands.project import CreateProject
from commands.repository import Streams
from commands.workflow import CreateWorkflow
from domain.refusal import Refusal
from store.log.log import Log
from store.log.records import Append, CommandId, Recorded
from tests.support.graphs import graph, node
from tests.support.store.given import METADATA, WORKSPACE, open_log

S = TypeVar("S")

ELSEWHERE: Final = UUID("0192f000-0000-7000-8000-000000000002")
"""Another workspace."""
GRAPH: Final = graph(node("a"))


def new_id() -> UUID:
    return uuid_utils.compat.uuid7()


def now() -> datetime:
    return datetime.now(UTC)


def context(command_id: CommandId | None = None, workspace: UUID = WORKSPACE) -> Context:
    return Context(workspace_id=workspace, metadata=METADATA, command_id=command_id)


@dataclass(frozen=True, slots=True)
class Process:
    """One process. `state` is the state that a command leaves."""

    log: Log
    streams: Streams
    handler: Handler

    async def does(
        self, command: Command[S], command_id: CommandId | None = None, workspace: UUID = WORKSPACE
    ) -> Outcome[S]:
        return await self.handler.execute(command, context(command_id, workspace))

    async def state(self, command: Command[S]) -> S:
        return (await self.does(command)).loaded.state

    async def find_refusal(self, command: Command[Any], workspace: UUID = WORKSPACE) -> type[Refusal] | None:
        """Return the refusal of a command; None if it is accepted."""
        try:
            await self.does(command, workspace=workspace)
        except Refusal as refusal:
            return type(refusal)
        return None

    async def project(self) -> UUID:
        project_id = new_id()
        await self.does(CreateProject(target_id=project_id, name="Launch", owner="ada"))
        return project_id

    async def workflow(self, project_id: UUID, raw: dict[str, Any] | None = None) -> UUID:
        workflow_id = new_id()
        await self.does(CreateWorkflow(target_id=workflow_id, project_id=project_id, name="Flow", graph=raw or GRAPH))
        return workflow_id

    async def facts(self, stream: UUID) -> list[Recorded]:
        return await self.log.read_stream(stream)


@asynccontextmanager
async def process(database: str, clock: Callable[[], datetime] = now) -> AsyncGenerator[Process]:
    """Yield a process that serves commands."""
    async with open_log(database) as log:
        streams = Streams(log, most_cached=100)
        yield Process(log, streams, Handler(log, streams, clock))


@contextmanager
def meanwhile(database: str) -> Generator[Callable[[Append], None]]:
    """Yield a function that appends from another thread and returns once that is on disk: for races with a decision."""
    loop = asyncio.new_event_loop()
    thread = Thread(target=loop.run_forever)
    thread.start()
    opened = open_log(database)
    log = asyncio.run_coroutine_threadsafe(opened.__aenter__(), loop).result()

    def do(append: Append) -> None:
        asyncio.run_coroutine_threadsafe(log.append(append), loop).result()

    try:
        yield do
    finally:
        asyncio.run_coroutine_threadsafe(opened.__aexit__(None, None, None), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
