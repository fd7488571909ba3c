"""Projects: `GET/POST /v1/projects`, `GET/PATCH /v1/projects/{projectId}`."""

from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Final

from msgspec import UNSET, Meta, Struct, UnsetType

from commands.aggregates import PROJECT
from commands.command import Command
from commands.project import ChangeProject, CreateProject
from domain.folded import Folded
from domain.names import NAME_PATTERN, NAME_RULE, normalize_user_id
from domain.project import LastOwner, Project, ProjectNotActive, ProjectNotFound, ProjectStatus, Role
from domain.refusal import Problem
from domain.runs.call_recording import SETTING, find_setting_fault
from gateway.access.permissions import Permission
from gateway.deps import Deps
from gateway.http.bodies import PATCH_TYPES
from gateway.http.ids import format_id
from gateway.http.merge_patch import patch_object
from gateway.http.rejections import BodyUnacceptable, NotPermitted
from gateway.http.statuses import Status, convert_status
from gateway.identity.scopes import Scope
from gateway.operations.context import RequestContext
from gateway.operations.current import read_current
from gateway.operations.operation import (
    NOT_MODIFIED,
    Method,
    Operation,
    PathId,
    RequestBody,
    respond_changed,
    respond_created,
    respond_page,
    respond_read,
)
from gateway.operations.paging import PageRequest
from gateway.operations.results import Page, Result
from projections.read_models.projects_view import ProjectFilters

PROJECT_ID: Final = PathId("projectId", "prj", ProjectNotFound)
Name = Annotated[str, Meta(min_length=1, max_length=200, pattern=NAME_PATTERN, extra={"rule": NAME_RULE})]
UserId = Annotated[str, Meta(min_length=1, max_length=255)]


