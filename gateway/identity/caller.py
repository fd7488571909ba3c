"""Caller: who sent a request, and what their credential is limited to."""

from uuid import UUID

from msgspec import Struct

from gateway.http.rejections import NotPermitted
from store.log.records import Actor


class Caller(Struct, frozen=True, kw_only=True):
    """Who sent a request.

    `actor` is recorded with facts. `scopes` is None if the credential does not limit what it may be used for.
    `expires_at` is in seconds since 1970.
    """

    workspace_id: UUID
    actor: Actor
    scopes: frozenset[str] | None
    expires_at: float

    def require(self, scope: str) -> None:
        """Raise NotPermitted if the credential is limited to other scopes."""
        if self.scopes is not None and scope not in self.scopes:
            raise NotPermitted(f"This operation requires a token with the scope `{scope}`.")
