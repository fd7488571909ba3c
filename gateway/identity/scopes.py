"""Scopes: what a token can be limited to."""

from enum import StrEnum


class Scope(StrEnum):
    """A permission that an operation asks of the caller's token."""

    PROJECTS_READ = "projects:read"
    PROJECTS_WRITE = "projects:write"
    WORKFLOWS_READ = "workflows:read"
    WORKFLOWS_WRITE = "workflows:write"
    ASSETS_READ = "assets:read"
    ASSETS_WRITE = "assets:write"
    RUNS_READ = "runs:read"
    RUNS_WRITE = "runs:write"
    RUNS_APPROVE = "runs:approve"
