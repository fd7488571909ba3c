"""Scopes: what a credential can be limited to."""

from enum import StrEnum
from typing import Final


class Scope(StrEnum):
    """Requirement of an operation on the caller's credential."""

    PROJECTS_READ = "projects:read"
    PROJECTS_WRITE = "projects:write"
    WORKFLOWS_READ = "workflows:read"
    WORKFLOWS_WRITE = "workflows:write"
    ASSETS_READ = "assets:read"
    ASSETS_WRITE = "assets:write"
    RUNS_READ = "runs:read"
    RUNS_WRITE = "runs:write"
    RUNS_APPROVE = "runs:approve"
    ANNOUNCEMENTS_READ = "announcements:read"
    ANNOUNCEMENTS_WRITE = "announcements:write"
    FLAGS_READ = "flags:read"
    KEYS_ADMIN = "keys:admin"
    WORKSPACE_ADMIN = "workspace:admin"


PRIVILEGED: Final = frozenset({Scope.ANNOUNCEMENTS_WRITE, Scope.KEYS_ADMIN, Scope.WORKSPACE_ADMIN})
"""Scopes that concern a whole workspace: a token has them only if it names them."""
