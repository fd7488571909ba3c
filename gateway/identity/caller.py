"""Caller: who sent a request, and what their credential is limited to."""

from typing import Final
from uuid import UUID

from msgspec import Struct

from gateway.http.rejections import NotPermitted
from gateway.identity.scopes import PRIVILEGED, Scope
from store.log.records import Actor

NO_LIMIT: Final = float("inf")


class Caller(Struct, frozen=True, kw_only=True):
    """The caller of a request.

    `user_id` is the person whose roles count; `actor` is recorded with facts, and is the API key if there is one.
    `scopes` is None if the credential does not limit what it may be used for. `project_ids` are the projects that an
    API key is bound to, None for all. `expires_at` is in seconds since 1970.
    """

    workspace_id: UUID
    user_id: str
    actor: Actor
    scopes: frozenset[str] | None
    expires_at: float
    key_id: UUID | None = None
    project_ids: frozenset[UUID] | None = None

    @property
    def sees_workspace(self) -> bool:
        """Return whether the caller sees every project of the workspace, member of its team or not."""
        return self.scopes is not None and Scope.WORKSPACE_ADMIN in self.scopes

    def has_scope(self, scope: str) -> bool:
        """Return whether the credential may be used for a scope. Privileged scopes must be named by it."""
        return scope not in PRIVILEGED if self.scopes is None else scope in self.scopes

    def require(self, scope: str) -> None:
        """Raise NotPermitted if the credential may not be used for a scope."""
        if not self.has_scope(scope):
            raise NotPermitted(f"This operation requires a token with the scope `{scope}`.")
