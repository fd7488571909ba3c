"""Access: whether a caller may do something in a project. Answered from memory, but for the first time and refusals."""

from collections.abc import Collection
from uuid import UUID

from msgspec import Struct

from commands.aggregates import PROJECT
from commands.repository import Streams
from domain.folded import Folded
from domain.project import Project, ProjectNotFound
from domain.refusal import Refusal
from gateway.access.permissions import Permission, is_permitted, list_roles
from gateway.http.rejections import NotPermitted
from gateway.identity.caller import Caller
from store.log.log import Log
from store.lru import LruCache


class Owner(Struct, frozen=True, gc=False):
    """Owner of a stream, set by its first fact and never changed. `project_id` is None for a workspace alone."""

    workspace_id: UUID
    project_id: UUID | None


class Access:
    """Checks permissions by the folded projects of this process.

    A grant may rest on a role that another process took away some milliseconds ago, until this process has read that
    fact. A refusal is confirmed by reading the log, so that a member who was just added is never refused.
    """

    def __init__(self, log: Log, streams: Streams, *, owners_max: int) -> None:
        """Create it; `owners_max` is the number of streams whose owner is cached."""
        self._log = log
        self._streams = streams
        self._owners = LruCache[int, Owner](owners_max)

    async def find_owner(self, stream_id: UUID) -> Owner | None:
        """Return what a stream belongs to, None if it does not exist. Raises Unavailable, UnreadableEvent."""
        owner = self._owners.get(stream_id.int)
        if owner is not None:
            return owner
        cached = self._streams.find_cached(stream_id)
        if cached is None:
            first = await self._log.read_stream(stream_id, limit=1)
            if not first:
                return None
            owner = Owner(first[0].workspace_id, first[0].project_id)
        else:
            owner = Owner(cached.workspace_id, cached.project_id)
        self._owners.put(stream_id.int, owner)
        return owner

    async def check_target(
        self, caller: Caller, target_id: UUID, permissions: Collection[Permission], not_found: type[Refusal]
    ) -> UUID | None:
        """Return the project of a stream in which the caller has one of the permissions, None if it is in none.

        Raises `not_found` if the caller may not know that it exists, NotPermitted if their role does not suffice.
        """
        owner = await self.find_owner(target_id)
        if owner is None or owner.workspace_id != caller.workspace_id:
            raise not_found
        if owner.project_id is not None:
            await self.check_project(caller, owner.project_id, permissions, not_found)
        return owner.project_id

    async def check_project(
        self,
        caller: Caller,
        project_id: UUID,
        permissions: Collection[Permission],
        not_found: type[Refusal] = ProjectNotFound,
    ) -> None:
        """Raise unless the caller has one of the permissions in a project, as `check_target` does."""
        if caller.project_ids is not None and project_id not in caller.project_ids:
            raise not_found
        project = await self._streams.load(PROJECT, project_id)
        if project is not None and _has_one_of(caller, project, permissions):
            return
        project = await self._streams.reload(PROJECT, project_id)
        if project is None or project.workspace_id != caller.workspace_id:
            raise not_found
        if _has_one_of(caller, project, permissions):
            return
        role = project.state.team.get(caller.user_id)
        if role is None and not caller.sees_workspace:
            raise not_found
        needed = list_roles(min(permissions, key=tuple(Permission).index, default=Permission.MANAGE))
        has = "You have none." if role is None else f"You are `{role}`."
        raise NotPermitted(f"This requires the role {needed} in the project. {has}")


def _has_one_of(caller: Caller, project: Folded[Project], permissions: Collection[Permission]) -> bool:
    if project.workspace_id != caller.workspace_id:
        return False
    role = project.state.team.get(caller.user_id)
    return any(is_permitted(permission, role, sees_workspace=caller.sees_workspace) for permission in permissions)
