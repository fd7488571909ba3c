"""Parking: a fact that cannot be folded sets its workspace aside in that projection, and nothing and nobody else."""

from uuid import UUID

import pytest

from domain.project import ProjectCreated, ProjectRenamed
from projections.checkpoints import ProjectionParked
from store.record import Recorded
from tests.projections.given import PATIENCE_SECONDS, Picky, Tally, World, in_background, new_id, tally, world_of
from tests.store.given import WORKSPACE

OTHER = UUID("0192f000-0000-7000-8000-00000000000b")


async def renamed(world: World, names: str, *, workspace: UUID = WORKSPACE) -> list[Recorded]:
    """Append a project with one name after another, a letter each."""
    facts = [ProjectCreated(name="-", owner="ada"), *(ProjectRenamed(name=name) for name in names)]
    return list(await world.record(new_id(), *facts, workspace=workspace))


async def parked(world: World) -> list[tuple[object, ...]]:
    return await world.models.rows("select projection, workspace_id, from_position, topic, error from parked", {})


async def test_poison_parks_its_workspace_and_the_others_go_on(database: str) -> None:
    async with world_of(database) as world:
        checkpoints = world.checkpoints()
        async with in_background(world.worker(checkpoints, Picky("x"), Tally()).run()):
            poison = (await renamed(world, "abxc"))[3]
            last = (await renamed(world, "abc", workspace=OTHER))[-1].position
            await checkpoints.wait_for("picky", last, PATIENCE_SECONDS, workspace_id=OTHER)
            await checkpoints.wait_for("tally", last, PATIENCE_SECONDS, workspace_id=WORKSPACE)
            with pytest.raises(ProjectionParked):
                await checkpoints.wait_for("picky", poison.position, PATIENCE_SECONDS, workspace_id=WORKSPACE)
            await checkpoints.wait_for("picky", poison.position - 1, PATIENCE_SECONDS, workspace_id=WORKSPACE)
        assert await parked(world) == [
            ("picky", WORKSPACE, poison.position, "project.renamed", "it is not to its taste"),
        ]
        assert await tally(world) == 9
