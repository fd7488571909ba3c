"""A stream of facts folded to its state: what the handler decides on, the engine drives and read models return."""

from datetime import datetime
from typing import Generic, TypeVar
from uuid import UUID

from msgspec import Struct

S_co = TypeVar("S_co", covariant=True)


class Folded(Struct, Generic[S_co], frozen=True, kw_only=True, gc=False):
    """The state of one stream after `version` facts; version 0 is a stream without facts.

    `created_position` and `created_at` are those of the first fact, `position` and `updated_at` those of the last.
    Positions count from 1 over the whole log. `weight` is the memory that the state takes at most, estimated in bytes.
    `gc=False`: a state never refers to the record that holds it.
    """

    stream_id: UUID
    workspace_id: UUID
    project_id: UUID | None
    version: int
    position: int
    created_position: int
    created_at: datetime
    updated_at: datetime
    state: S_co
    weight: int = 0
