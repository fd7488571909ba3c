"""The facts that streams show: those of one run, and those of a project with filters."""

from collections.abc import Collection
from typing import Final
from uuid import UUID

from msgspec import Struct

from bus.feed import Feed
from bus.watch import Watching
from commands.aggregates import RUN
from commands.repository import Streams
from domain.fact import Fact, get_topic
from domain.runs.facts import RunStarted
from gateway.drain import Drain
from projections.read_models.history_view import HistoryFilters, HistoryView
from store.log.log import Log
from store.log.queries import LogFilter
from store.log.records import Page, Recorded
from store.lru import LruCache

PAGE_FACTS: Final = 25
"""How many facts of a run are held in memory for a slow reader: each can refer to megabytes."""
PROJECT_PAGE_FACTS: Final = 200
SCANNED_POSITIONS: Final = 10_000
"""Within this distance of the head the log itself is read, which never lags; before it the index of the history."""


class RunFacts:
    """The facts of one run."""

    def __init__(self, feed: Feed, log: Log, drain: Drain, run_id: UUID) -> None:
        """Create the source."""
        self._feed = feed
        self._log = log
        self._drain = drain
        self._run_id = run_id

    async def wait_for_start(self) -> int:
        """Wait until the feed has started, and return its position."""
        await self._feed.wait_past(-1)
        return self._feed.through

    async def read(self, after: int, target: int) -> Page:
        """Return the next facts of the run."""
        facts = await self._log.read_stream(self._run_id, past=after, limit=PAGE_FACTS)
        through = facts[-1].position if len(facts) == PAGE_FACTS else max(target, *(fact.position for fact in facts), 0)
        return Page(events=tuple(facts), through=through)

    def watch(self) -> Watching:
        """Watch the run's stream."""
        return self._drain.watch(self._run_id)

    async def select(self, facts: list[Recorded]) -> list[Recorded]:
        """Return all facts: the watch has those of the run only."""
        return facts


class WorkspaceFacts:
    """The facts of some kinds in a whole workspace. They are few: a replay searches the log itself for them."""

    def __init__(
        self, feed: Feed, log: Log, drain: Drain, *, workspace_id: UUID, kinds: Collection[type[Fact]]
    ) -> None:
        """Create the source."""
        self._feed = feed
        self._log = log
        self._drain = drain
        self._workspace_id = workspace_id
        self._kinds = frozenset(kinds)
        self._topics = tuple(sorted(map(get_topic, self._kinds)))

    async def wait_for_start(self) -> int:
        """Wait until the feed has started, and return its position."""
        await self._feed.wait_past(-1)
        return self._feed.through

    async def read(self, after: int, target: int) -> Page:  # noqa: ARG002  # the log returns how far it has searched
        """Return the next facts of the workspace."""
        only = LogFilter(workspace_id=self._workspace_id, topics=self._topics)
        return await self._log.read_log(after=after, limit=PROJECT_PAGE_FACTS, only=only)

    def watch(self) -> Watching:
        """Watch the workspace."""
        return self._drain.watch_workspace(self._workspace_id, self._kinds)

    async def select(self, facts: list[Recorded]) -> list[Recorded]:
        """Return all facts: the watch has those of the kinds only."""
        return facts


class ProjectFilters(Struct, frozen=True, kw_only=True):
    """Filters of the facts of a project; None does not filter."""

    topics: frozenset[str] | None = None
    workflow_id: UUID | None = None
    run_id: UUID | None = None


class WorkflowsOfRuns:
    """The workflow that each stream belongs to, cached for the process: a run never changes its workflow."""

    def __init__(self, streams: Streams, *, most_cached: int) -> None:
        """Create an empty cache."""
        self._streams = streams
        self._workflows: LruCache[UUID, UUID] = LruCache(most_cached)

    async def find(self, recorded: Recorded) -> UUID:
        """Return the workflow of a run's fact; for facts of other nouns the id of their own stream."""
        if isinstance(recorded.fact, RunStarted):
            self._workflows.put(recorded.stream_id, recorded.fact.workflow_id)
            return recorded.fact.workflow_id
        known = self._workflows.get(recorded.stream_id)
        if known is None:
            run = await self._streams.load(RUN, recorded.stream_id)
            known = recorded.stream_id if run is None else run.state.workflow_id
            self._workflows.put(recorded.stream_id, known)
        return known


class ProjectFacts:
    """The facts of one project: its own, and those of its workflows, assets and runs.

    A long replay reads the index of the history projection; near the head, and for a workspace that this projection
    leaves anything out of, the log itself is searched.
    """

    def __init__(
        self,
        feed: Feed,
        log: Log,
        drain: Drain,
        history: HistoryView,
        workflows: WorkflowsOfRuns,
        *,
        workspace_id: UUID,
        project_id: UUID,
        filters: ProjectFilters,
    ) -> None:
        """Create the source."""
        self._feed = feed
        self._log = log
        self._drain = drain
        self._history = history
        self._workflows = workflows
        self._workspace_id = workspace_id
        self._project_id = project_id
        self._filters = filters

    async def wait_for_start(self) -> int:
        """Wait until the feed has started, and return its position."""
        await self._feed.wait_past(-1)
        return self._feed.through

    async def read(self, after: int, target: int) -> Page:
        """Return the next facts of the project that match."""
        page = await self._read_history(after) if target - after > SCANNED_POSITIONS else None
        if page is None:
            page = await self._read_log(after)
        return Page(events=tuple(await self.select(list(page.events))), through=page.through)

    async def _read_log(self, after: int) -> Page:
        only = LogFilter(
            workspace_id=self._workspace_id,
            project_id=self._project_id,
            stream_id=self._filters.run_id,
            topics=self._topics,
        )
        return await self._log.read_log(after=after, limit=PROJECT_PAGE_FACTS, only=only)

    async def _read_history(self, after: int) -> Page | None:
        """Return the next facts by the index of the history; None if it is not complete past a position."""
        covered = await self._history.find_covered(self._workspace_id)
        if covered <= after:
            return None
        only = HistoryFilters(topics=self._topics, stream_id=self._filters.run_id)
        page = await self._history.page(
            self._workspace_id, self._project_id, after=after, limit=PROJECT_PAGE_FACTS, only=only
        )
        return page if page.through > after else Page(events=(), through=covered)

    @property
    def _topics(self) -> tuple[str, ...] | None:
        return None if self._filters.topics is None else tuple(sorted(self._filters.topics))

    def watch(self) -> Watching:
        """Watch the streams of the project."""
        return self._drain.watch_project(self._project_id)

    async def select(self, facts: list[Recorded]) -> list[Recorded]:
        """Return the facts that match the filters."""
        only = self._filters
        if only.run_id is not None:
            facts = [fact for fact in facts if fact.stream_id == only.run_id]
        if only.topics is not None:
            facts = [fact for fact in facts if get_topic(type(fact.fact)) in only.topics]
        if only.workflow_id is not None:
            facts = [fact for fact in facts if await self._workflows.find(fact) == only.workflow_id]
        return facts
