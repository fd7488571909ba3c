"""The anchor of `rebuild`: the library's ProjectionRunner folding the same facts into the same rows of `runs`."""

import time
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast
from uuid import UUID

import psycopg
from eventsourcing.application import Application
from eventsourcing.dispatch import singledispatchmethod
from eventsourcing.domain import DomainEvent
from eventsourcing.persistence import Tracking
from eventsourcing.postgres import PostgresTrackingRecorder
from eventsourcing.projection import Projection, ProjectionRunner
from psycopg.conninfo import conninfo_to_dict

from domain.folded import Folded
from domain.runs.facts import RunFact
from domain.runs.run import Run, evolve
from projections.read_models.runs import WRITE, RunsProjection
from projections.runtime.folding import Folding
from store.log.codec import decode_fact, encode_fact
from store.log.records import Recorded
from store.postgres.arrays import register, texts, uuids

WAIT_SECONDS = 600.0


@dataclass(frozen=True)
class Told(DomainEvent):
    """A fact as an event of the library's own kind."""

    state: str
    workspace_id: UUID
    project_id: UUID
    position: int
    recorded_at: datetime


class Upstream(Application[UUID]):
    """Source of the library's runner: the library's own log on PostgreSQL."""


class RunRows(PostgresTrackingRecorder):
    """Writes the rows of `runs`, each event in a transaction with its tracking, as the library does it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401  # the library's own
        """Know no run yet."""
        super().__init__(*args, **kwargs)
        self._runs: dict[UUID, Folded[Run]] = {}

    def take(self, event: Told, tracking: Tracking) -> None:
        """Fold one event and write its run."""
        known = self._runs.get(event.originator_id)
        fact = cast("RunFact", decode_fact(event.position, "", 1, None, event.state.encode()))
        run = self._runs[event.originator_id] = Folded(
            stream_id=event.originator_id,
            workspace_id=event.workspace_id,
            project_id=event.project_id,
            version=1 if known is None else known.version + 1,
            position=event.position,
            created_position=event.position if known is None else known.created_position,
            created_at=event.recorded_at if known is None else known.created_at,
            updated_at=event.recorded_at,
            state=evolve(Run() if known is None else known.state, fact),
        )
        with self.datastore.transaction(commit=True) as cursor:
            register(cursor)
            self._insert_tracking(cursor, tracking)
            row = {
                **Folding.columns([run]),
                "workflows": uuids([run.state.workflow_id]),
                "statuses": texts([run.state.status.value]),
            }
            cursor.execute(WRITE, row, prepare=True)


class Runs(Projection[RunRows]):
    """The projection of runs, as the library has it."""

    name = "runs"

    @singledispatchmethod
    def process_event(self, domain_event: Any, tracking: Tracking) -> None:  # noqa: ANN401  # the library's
        """Process one event."""
        self.view.take(domain_event, tracking)


def measure(conninfo: str, facts: list[Recorded]) -> float:
    """Return how many events a second the runner folds, of those that `runs` handles."""
    wants = RunsProjection.wants
    events = [_to_library_event(event) for event in facts if type(event.fact) in wants]
    env = _environment(conninfo)
    application = Upstream(env)
    for event in events:
        application.recorder.insert_events([application.mapper.to_stored_event(event)])
    application.close()
    with psycopg.connect(conninfo, autocommit=True) as connection:
        connection.execute("truncate runs")
    begun = time.perf_counter()
    with ProjectionRunner(application_class=Upstream, projection_class=Runs, view_class=RunRows, env=env) as runner:
        runner.wait(len(events), timeout=WAIT_SECONDS)
        return len(events) / (time.perf_counter() - begun)


def _to_library_event(event: Recorded) -> Told:
    return Told(
        originator_id=event.stream_id,
        originator_version=event.version,
        timestamp=event.recorded_at,
        state=encode_fact(event.fact).decode(),
        workspace_id=event.workspace_id,
        project_id=event.project_id or event.stream_id,
        position=event.position,
        recorded_at=event.recorded_at,
    )


def _environment(conninfo: str) -> dict[str, str]:
    given = {name: str(value) for name, value in conninfo_to_dict(conninfo).items() if value is not None}
    return {
        "PERSISTENCE_MODULE": "eventsourcing.postgres",
        "POSTGRES_DBNAME": given["dbname"],
        "POSTGRES_HOST": given.get("host", ""),
        "POSTGRES_PORT": given.get("port", "5432"),
        "POSTGRES_USER": given.get("user", ""),
        "POSTGRES_PASSWORD": given.get("password", ""),
    }
