"""Subjects: where on NATS a fact is published, as `callsheet.v1.{workspace}.{project}.{noun}.{fact}`."""

import re
from functools import lru_cache
from typing import Final
from uuid import UUID

from domain.ids import from_uuid

ROOT: Final = "callsheet.v1"
EVERY_FACT: Final = f"{ROOT}.>"
NO_PROJECT: Final = "_"

# A delta is no fact: its subject lies outside EVERY_FACT, so that no stream ever keeps it.
DELTAS: Final = "callsheet.deltas.v1"

STRANGE: Final = re.compile(r"[^A-Za-z0-9_-]")


@lru_cache(maxsize=10_000)
def subject_of(workspace_id: UUID, project_id: UUID | None, topic: str) -> str:
    """Give the subject of a fact: six tokens, always, so that a subscriber can filter by any of them.

    `_` stands where there is no project. A topic that this code does not know is published too, whatever it holds.
    """
    workspace = from_uuid("ws", workspace_id)
    project = NO_PROJECT if project_id is None else from_uuid("prj", project_id)
    noun, _, fact = topic.partition(".")
    return f"{ROOT}.{workspace}.{project}.{_token(noun)}.{_token(fact)}"


def deltas_subject(run_id: UUID) -> str:
    """Give the subject of the deltas of one run."""
    return f"{DELTAS}.{from_uuid('run', run_id)}"


def _token(text: str) -> str:
    """Make one token of a text: what NATS gives a meaning, and what it refuses, becomes `_`."""
    return STRANGE.sub("_", text) or "_"
