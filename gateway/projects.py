"""Projects over HTTP: `GET/POST /v1/projects`, `GET/PATCH /v1/projects/{projectId}`."""

from collections import Counter
from datetime import datetime
from typing import Annotated, Any, Final

from litestar import get, patch, post
from litestar.handlers import HTTPRouteHandler
from msgspec import UNSET, Meta, Struct, UnsetType

from commands.aggregates import PROJECT
from commands.command import Command
from commands.project import ChangeProject, CreateProject
from domain.folded import Folded
from domain.project import Project, ProjectNotFound, ProjectStatus, Role
from domain.refusal import Problem
from gateway.deps import Deps
from gateway.endpoint import AnyRequest, Door, location, written
from gateway.http.bodies import PATCH_TYPES, Shape
from gateway.http.ids import shown_id
from gateway.http.merge_patch import merged_object
from gateway.http.paging import PAGED
from gateway.http.preconditions import etag
from gateway.http.query import choice_of
from gateway.http.rejections import BodyUnacceptable
from gateway.http.replies import Reply, json_reply
from gateway.http.statuses import Status, status_set
from projections.read_models.projects_view import ProjectFilters

Name = Annotated[str, Meta(min_length=1, max_length=200)]
UserId = Annotated[str, Meta(min_length=1, max_length=255)]


class Member(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A user of a project's team."""

    user_id: UserId
    role: Role


Team = Annotated[tuple[Member, ...], Meta(max_length=1_000)]


class NewProject(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A project to begin; the caller becomes an owner of it."""

    name: Name
    team: Team = ()
    settings: dict[str, Any] = {}


class ProjectPatch(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What to change of a project, as a JSON Merge Patch; settings may be null, which empties them."""

    name: Name | UnsetType = UNSET
    status: Status | UnsetType = UNSET
    team: Team | UnsetType = UNSET
    settings: dict[str, Any] | UnsetType | None = UNSET


class ProjectBody(Struct, frozen=True, kw_only=True):
    """A project as it is sent."""

    id: str
    name: str
    status: ProjectStatus
    team: list[Member]
    settings: dict[str, Any]
    created_at: datetime | None
    updated_at: datetime | None


NEW: Final = Shape(NewProject)
PATCH: Final = Shape(ProjectPatch, allowed=PATCH_TYPES)


def project_body(folded: Folded[Project]) -> ProjectBody:
    """Return a project as JSON shows it."""
    project = folded.state
    return ProjectBody(
        id=shown_id("prj", folded.stream_id),
        name=project.name,
        status=project.status,
        team=[Member(user_id=user_id, role=role) for user_id, role in project.team.items()],
        settings=project.settings,
        created_at=folded.created_at,
        updated_at=folded.updated_at,
    )


def _team(members: tuple[Member, ...]) -> dict[str, Role]:
    """Give a team by user. Raises BodyUnacceptable for users who are named twice."""
    count = Counter(member.user_id for member in members)
    twice = tuple(
        Problem(f"/team/{place}/user_id", "is named twice")
        for place, member in enumerate(members)
        if count[member.user_id] > 1
    )
    if twice:
        raise BodyUnacceptable(problems=twice)
    return {member.user_id: member.role for member in members}


class Projects:
    """The routes of projects."""

    def __init__(self, deps: Deps, door: Door) -> None:
        """Make them of what the gateway is built from."""
        self._view = deps.projects
        self._make_id = deps.make_id
        self._door = door

    def routes(self) -> list[HTTPRouteHandler]:
        """Give the routes."""
        return [
            get("/v1/projects", operation_id="listProjects")(self.list_projects),
            post("/v1/projects", operation_id="createProject")(self.create),
            get("/v1/projects/{projectId:str}", operation_id="getProject")(self.get),
            patch("/v1/projects/{projectId:str}", operation_id="changeProject")(self.change),
        ]

    async def list_projects(self, request: AnyRequest) -> Reply:
        """List the workspace's projects."""
        entry = self._door.enter(request, "projects:read", *PAGED, "status", "name")
        query = entry.query
        asked = self._door.paging.asked(query)
        await self._door.reach(entry, "projects")
        listing = await self._view.list(
            entry.workspace_id,
            filters=ProjectFilters(status=choice_of(query, "status", ProjectStatus), name=query.get("name")),
            limit=asked.limit,
            cursor=asked.cursor,
            sort=asked.sort,
        )
        items = [project_body(view) for view in listing.items]
        return self._door.paging.reply(entry.path, query, items, listing.next)

    async def create(self, request: AnyRequest) -> Reply:
        """Begin a project."""
        entry = self._door.enter(request, "projects:write")
        new, raw = await self._door.read(entry, NEW)
        command = CreateProject(
            target_id=self._make_id(),
            name=new.name,
            owner=entry.caller.actor.id,
            team=_team(new.team),
            settings=new.settings,
        )
        outcome = await self._door.execute(entry, command, raw)
        body = project_body(outcome.loaded)
        return written(201, outcome, body, location(f"/v1/projects/{body.id}"))

    async def get(self, request: AnyRequest) -> Reply:
        """Give a project."""
        entry = self._door.enter(request, "projects:read")
        project_id = entry.id("prj", "projectId", ProjectNotFound)
        await self._door.reach(entry, "projects")
        view = await self._view.get(entry.workspace_id, project_id)
        if view is None:
            raise ProjectNotFound
        return json_reply(200, project_body(view), etag(view.version))

    async def change(self, request: AnyRequest) -> Reply:
        """Change a project."""
        entry = self._door.enter(request, "projects:write")
        project_id = entry.id("prj", "projectId", ProjectNotFound)
        sent, raw = await self._door.read(entry, PATCH)
        team = UNSET if isinstance(sent.team, UnsetType) else _team(sent.team)

        async def make(loaded: Folded[Project], version: int) -> Command[Project]:
            return ChangeProject(
                target_id=project_id,
                if_version=version,
                name=sent.name,
                status=status_set(sent.status, ProjectStatus),
                team=team,
                settings=merged_object(loaded.state.settings, sent.settings),
            )

        outcome = await self._door.change(entry, PROJECT, project_id, raw, make)
        return written(200, outcome, project_body(outcome.loaded))
