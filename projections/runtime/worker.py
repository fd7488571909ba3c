"""The worker: all projections of a process, fed by its one reader of the log."""

import asyncio
from collections.abc import Sequence

from msgspec import Struct

from projections.runtime.checkpoints import Checkpoints
from projections.runtime.follower import Follower, Following, OnBatch, unmeasured
from projections.runtime.projection import Projection, Reader
from projections.settings import ProjectionSettings
from store.failpoint import FailPointHook, noop


class ProjectionHealth(Struct, frozen=True, kw_only=True):
    """What a projection is doing here, how far it is, how many workspaces are parked in it, and whether it stalls."""

    name: str
    doing: Following
    position: int
    parked: int
    stalled: bool


class Worker:
    """Follows the log for several projections, each at its own pace with a checkpoint of its own."""

    def __init__(
        self,
        conninfo: str,
        feed: Reader,
        projections: Sequence[Projection],
        checkpoints: Checkpoints,
        settings: ProjectionSettings,
        failpoint: FailPointHook = noop,
        on_batch: OnBatch = unmeasured,
    ) -> None:
        """Make the worker; it does nothing until `run`. `failpoint` is a test hook."""
        self._followers = [
            Follower(conninfo, feed, one, checkpoints, settings, failpoint, on_batch) for one in projections
        ]

    async def run(self) -> None:
        """Follow until cancelled."""
        async with asyncio.TaskGroup() as group:
            for follower in self._followers:
                group.create_task(follower.run(), name=f"projection {follower.name}")
            await asyncio.Event().wait()  # also where there is no projection to follow

    def health(self) -> tuple[ProjectionHealth, ...]:
        """Say how each projection is."""
        return tuple(
            ProjectionHealth(
                name=one.name, doing=one.doing, position=one.position, parked=one.parked, stalled=one.stalled
            )
            for one in self._followers
        )
