"""Projects: every command, every refusal, and the same intent twice."""

from uuid import UUID

from msgspec import UNSET

from commands.project import ChangeProject, CreateProject
from domain.project import (
    LastOwner,
    MemberAdded,
    MemberRemoved,
    MemberRoleChanged,
    ProjectArchived,
    ProjectCreated,
    ProjectNotActive,
    ProjectRenamed,
    ProjectRestored,
    ProjectSettingsChanged,
    ProjectStatus,
    Role,
)
from tests.support.commands.scenario import given

ID = UUID("0192f000-0000-7000-8000-0000000000a1")
CREATED = ProjectCreated(name="Launch", owner="ada")
BO_JOINED = MemberAdded(user_id="bo", role=Role.EDITOR)


def change(**fields: object) -> ChangeProject:
    return ChangeProject(target_id=ID, **fields)  # pyright: ignore[reportArgumentType]  # each test names real fields


def test_a_project_begins_with_its_creator_as_owner() -> None:
    given().when(CreateProject(target_id=ID, name="Launch", owner="ada")).then(CREATED).and_again_nothing()


def test_a_first_team_and_settings_join_in_the_same_append() -> None:
    command = CreateProject(
        target_id=ID, name="Launch", owner="ada", team={"bo": Role.EDITOR}, settings={"tone": "warm"}
    )
    given().when(command).then(CREATED, BO_JOINED, ProjectSettingsChanged(settings={"tone": "warm"}))


def test_a_first_team_cannot_make_its_creator_less_than_an_owner() -> None:
    command = CreateProject(target_id=ID, name="Launch", owner="ada", team={"ada": Role.VIEWER})
    given().when(command).then(CREATED)


def test_a_project_is_renamed() -> None:
    given(CREATED).when(change(name="Relaunch")).then(ProjectRenamed(name="Relaunch")).and_again_nothing()


def test_a_project_keeps_its_name_when_given_the_same() -> None:
    given(CREATED).when(change(name="Launch")).then()


def test_a_change_of_nothing_gives_nothing() -> None:
    given(CREATED).when(change()).then()


def test_a_project_is_archived_once() -> None:
    given(CREATED).when(change(status=ProjectStatus.ARCHIVED)).then(ProjectArchived()).and_again_nothing()


def test_an_archived_project_is_restored_once() -> None:
    command = change(status=ProjectStatus.ACTIVE)
    given(CREATED, ProjectArchived()).when(command).then(ProjectRestored()).and_again_nothing()


def test_an_archived_project_is_not_renamed() -> None:
    given(CREATED, ProjectArchived()).when(change(name="Relaunch")).refuses(ProjectNotActive)


def test_an_archived_project_is_not_renamed_while_it_is_archived_again() -> None:
    command = change(name="Relaunch", status=ProjectStatus.ARCHIVED)
    given(CREATED, ProjectArchived()).when(command).refuses(ProjectNotActive)


def test_an_archived_project_takes_no_settings_and_no_members() -> None:
    given(CREATED, ProjectArchived()).when(change(settings={"a": 1})).refuses(ProjectNotActive)
    team = {"ada": Role.OWNER, "bo": Role.EDITOR}
    given(CREATED, ProjectArchived()).when(change(team=team)).refuses(ProjectNotActive)


def test_an_archived_project_is_restored_before_it_changes() -> None:
    command = change(name="Relaunch", status=ProjectStatus.ACTIVE)
    given(CREATED, ProjectArchived()).when(command).then(ProjectRestored(), ProjectRenamed(name="Relaunch"))


def test_a_project_changes_before_it_is_archived() -> None:
    command = change(name="Relaunch", status=ProjectStatus.ARCHIVED)
    given(CREATED).when(command).then(ProjectRenamed(name="Relaunch"), ProjectArchived())


def test_an_archived_project_may_be_told_what_it_is_already() -> None:
    command = change(name="Launch", status=ProjectStatus.ARCHIVED, team={"ada": Role.OWNER}, settings={})
    given(CREATED, ProjectArchived()).when(command).then()


def test_settings_are_recorded_whole() -> None:
    changed = ProjectSettingsChanged(settings={"tone": "warm"})
    given(CREATED).when(change(settings={"tone": "warm"})).then(changed).and_again_nothing()


def test_a_new_team_is_recorded_as_who_joined_who_changed_and_who_left() -> None:
    command = change(team={"ada": Role.OWNER, "bo": Role.OWNER, "cy": Role.VIEWER})
    given(CREATED, BO_JOINED, MemberAdded(user_id="di", role=Role.REVIEWER)).when(command).then(
        MemberAdded(user_id="cy", role=Role.VIEWER),
        MemberRoleChanged(user_id="bo", role=Role.OWNER),
        MemberRemoved(user_id="di"),
    ).and_again_nothing()


def test_an_owner_may_go_when_another_stays() -> None:
    command = change(team={"bo": Role.OWNER})
    given(CREATED, BO_JOINED).when(command).then(
        MemberRoleChanged(user_id="bo", role=Role.OWNER), MemberRemoved(user_id="ada")
    )


def test_the_last_owner_cannot_go() -> None:
    given(CREATED, BO_JOINED).when(change(team={"bo": Role.EDITOR})).refuses(LastOwner)


def test_the_last_owner_cannot_become_an_editor() -> None:
    given(CREATED).when(change(team={"ada": Role.EDITOR})).refuses(LastOwner)


def test_a_team_cannot_be_emptied() -> None:
    given(CREATED).when(change(team={})).refuses(LastOwner)


def test_what_is_left_out_stays() -> None:
    command = change(name=UNSET, status=UNSET, team=UNSET, settings={"a": 1})
    given(CREATED, BO_JOINED).when(command).then(ProjectSettingsChanged(settings={"a": 1}))
