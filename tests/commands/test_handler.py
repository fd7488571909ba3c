"""The handler on a real log: what it loads, guards, decides again, replays and refuses by itself."""

import asyncio
from datetime import datetime

import pytest

from commands.command import ATTEMPTS
from commands.handler import CommandContended, IdempotencyKeyReused, VersionMismatch
from commands.project import ChangeProject, CreateProject
from commands.runs.start import StartRun
from commands.workflow import ChangeWorkflow
from domain.fact import get_topic
from domain.payload import NOTHING
from domain.project import ProjectArchived, ProjectNotActive, ProjectRenamed, ProjectRestored, ProjectStatus
from domain.runs.refusals import RunAlreadyStarted
from domain.workflow import WorkflowGraphRevised
from store.log.records import Append, CommandId
from tests.support.commands.processes import meanwhile, new_id, now, process
from tests.support.graphs import graph, node
from tests.support.store.given import create_append

KEY = CommandId(b"k" * 32, b"r" * 32)
OTHER_REQUEST = CommandId(b"k" * 32, b"s" * 32)


async def test_a_command_is_decided_and_its_facts_are_in_the_log(database: str) -> None:
    async with process(database) as first:
        project = await first.project()
        renamed = await first.does(ChangeProject(target_id=project, name="Relaunch"))
        facts = await first.facts(project)
    assert [get_topic(type(fact.fact)) for fact in facts] == ["project.created", "project.renamed"]
    assert (renamed.loaded.version, renamed.loaded.position) == (2, facts[1].position)
    assert renamed.loaded.state.name == "Relaunch"
    assert renamed.loaded.created_at == facts[0].recorded_at
    assert renamed.loaded.updated_at == facts[1].recorded_at


async def test_what_changes_nothing_appends_nothing_and_gives_the_thing_as_it_is(database: str) -> None:
    async with process(database) as first:
        project = await first.project()
        same = await first.does(ChangeProject(target_id=project, name="Launch"))
        assert len(await first.facts(project)) == same.loaded.version == 1


async def test_a_run_is_decided_again_when_its_workflow_was_revised_elsewhere(database: str) -> None:
    async with process(database) as first, process(database) as other:
        workflow = await first.workflow(await first.project())
        await other.does(ChangeWorkflow(target_id=workflow, graph=graph(node("b"))))
        started = await first.state(StartRun(target_id=new_id(), workflow_id=workflow, inputs=NOTHING))
    assert started.workflow_version == 2


async def test_a_workflow_revised_between_decision_and_append_is_decided_on_again(database: str) -> None:
    interrupts: list[Append] = []
    with meanwhile(database) as append_meanwhile:

        def clock() -> datetime:  # the handler asks for the time when it has loaded and is about to decide
            if interrupts:
                append_meanwhile(interrupts.pop())
            return now()

        async with process(database, clock) as first:
            project = await first.project()
            workflow = await first.workflow(project)
            revised = WorkflowGraphRevised(version=2, graph=graph(node("b")))
            interrupts.append(create_append(workflow, 1, revised, project=project))
            run = await first.does(StartRun(target_id=new_id(), workflow_id=workflow, inputs=NOTHING))
    assert not interrupts
    assert (run.loaded.state.workflow_version, run.loaded.version) == (2, 1)


async def test_a_run_does_not_start_in_a_project_that_was_archived_elsewhere(database: str) -> None:
    async with process(database) as first, process(database) as other:
        project = await first.project()
        workflow = await first.workflow(project)
        await other.does(ChangeProject(target_id=project, status=ProjectStatus.ARCHIVED))
        run = new_id()
        assert (
            await first.find_refusal(StartRun(target_id=run, workflow_id=workflow, inputs=NOTHING)) is ProjectNotActive
        )
        assert await first.facts(run) == []


async def test_what_a_lagging_cache_would_refuse_is_decided_on_what_the_log_says(database: str) -> None:
    async with process(database) as first, process(database) as other:
        project = await first.project()
        workflow = await first.workflow(project)
        await first.does(ChangeProject(target_id=project, status=ProjectStatus.ARCHIVED))
        await other.does(ChangeProject(target_id=project, status=ProjectStatus.ACTIVE))
        assert await first.find_refusal(StartRun(target_id=new_id(), workflow_id=workflow, inputs=NOTHING)) is None


async def test_a_change_that_a_lagging_cache_takes_for_none_is_made(database: str) -> None:
    async with process(database) as first, process(database) as other:
        project = await first.project()
        await other.does(ChangeProject(target_id=project, name="Relaunch"))
        back = await first.does(ChangeProject(target_id=project, name="Launch"))
    assert (back.loaded.state.name, back.loaded.version) == ("Launch", 3)


async def test_the_newest_version_may_be_named_where_the_cache_lags(database: str) -> None:
    async with process(database) as first, process(database) as other:
        project = await first.project()
        await other.does(ChangeProject(target_id=project, name="Relaunch"))
        changed = await first.does(ChangeProject(target_id=project, if_version=2, settings={"a": 1}))
    assert changed.loaded.version == 3


async def test_a_version_that_is_no_longer_the_newest_is_refused(database: str) -> None:
    async with process(database) as first, process(database) as other:
        project = await first.project()
        await other.does(ChangeProject(target_id=project, name="Relaunch"))
        stale = ChangeProject(target_id=project, if_version=1, settings={"a": 1})
        assert await first.find_refusal(stale) is VersionMismatch
        assert len(await first.facts(project)) == 2


