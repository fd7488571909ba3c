"""Projects: creator workspaces with a team; their facts and state."""

from enum import StrEnum
from typing import assert_never

from msgspec import Struct
from msgspec.structs import replace

from domain.fact import Fact
from domain.refusal import Refusal, RefusalKind


class Role(StrEnum):
    """Role of a team member; it decides their permissions."""

    OWNER = "owner"
    EDITOR = "editor"
    REVIEWER = "reviewer"
    VIEWER = "viewer"


class ProjectStatus(StrEnum):
    """Lifecycle of a project; `absent` before its first fact."""

    ABSENT = "absent"
    ACTIVE = "active"
    ARCHIVED = "archived"


class ProjectCreated(Fact, frozen=True, kw_only=True, tag="project.created"):
    """A project was created, with its creator as the first owner."""

    name: str
    owner: str


class ProjectRenamed(Fact, frozen=True, kw_only=True, tag="project.renamed"):
    """A project was renamed."""

    name: str


class ProjectArchived(Fact, frozen=True, kw_only=True, tag="project.archived"):
    """A project was archived: nothing new can start in it."""


class ProjectRestored(Fact, frozen=True, kw_only=True, tag="project.restored"):
    """An archived project became active again."""


class ProjectSettingsChanged(Fact, frozen=True, kw_only=True, tag="project.settings-changed"):
    """The whole settings of a project, after a change."""

    settings: dict[str, object]


class MemberAdded(Fact, frozen=True, kw_only=True, tag="project.member-added"):
    """A user joined the team."""

    user_id: str
    role: Role


class MemberRoleChanged(Fact, frozen=True, kw_only=True, tag="project.member-role-changed"):
    """The role of a member was changed."""

    user_id: str
    role: Role


class MemberRemoved(Fact, frozen=True, kw_only=True, tag="project.member-removed"):
    """A user left the team."""

    user_id: str


ProjectFact = (
    ProjectCreated
    | ProjectRenamed
    | ProjectArchived
    | ProjectRestored
    | ProjectSettingsChanged
    | MemberAdded
    | MemberRoleChanged
    | MemberRemoved
)


class Project(Struct, frozen=True, kw_only=True):
    """The state of a project, folded from its facts. `team` maps a user id to a role, in order of joining."""

    status: ProjectStatus = ProjectStatus.ABSENT
    name: str = ""
    team: dict[str, Role] = {}
    settings: dict[str, object] = {}


class ProjectNotFound(Refusal):
    """The project does not exist, or belongs to another workspace."""

    code = "project_not_found"
    kind = RefusalKind.MISSING


class ProjectNotActive(Refusal):
    """The project is archived. Restore it first."""

    code = "project_not_active"


class LastOwner(Refusal):
    """A project needs at least one owner. Add another owner before you remove the last one or change their role."""

    code = "last_owner"


def evolve(project: Project, fact: ProjectFact) -> Project:
    """Return the project after one more fact. Accepts any history; never refuses."""
    match fact:
        case ProjectCreated():
            return Project(status=ProjectStatus.ACTIVE, name=fact.name, team={fact.owner: Role.OWNER})
        case ProjectRenamed():
            return replace(project, name=fact.name)
        case ProjectArchived():
            return replace(project, status=ProjectStatus.ARCHIVED)
        case ProjectRestored():
            return replace(project, status=ProjectStatus.ACTIVE)
        case ProjectSettingsChanged():
            return replace(project, settings=fact.settings)
        case MemberAdded() | MemberRoleChanged():
            return replace(project, team={**project.team, fact.user_id: fact.role})
        case MemberRemoved():
            return replace(project, team={user: role for user, role in project.team.items() if user != fact.user_id})
        case _:
            assert_never(fact)
