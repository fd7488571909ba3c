"""The commands of projects and their deciders."""

from datetime import datetime

from msgspec import UNSET, UnsetType

from commands.command import Command, InProject
from commands.repository import Sources
from domain.project import (
    LastOwner,
    MemberAdded,
    MemberRemoved,
    MemberRoleChanged,
    Project,
    ProjectArchived,
    ProjectCreated,
    ProjectFact,
    ProjectNotActive,
    ProjectRenamed,
    ProjectRestored,
    ProjectSettingsChanged,
    ProjectStatus,
    Role,
)


class CreateProject(Command[Project], frozen=True, kw_only=True):
    """Create a project with its creator as owner, and optionally with a team and settings."""

    name: str
    owner: str
    team: dict[str, Role] = {}
    settings: dict[str, object] = {}


class ChangeProject(Command[Project], frozen=True, kw_only=True):
    """Change the given fields of a project; `team` and `settings` replace the old ones."""

    name: str | UnsetType = UNSET
    status: ProjectStatus | UnsetType = UNSET
    team: dict[str, Role] | UnsetType = UNSET
    settings: dict[str, object] | UnsetType = UNSET


async def gather_new_project(command: CreateProject, _sources: Sources) -> InProject:
    """Return the project's own id: its stream belongs to itself."""
    return InProject(project_id=command.target_id)


def create_project(
    command: CreateProject, project: Project, _gathered: InProject, _now: datetime
) -> tuple[ProjectFact, ...]:
    """Decide the creation of a project. The creator is always an owner, whatever role the team gives them."""
    if project.status is not ProjectStatus.ABSENT:
        return ()
    facts: list[ProjectFact] = [ProjectCreated(name=command.name, owner=command.owner)]
    facts.extend(MemberAdded(user_id=user, role=role) for user, role in command.team.items() if user != command.owner)
    if command.settings:
        facts.append(ProjectSettingsChanged(settings=command.settings))
    return tuple(facts)


def change_project(
    command: ChangeProject, project: Project, _gathered: None, _now: datetime
) -> tuple[ProjectFact, ...]:
    """Decide the facts of a change; unchanged values add none. Raises ProjectNotActive, LastOwner."""
    restores = command.status is ProjectStatus.ACTIVE
    changes = [
        *_rename(command, project),
        *_change_settings(command, project),
        *_change_team(command, project),
    ]
    if changes and project.status is ProjectStatus.ARCHIVED and not restores:
        raise ProjectNotActive
    return (*_restore(command, project), *changes, *_archive(command, project))


def _restore(command: ChangeProject, project: Project) -> tuple[ProjectFact, ...]:
    return (ProjectRestored(),) if command.status is ProjectStatus.ACTIVE is not project.status else ()


def _archive(command: ChangeProject, project: Project) -> tuple[ProjectFact, ...]:
    return (ProjectArchived(),) if command.status is ProjectStatus.ARCHIVED is not project.status else ()


def _rename(command: ChangeProject, project: Project) -> tuple[ProjectFact, ...]:
    return () if command.name in (UNSET, project.name) else (ProjectRenamed(name=str(command.name)),)


def _change_settings(command: ChangeProject, project: Project) -> tuple[ProjectFact, ...]:
    if isinstance(command.settings, UnsetType) or command.settings == project.settings:
        return ()
    return (ProjectSettingsChanged(settings=command.settings),)


def _change_team(command: ChangeProject, project: Project) -> tuple[ProjectFact, ...]:
    if isinstance(command.team, UnsetType):
        return ()
    team, new = project.team, command.team
    if Role.OWNER not in new.values():
        raise LastOwner
    return (
        *(MemberAdded(user_id=user, role=role) for user, role in new.items() if user not in team),
        *(
            MemberRoleChanged(user_id=user, role=role)
            for user, role in new.items()
            if user in team and team[user] is not role
        ),
        *(MemberRemoved(user_id=user) for user in team if user not in new),
    )
