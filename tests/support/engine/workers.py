"""Worker processes for tests of the engine."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from engine.steps.evaluator import Evaluator
from store.settings import WorkSettings
from store.workers.pool import WorkerPool


def create_evaluator(settings: WorkSettings | None = None) -> Evaluator:
    """Return an evaluator for work that is quick: its workers never start, and so need no end."""
    return Evaluator(WorkerPool(settings or WorkSettings()))


@asynccontextmanager
async def open_evaluator(settings: WorkSettings | None = None) -> AsyncGenerator[Evaluator]:
    """Hold an evaluator with its workers for the length of a block."""
    async with WorkerPool.open(settings or WorkSettings()) as pool:
        yield Evaluator(pool)
