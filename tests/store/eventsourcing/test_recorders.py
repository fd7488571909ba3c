"""The recorders of the eventsourcing library over our log, held by the library's own test cases."""

from collections.abc import Generator
from unittest import TestCase
from uuid import UUID, uuid4

import pytest
from eventsourcing.application import Application
from eventsourcing.domain import Aggregate, event
from eventsourcing.persistence import InfrastructureFactoryError, IntegrityError, NotSupportedError, StoredEvent

# The module and not its classes: pytest would collect the abstract cases as tests of this file.
from eventsourcing.tests import persistence as cases

from domain.project import ProjectCreated, ProjectRenamed
from store.eventsourcing.recorders import CallsheetAggregateRecorder, CallsheetApplicationRecorder, Datastore
from tests.support.servers.postgres import EVERY_POSTGRES
from tests.support.store.given import create_append, open_log


@pytest.fixture
def datastore(database: str) -> Generator[Datastore]:
    """A datastore over that database, closed before the database is cleared."""
    datastore = Datastore(database)
    yield datastore
    datastore.close()


def create_stored(stream: UUID, version: int, topic: str = "topic", state: bytes = b"\x00\xff") -> StoredEvent:
    return StoredEvent(originator_id=stream, originator_version=version, topic=topic, state=state)


def run_case(case: type[TestCase], method: str, recorder: CallsheetAggregateRecorder) -> None:
    """Run one test of the library's as its authors would, on our recorder."""

    def create_recorder(_: TestCase) -> CallsheetAggregateRecorder:
        return recorder

    concrete = type(case.__name__, (case,), {"create_recorder": create_recorder})
    concrete(method).debug()


@EVERY_POSTGRES
@pytest.mark.parametrize("method", ["test_insert_and_select", "test_performance"])
def test_the_aggregate_recorder_passes_the_librarys_own_case(datastore: Datastore, method: str) -> None:
    run_case(cases.AggregateRecorderTestCase, method, CallsheetAggregateRecorder(datastore))


@EVERY_POSTGRES
@pytest.mark.parametrize(
    "method",
    [
        "test_insert_select",
        "test_performance",
        "test_concurrent_no_conflicts",
        "test_concurrent_throughput",
        "optional_test_insert_subscribe",
    ],
)
def test_the_application_recorder_passes_the_librarys_own_case(datastore: Datastore, method: str) -> None:
    run_case(cases.ApplicationRecorderTestCase, method, CallsheetApplicationRecorder(datastore))


@EVERY_POSTGRES
def test_the_positions_of_two_inserts_do_not_interleave(datastore: Datastore) -> None:
    run_case(cases.NonInterleavingNotificationIDsBaseCase, "test", CallsheetApplicationRecorder(datastore))


def test_every_test_of_the_librarys_cases_is_run_here() -> None:
    """An upgrade of the library that brings new tests must not pass them by."""
    found = {
        name
        for case in (
            cases.AggregateRecorderTestCase,
            cases.ApplicationRecorderTestCase,
            cases.NonInterleavingNotificationIDsBaseCase,
        )
        for name in dir(case)
        if name.startswith(("test", "optional_test"))
    }
    assert found == {
        "test",
        "test_insert_and_select",
        "test_insert_select",
        "test_performance",
        "test_concurrent_no_conflicts",
        "test_concurrent_throughput",
        "optional_test_insert_subscribe",
    }


def test_several_aggregates_are_recorded_together_or_not_at_all(datastore: Datastore) -> None:
    recorder = CallsheetApplicationRecorder(datastore)
    first, second = uuid4(), uuid4()
    assert recorder.insert_events([create_stored(first, 0), create_stored(second, 0), create_stored(first, 1)]) == [
        1,
        2,
        3,
    ]
    with pytest.raises(IntegrityError):
        recorder.insert_events([create_stored(second, 1), create_stored(first, 1)])
    assert [event.originator_version for event in recorder.select_events(second)] == [0]
    assert recorder.insert_events([create_stored(second, 1)]) == [4]


