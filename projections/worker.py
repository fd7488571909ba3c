"""The worker: all projections of a process, fed by its one reader of the log."""

import asyncio
from collections.abc import Sequence

from msgspec import Struct

from projections.checkpoints import Checkpoints
from projections.following import Follower, Following, WorkerBounds
from projections.projection import Projection, Reader


class ProjectionHealth(Struct, frozen=True, kw_only=True):
    """What a projection is doing here, how far it is, and what stopped it, if something did."""

    name: str
    doing: Following
    position: int
    fault: str | None


class Worker:
    """Follows the log for several projections, each at its own pace with a checkpoint of its own."""

    def __init__(
        self,
        conninfo: str,
        feed: Reader,
        projections: Sequence[Projection],
        checkpoints: Checkpoints,
        bounds: WorkerBounds,
    ) -> None:
        """Make the worker; it does nothing until `run`."""
        self._followers = [Follower(conninfo, feed, one, checkpoints, bounds) for one in projections]

    async def run(self) -> None:
        """Follow until cancelled. A projection that is stopped by a fact does not stop the others."""
        async with asyncio.TaskGroup() as group:
            for follower in self._followers:
                group.create_task(follower.run(), name=f"projection {follower.name}")
            # Stopped projections are shown in health: the process goes on, even when none is left.
            await asyncio.Event().wait()

    def health(self) -> tuple[ProjectionHealth, ...]:
        """Say how each projection is."""
        return tuple(
            ProjectionHealth(name=one.name, doing=one.doing, position=one.position, fault=one.fault)
            for one in self._followers
        )
