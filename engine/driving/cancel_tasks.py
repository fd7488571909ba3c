"""Stopping what a driver has under way."""

import asyncio


async def stop(tasks: dict[str, asyncio.Task[None]]) -> None:
    """Cancel tasks and wait until each is over, however it ends; none is left in the mapping."""
    if not tasks:
        return
    stopped = list(tasks.values())
    tasks.clear()
    for task in stopped:
        task.cancel()
    await asyncio.gather(*stopped, return_exceptions=True)
