"""The worker: all projections of a process, fed by its one reader of the log."""

import asyncio
from collections.abc import Sequence

from msgspec import Struct

from projections.runtime.checkpoints import Checkpoints
from projections.runtime.follower import Follower, Following, OnBatch, ignore_batch
from projections.runtime.projection import Projection, Reader
from projections.settings import ProjectionSettings
from store.failpoint import FailPointHook, noop
from store.postgres.connections import OpenConnections


class ProjectionHealth(Struct, frozen=True, kw_only=True):
    """State, position and count of parked workspaces of a projection in this process, and whether it is stalled."""

    name: str
    doing: Following
    position: int
    parked: int
    stalled: bool


class Worker:
    """Follow the log for several projections, each at its own pace with its own checkpoint."""

    def __init__(
        self,
        conninfo: str,
        feed: Reader,
        projections: Sequence[Projection],
        checkpoints: Checkpoints,
        settings: ProjectionSettings,
        failpoint: FailPointHook = noop,
        on_batch: OnBatch = ignore_batch,
        *,
        connections: OpenConnections | None = None,
    ) -> None:
        """Create the worker; it does nothing until `run`. `failpoint` is a test hook.

        Its connections are added to `connections`, if given.
        """
        self._followers = [
            Follower(conninfo, feed, projection, checkpoints, settings, failpoint, on_batch, connections=connections)
            for projection in projections
        ]

    async def run(self) -> None:
        """Follow until cancelled."""
        async with asyncio.TaskGroup() as group:
            for follower in self._followers:
                group.create_task(follower.run(), name=f"projection {follower.name}")
            await asyncio.Event().wait()  # also without any projection to follow

    def health(self) -> tuple[ProjectionHealth, ...]:
        """Return the health of each projection."""
        return tuple(
            ProjectionHealth(
                name=follower.name,
                doing=follower.doing,
                position=follower.position,
                parked=follower.parked_count,
                stalled=follower.is_stalled,
            )
            for follower in self._followers
        )
