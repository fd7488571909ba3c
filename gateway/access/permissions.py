"""Permissions: what each role of a project's team may do. The table of `docs/security.md` is generated from it.

An operation on a project, or on something in it, declares a permission. The caller needs a credential with the
operation's scope, and a role that has the permission. Who has no role in the project gets the 404 of an unknown id.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from domain.project import Role


class Permission(StrEnum):
    """Permission of a member of a team in the project."""

    READ = "read"
    """Read the project and all that is in it."""
    DECIDE = "decide"
    """Decide the tasks that are assigned to the member."""
    EDIT = "edit"
    """Change the project, its workflows and assets, and run them."""
    MANAGE = "manage"
    """Change the team, archive and restore the project."""


ROLES: Final[Mapping[Permission, frozenset[Role]]] = {
    Permission.READ: frozenset({Role.VIEWER, Role.REVIEWER, Role.EDITOR, Role.OWNER}),
    Permission.DECIDE: frozenset({Role.REVIEWER, Role.EDITOR, Role.OWNER}),
    Permission.EDIT: frozenset({Role.EDITOR, Role.OWNER}),
    Permission.MANAGE: frozenset({Role.OWNER}),
}
ADMIN: Final = frozenset({Permission.READ, Permission.MANAGE})
"""What the scope `workspace:admin` permits in every project, without a role: enough to repair a team without owner."""


def is_permitted(permission: Permission, role: Role | None, *, sees_workspace: bool) -> bool:
    """Return whether a role (None: none), or the scope `workspace:admin`, permits something."""
    return role in ROLES[permission] or (sees_workspace and permission in ADMIN)


def list_roles(permission: Permission) -> str:
    """Return the roles that have a permission, as a text for messages."""
    return " or ".join(f"`{role}`" for role in Role if role in ROLES[permission])
