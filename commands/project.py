"""The commands of projects and how each is decided."""

from datetime import datetime

from msgspec import UNSET, UnsetType

from commands.command import Command
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


class CreateProject(Command, frozen=True, kw_only=True):
    """Begin a project with its creator as owner, and with a first team and settings where they are given."""

    name: str
    owner: str
    team: dict[str, Role] = {}
    settings: dict[str, object] = {}


class ChangeProject(Command, frozen=True, kw_only=True):
    """Change what is given of a project; `team` and `settings` are the whole new ones."""

    name: str | UnsetType = UNSET
    status: ProjectStatus | UnsetType = UNSET
    team: dict[str, Role] | UnsetType = UNSET
    settings: dict[str, object] | UnsetType = UNSET


async def gather_nothing(_command: object, _sources: Sources) -> None:
    """Load nothing: the command is decided on its own stream alone."""


def create_project(
    command: CreateProject, project: Project, _gathered: None, _now: datetime
) -> tuple[ProjectFact, ...]:
    """Decide that a project begins. The creator stays an owner, whatever the first team says of them."""
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
    """Decide the facts of a change; what is the same already gives none. Raises ProjectNotActive, LastOwner."""
    restores = command.status is ProjectStatus.ACTIVE
    changes = [
        *_renamed(command, project),
        *_settings_changed(command, project),
        *_team_changed(command, project),
    ]
    if changes and project.status is ProjectStatus.ARCHIVED and not restores:
        raise ProjectNotActive
    return (*_restored(command, project), *changes, *_archived(command, project))


def _restored(command: ChangeProject, project: Project) -> tuple[ProjectFact, ...]:
    return (ProjectRestored(),) if command.status is ProjectStatus.ACTIVE is not project.status else ()


def _archived(command: ChangeProject, project: Project) -> tuple[ProjectFact, ...]:
    return (ProjectArchived(),) if command.status is ProjectStatus.ARCHIVED is not project.status else ()


def _renamed(command: ChangeProject, project: Project) -> tuple[ProjectFact, ...]:
    return () if command.name in (UNSET, project.name) else (ProjectRenamed(name=str(command.name)),)


def _settings_changed(command: ChangeProject, project: Project) -> tuple[ProjectFact, ...]:
    if isinstance(command.settings, UnsetType) or command.settings == project.settings:
        return ()
    return (ProjectSettingsChanged(settings=command.settings),)


def _team_changed(command: ChangeProject, project: Project) -> tuple[ProjectFact, ...]:
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