async def test_of_two_racing_deciders_one_wins_and_the_other_decides_again(database: str) -> None:
    async with process(database) as first, process(database) as other:
        project = await first.project()
        assert await other.find_refusal(ChangeProject(target_id=project)) is None  # the other has it in its cache now
        outcomes = await asyncio.gather(
            first.does(ChangeProject(target_id=project, name="One")),
            other.does(ChangeProject(target_id=project, name="Other")),
        )
        names = [fact.fact.name for fact in await first.facts(project) if isinstance(fact.fact, ProjectRenamed)]
    assert {outcome.loaded.version for outcome in outcomes} == {2, 3}
    assert sorted(names) == ["One", "Other"]


async def test_many_deciders_on_one_stream_take_effect_one_after_the_other_or_are_told(database: str) -> None:
    async with process(database) as first, process(database) as other:
        project = await first.project()
        refused = await asyncio.gather(
            *((first, other)[n % 2].find_refusal(ChangeProject(target_id=project, name=f"n{n}")) for n in range(20))
        )
        versions = [fact.version for fact in await first.facts(project)]
    assert set(refused) <= {None, CommandContended}
    assert versions == list(range(1, refused.count(None) + 2))


async def test_a_stream_that_keeps_moving_is_contended_after_three_tries(database: str) -> None:
    tries: list[int] = []
    with meanwhile(database) as append_meanwhile:
        async with process(database) as quiet:
            project = await quiet.project()

        def clock() -> datetime:
            tries.append(len(tries) + 1)
            append_meanwhile(
                create_append(project, len(tries), ProjectRenamed(name=f"other {len(tries)}"), project=project)
            )
            return now()

        async with process(database, clock) as first:
            assert await first.find_refusal(ChangeProject(target_id=project, name="mine")) is CommandContended
            names = [fact.fact.name for fact in await first.facts(project) if isinstance(fact.fact, ProjectRenamed)]
    assert len(tries) == ATTEMPTS
    assert names == ["other 1", "other 2", "other 3"]


async def test_a_repeated_command_gives_its_first_outcome_though_the_thing_has_moved_on(database: str) -> None:
    async with process(database) as first, process(database) as other:
        create = CreateProject(target_id=new_id(), name="Launch", owner="ada")
        outcome = await first.does(create, KEY)
        await first.does(ChangeProject(target_id=create.target_id, name="Relaunch"))
        again = await other.does(CreateProject(target_id=new_id(), name="Launch", owner="ada"), KEY)
    assert (outcome.replayed, again.replayed) == (False, True)
    assert again.loaded == outcome.loaded


async def test_a_command_sent_twice_at_once_takes_effect_once(database: str) -> None:
    async with process(database) as first, process(database) as other:
        outcomes = await asyncio.gather(
            *(
                sender.does(CreateProject(target_id=new_id(), name="Launch", owner="ada"), KEY)
                for sender in (first, other, first, other)
            )
        )
        head, _ = await first.log.head()
    assert head == 1
    assert len({outcome.loaded.stream_id for outcome in outcomes}) == 1
    assert sorted(outcome.replayed for outcome in outcomes) == [False, True, True, True]


async def test_a_key_is_not_for_another_request(database: str) -> None:
    async with process(database) as first:
        await first.does(CreateProject(target_id=new_id(), name="Launch", owner="ada"), KEY)
        with pytest.raises(IdempotencyKeyReused):
            await first.does(CreateProject(target_id=new_id(), name="Other", owner="ada"), OTHER_REQUEST)


async def test_a_key_is_not_for_another_noun(database: str) -> None:
    async with process(database) as first:
        created = await first.does(CreateProject(target_id=new_id(), name="Launch", owner="ada"), KEY)
        workflow = await first.workflow(created.loaded.stream_id)
        with pytest.raises(IdempotencyKeyReused):
            await first.does(StartRun(target_id=new_id(), workflow_id=workflow, inputs=NOTHING), KEY)


async def test_a_refused_command_may_be_sent_again_under_its_key(database: str) -> None:
    async with process(database) as first:
        project = await first.project()
        await first.does(ChangeProject(target_id=project, status=ProjectStatus.ARCHIVED))
        with pytest.raises(ProjectNotActive):
            await first.does(ChangeProject(target_id=project, name="Relaunch"), KEY)
        await first.does(ChangeProject(target_id=project, status=ProjectStatus.ACTIVE))
        renamed = await first.does(ChangeProject(target_id=project, name="Relaunch"), KEY)
    assert (renamed.replayed, renamed.loaded.state.name) == (False, "Relaunch")


async def test_what_is_refused_because_the_same_request_has_won_meanwhile_gets_its_answer(database: str) -> None:
    interrupts: list[Append] = []
    with meanwhile(database) as append_meanwhile:

        def clock() -> datetime:
            while interrupts:
                append_meanwhile(interrupts.pop(0))
            return now()

        async with process(database, clock) as first:
            project = await first.project()
            await first.does(ChangeProject(target_id=project, status=ProjectStatus.ARCHIVED))
            interrupts += [
                create_append(project, 2, ProjectRestored()),
                create_append(project, 3, ProjectRenamed(name="Relaunch"), command_id=KEY),
                create_append(project, 4, ProjectRenamed(name="Launch")),
                create_append(project, 5, ProjectArchived()),
            ]
            again = await first.does(ChangeProject(target_id=project, name="Relaunch"), KEY)
    assert (again.replayed, again.loaded.version, again.loaded.state.name) == (True, 4, "Relaunch")


async def test_an_id_is_begun_once(database: str) -> None:
    async with process(database) as first, process(database) as other:
        project = await first.project()
        again = await other.does(CreateProject(target_id=project, name="Launch", owner="ada"))
        run = StartRun(target_id=new_id(), workflow_id=await first.workflow(project), inputs=NOTHING)
        assert await first.find_refusal(run) is None
        assert await other.find_refusal(run) is RunAlreadyStarted
        assert len(await first.facts(project)) == again.loaded.version == 1
