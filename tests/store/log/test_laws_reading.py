"""The law of a cursor: over the whole log or filtered, in pages of any size, it skips and repeats nothing."""

import asyncio
from uuid import UUID, uuid4

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from store.log.log import Log
from store.log.queries import LogFilter
from store.log.records import Recorded
from tests.support.servers.postgres import EVERY_POSTGRES
from tests.support.store.given import CREATED, RENAMED, create_append, open_log

LAW = settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
PAGES = st.lists(st.integers(1, 30), min_size=1, max_size=5)
BURSTS = st.lists(st.lists(st.integers(1, 4), min_size=1, max_size=12), min_size=1, max_size=8)
"""What each writer appends, burst after burst: commands of so many facts."""

WORKSPACES = (uuid4(), uuid4())


async def write(log: Log, bursts: list[list[int]], workspace: UUID) -> None:
    for burst in bursts:
        facts = ((CREATED, *[RENAMED] * (count - 1)) for count in burst)
        await asyncio.gather(*(log.append(create_append(uuid4(), 0, *some, workspace=workspace)) for some in facts))


async def follow(log: Log, after: int, pages: list[int], only: LogFilter, until: asyncio.Future[int]) -> list[Recorded]:
    """Read on with the cursor alone until it has seen all that was ever written."""
    seen: list[Recorded] = []
    turn = 0
    while not until.done() or after < until.result():
        page = await log.read_log(after=after, limit=pages[turn % len(pages)], only=only)
        assert page.through >= after
        seen += page.events
        after = page.through
        turn += 1
    return seen


def matches(event: Recorded, only: LogFilter) -> bool:
    topic = "project.created" if event.version == 1 else "project.renamed"
    of_workspace = only.workspace_id is None or event.workspace_id == only.workspace_id
    return of_workspace and (only.topics is None or topic in only.topics)


@EVERY_POSTGRES
@LAW
@given(
    bursts=BURSTS,
    pages=PAGES,
    only=st.builds(
        LogFilter,
        workspace_id=st.sampled_from([None, *WORKSPACES]),
        topics=st.sampled_from([None, ("project.created",), ("project.renamed", "project.created"), ()]),
    ),
)
async def test_a_cursor_skips_and_repeats_nothing_while_writers_write(
    database: str, bursts: list[list[int]], pages: list[int], only: LogFilter
) -> None:
    async with open_log(database) as ours, open_log(database) as theirs:
        start, _ = await ours.head()
        written: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        reading = asyncio.create_task(follow(ours, start, pages, only, written))
        await asyncio.gather(write(ours, bursts, WORKSPACES[0]), write(theirs, bursts, WORKSPACES[1]))
        written.set_result((await ours.head())[0])
        seen = await reading
        everything = await follow(ours, start, [1_000], LogFilter(), written)
    assert seen == [event for event in everything if matches(event, only)]
    assert [event.position for event in everything] == list(range(start + 1, written.result() + 1))
