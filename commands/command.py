"""What every command has in common."""

from uuid import UUID

from msgspec import Struct


class Command(Struct, frozen=True, kw_only=True):
    """An intent. `target_id` is the stream that it may change; `if_version` is the version it insists on (If-Match)."""

    target_id: UUID
    if_version: int | None = None
