"""Two engines on one log that both observe all timers: each timer fires once, and both engines get some."""

from pathlib import Path
from uuid import UUID

from domain.fact import Fact
from domain.runs.facts import StepStarted, StepWaiting
from domain.runs.run import RunStatus
from tests.support.graphs import Json, graph
from tests.support.kills.checks import check, list_completions
from tests.support.kills.environment import WAIT_SECONDS, Environment, open_environment
from tests.support.kills.graphs import waits
from tests.support.kills.load import Load
from tests.support.waiting import eventually

DELAYS = 10


def many_delays() -> Json:
    return graph(*(waits(f"w{number}", 0.5 + number / 20) for number in range(DELAYS)))


async def until_joined(here: Environment, engines: int) -> None:
    async def holds() -> bool:
        row = await here.commands.log.sessions.one("select count(*) from engines", None)
        return row is not None and row[0] == engines

    await eventually(holds, what=f"{engines} engines have joined; {here.read_logs()}", seconds=WAIT_SECONDS)


def list_engines(streams: dict[UUID, list[Fact]]) -> set[str]:
    """Return the engines that have claimed a step."""
    return {fact.executor for facts in streams.values() for fact in facts if isinstance(fact, StepStarted)}


async def until_shared(load: Load) -> None:
    """Begin runs until two engines have claimed steps: at first they may not know of each other."""

    async def holds() -> bool:
        await load.more()
        return len(list_engines(await load.here.streams())) > 1

    await eventually(holds, what="both engines have a share", seconds=WAIT_SECONDS)


async def test_two_engines_let_each_timer_take_effect_once(database: str, tmp_path: Path) -> None:
    async with open_environment(database, tmp_path) as here:
        load = Load(here, await here.commands.workflow(await here.commands.project(), many_delays()), [])
        for _ in range(2):
            await here.engine()
        await until_joined(here, 2)
        await until_shared(load)
        for run in load.runs:
            assert (await here.wait_until_ended(run)).status is RunStatus.COMPLETED
        streams = await here.streams()
    check(streams, [])
    for run in load.runs:
        facts = streams[run]
        until = {fact.node: fact.until for fact in facts if isinstance(fact, StepWaiting)}
        for number in range(DELAYS):
            [completed] = list_completions(facts, f"w{number}")
            at = until[completed.node]
            assert at is not None
            assert completed.completed_at >= at, "no timer fires early"