class Member(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A member of a project's team."""

    user_id: UserId
    role: Role


Team = Annotated[tuple[Member, ...], Meta(max_length=1_000)]


class NewProject(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A project to create. The caller becomes an owner."""

    name: Name
    team: Team = ()
    settings: dict[str, Any] = {}


class ProjectPatch(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A change of a project, as a JSON Merge Patch. `settings: null` empties the settings."""

    name: Name | UnsetType = UNSET
    status: Status | UnsetType = UNSET
    team: Team | UnsetType = UNSET
    settings: dict[str, Any] | UnsetType | None = UNSET


class ProjectBody(Struct, frozen=True, kw_only=True):
    """A project."""

    id: str
    name: str
    status: ProjectStatus
    team: list[Member]
    settings: dict[str, Any]
    created_at: datetime | None
    updated_at: datetime | None


class ProjectQuery(Struct, frozen=True, kw_only=True):
    """Query of a list of projects. `name` matches exactly."""

    page: PageRequest
    status: ProjectStatus | None = None
    name: str | None = None


def create_project_body(folded: Folded[Project]) -> ProjectBody:
    """Return a project as it is sent."""
    project = folded.state
    return ProjectBody(
        id=format_id("prj", folded.stream_id),
        name=project.name,
        status=project.status,
        team=[Member(user_id=user_id, role=role) for user_id, role in project.team.items()],
        settings=project.settings,
        created_at=folded.created_at,
        updated_at=folded.updated_at,
    )


def _index_team(members: tuple[Member, ...]) -> dict[str, Role]:
    """Return a team by user. Raises BodyUnacceptable for users who are listed twice, or cannot be told apart."""
    problems: list[Problem] = []
    user_ids: list[str] = []
    for index, member in enumerate(members):
        try:
            user_ids.append(normalize_user_id(member.user_id))
        except ValueError as fault:
            user_ids.append(member.user_id)
            problems.append(Problem(f"/team/{index}/user_id", str(fault)))
    count = Counter(user_ids)
    problems += [
        Problem(f"/team/{index}/user_id", "must not be listed twice")
        for index, user_id in enumerate(user_ids)
        if count[user_id] > 1
    ]
    if problems:
        raise BodyUnacceptable(problems=tuple(problems))
    return {user_id: member.role for user_id, member in zip(user_ids, members, strict=True)}


def _check_settings(settings: Mapping[str, object]) -> None:
    """Raise BodyUnacceptable for a setting that Callsheet reads and cannot understand; others are the caller's own."""
    fault = find_setting_fault(settings)
    if fault is not None:
        raise BodyUnacceptable(problems=(Problem(f"/settings/{SETTING}", fault),))


async def list_projects(request: RequestContext[ProjectQuery, None], deps: Deps) -> Page:
    """List the projects that the caller may see."""
    query = request.query
    listing = await deps.projects.list(
        request.workspace_id,
        filters=ProjectFilters(
            member=None if request.caller.sees_workspace else request.caller.user_id,
            ids=None if request.caller.project_ids is None else tuple(request.caller.project_ids),
            status=query.status,
            name=query.name,
        ),
        limit=query.page.limit,
        cursor=query.page.cursor,
        sort=query.page.sort,
    )
    items = [create_project_body(view) for view in listing.items]
    return Page(items=items, next_cursor=listing.next)


LIST_PROJECTS: Final = Operation(
    method=Method.GET,
    path="/v1/projects",
    operation_id="listProjects",
    tag="projects",
    summary="List the projects whose team the caller is in; with `workspace:admin` all of the workspace.",
    scope=Scope.PROJECTS_READ,
    query=ProjectQuery,
    responses=(respond_page(ProjectBody, "A page of projects."),),
    reads=("projects",),
    handler=list_projects,
)


async def create_project(request: RequestContext[None, NewProject], deps: Deps) -> Result:
    """Create a project."""
    new = request.body
    _check_settings(new.settings)
    if request.caller.project_ids is not None:
        raise NotPermitted("An API key that is bound to projects cannot create one.")
    command = CreateProject(
        target_id=deps.make_id(),
        name=new.name,
        owner=request.caller.user_id,
        team=_index_team(new.team),
        settings=new.settings,
    )
    outcome = await request.execute(command)
    body = create_project_body(outcome.loaded)
    return Result.of_change(outcome, body, location=f"/v1/projects/{body.id}")


CREATE_PROJECT: Final = Operation(
    method=Method.POST,
    path="/v1/projects",
    operation_id="createProject",
    tag="projects",
    summary="Create a project. The caller becomes an owner.",
    scope=Scope.PROJECTS_WRITE,
    body=RequestBody(type=NewProject),
    responses=(respond_created(ProjectBody, "The new project."),),
    idempotent_by_key=True,
    handler=create_project,
)


async def get_project(request: RequestContext[None, None], deps: Deps) -> Result:
    """Return a project."""
    project = await read_current(deps, PROJECT, request.workspace_id, request.target_id, deps.projects.get)
    return Result.of_read(project, create_project_body(project))


GET_PROJECT: Final = Operation(
    method=Method.GET,
    path="/v1/projects/{projectId}",
    operation_id="getProject",
    tag="projects",
    summary="Get a project.",
    scope=Scope.PROJECTS_READ,
    permission=Permission.READ,
    path_parameters=(PROJECT_ID,),
    responses=(respond_read(ProjectBody, "The project."), NOT_MODIFIED),
    reads=("projects",),
    handler=get_project,
)


async def change_project(request: RequestContext[None, ProjectPatch], _deps: Deps) -> Result:
    """Change a project."""
    patch = request.body
    team = UNSET if isinstance(patch.team, UnsetType) else _index_team(patch.team)
    if isinstance(patch.settings, dict) and patch.settings.get(SETTING) is not None:
        _check_settings(patch.settings)

    async def create_command(loaded: Folded[Project], version: int) -> Command[Project]:
        return ChangeProject(
            target_id=request.target_id,
            if_version=version,
            name=patch.name,
            status=convert_status(patch.status, ProjectStatus),
            team=team,
            settings=patch_object(loaded.state.settings, patch.settings),
        )

    outcome = await request.change(PROJECT, create_command)
    return Result.of_change(outcome, create_project_body(outcome.loaded))


CHANGE_PROJECT: Final = Operation(
    method=Method.PATCH,
    path="/v1/projects/{projectId}",
    operation_id="changeProject",
    tag="projects",
    summary="Change `name`, `team`, `settings` or `status` of a project.",
    scope=Scope.PROJECTS_WRITE,
    permission=Permission.EDIT,
    field_permissions={"team": Permission.MANAGE, "status": Permission.MANAGE},
    path_parameters=(PROJECT_ID,),
    body=RequestBody(type=ProjectPatch, media_types=PATCH_TYPES),
    responses=(respond_changed(ProjectBody, "The changed project."),),
    problems=(ProjectNotActive, LastOwner),
    idempotent_by_key=True,
    if_match=True,
    handler=change_project,
)

OPERATIONS: Final = (LIST_PROJECTS, CREATE_PROJECT, GET_PROJECT, CHANGE_PROJECT)