def test_what_a_recorder_does_not_know_is_refused(datastore: Datastore) -> None:
    with pytest.raises(NotSupportedError, match="tracking"):
        CallsheetApplicationRecorder(datastore).insert_events([], tracking="a position elsewhere")


async def test_the_librarys_tools_read_a_log_that_callsheet_wrote(database: str, datastore: Datastore) -> None:
    project = uuid4()
    async with open_log(database) as log:
        await log.append(
            create_append(project, 0, ProjectCreated(name="Launch", owner="ada"), ProjectRenamed(name="L"))
        )
    recorder = CallsheetApplicationRecorder(datastore)
    assert recorder.max_notification_id() == 2
    env = {"PERSISTENCE_MODULE": "store.eventsourcing.factory", "DATABASE_URL": database}
    with Application[UUID](env=env) as application:
        notifications = application.notification_log["1,10"].items
    assert [
        (notification.id, notification.originator_id, notification.originator_version, notification.topic)
        for notification in notifications
    ] == [
        (1, project, 1, "project.created"),
        (2, project, 2, "project.renamed"),
    ]
    assert notifications[1].state == b'{"fact":"project.renamed","name":"L"}'
    assert [event.topic for event in recorder.select_events(project)] == ["project.created", "project.renamed"]


async def test_a_subscription_of_the_librarys_follows_a_log_that_announces_nothing(
    database: str, datastore: Datastore
) -> None:
    async with open_log(database) as log:
        log.wake_others = False
        with CallsheetApplicationRecorder(datastore).subscribe(gt=0) as subscription:
            await log.append(create_append(uuid4(), 0, ProjectCreated(name="Launch", owner="ada")))
            assert next(subscription).topic == "project.created"


async def test_callsheet_passes_over_what_the_library_wrote(database: str, datastore: Datastore) -> None:
    async with open_log(database) as log:
        await log.append(create_append(uuid4(), 0, ProjectCreated(name="Launch", owner="ada")))
        CallsheetApplicationRecorder(datastore).insert_events([create_stored(uuid4(), 0)])
        await log.append(create_append(uuid4(), 0, ProjectCreated(name="Film", owner="ada")))
        page = await log.read_log(after=0, limit=10)
    assert [event.position for event in page.events] == [1, 3]
    assert page.through == 3


async def test_the_library_cannot_write_into_a_stream_of_callsheets(database: str, datastore: Datastore) -> None:
    project = uuid4()
    async with open_log(database) as log:
        await log.append(create_append(project, 0, ProjectCreated(name="Launch", owner="ada")))
    with pytest.raises(IntegrityError, match="stream of Callsheet"):
        CallsheetApplicationRecorder(datastore).insert_events([create_stored(project, 2)])


class Painting(Aggregate):
    """An aggregate written as the library's users write theirs."""

    def __init__(self, title: str) -> None:  # noqa: D107  # the library's way to write a first event
        self.title = title

    @event("Retitled")
    def retitle(self, title: str) -> None:
        self.title = title


def test_an_application_of_the_library_runs_on_our_log(database: str) -> None:
    env = {"PERSISTENCE_MODULE": "store.eventsourcing.factory", "DATABASE_URL": database}
    with Application[UUID](env=env) as application:
        painting = Painting(title="Dawn")
        painting.retitle(title="Dusk")
        application.save(painting)
        found = application.repository.get(painting.id)
        section = application.notification_log["1,10"]
    assert isinstance(found, Painting)
    assert found.title == "Dusk"
    assert [notification.id for notification in section.items] == [1, 2]


def test_an_application_without_a_database_is_told_so() -> None:
    with pytest.raises(InfrastructureFactoryError, match="DATABASE_URL is not set"):
        Application[UUID](env={"PERSISTENCE_MODULE": "store.eventsourcing.factory", "DATABASE_URL": ""})
