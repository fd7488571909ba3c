"""NATS subjects of facts, `callsheet.v1.{workspace}.{project}.{noun}.{fact}`, and of deltas."""

import re
from functools import lru_cache
from typing import Final
from uuid import UUID

from domain.ids import from_uuid, to_uuid

ROOT: Final = "callsheet.v1"
EVERY_FACT: Final = f"{ROOT}.>"
NO_PROJECT: Final = "_"

# Deltas and presence are not facts: their subjects are outside of EVERY_FACT, so that no stream stores them.
DELTAS: Final = "callsheet.deltas.v1"
DELTAS_ASKED: Final = "callsheet.deltas-asked.v1"
PRESENCE: Final = "callsheet.presence.v1"
PRESENCE_ASKED: Final = "callsheet.presence-asked.v1"

STRANGE: Final = re.compile(r"[^A-Za-z0-9_-]")


@lru_cache(maxsize=10_000)
def format_subject(workspace_id: UUID, project_id: UUID | None, topic: str) -> str:
    """Return the subject of a fact: always six tokens, so that a subscriber can filter by any of them.

    A fact without a project has `_` as project. Topics of other versions of the code are published too.
    """
    workspace = from_uuid("ws", workspace_id)
    project = NO_PROJECT if project_id is None else from_uuid("prj", project_id)
    noun, _, fact = topic.partition(".")
    return f"{ROOT}.{workspace}.{project}.{_token(noun)}.{_token(fact)}"


def format_deltas_subject(run_id: UUID) -> str:
    """Return the subject of the deltas of one run."""
    return f"{DELTAS}.{from_uuid('run', run_id)}"


def format_deltas_asked_subject(run_id: UUID) -> str:
    """Return the subject by which processes are asked for what they have written so far in a run."""
    return f"{DELTAS_ASKED}.{from_uuid('run', run_id)}"


def parse_asked_run(subject: str) -> UUID | None:
    """Return the run that a subject of `format_deltas_asked_subject` names; None if it names none."""
    try:
        return to_uuid("run", subject.rpartition(".")[2])
    except ValueError:
        return None


def format_presence_subject(project_id: UUID) -> str:
    """Return the subject of the members of one project."""
    return f"{PRESENCE}.{from_uuid('prj', project_id)}"


def format_presence_asked_subject(project_id: UUID) -> str:
    """Return the subject by which processes are asked for their members of one project."""
    return f"{PRESENCE_ASKED}.{from_uuid('prj', project_id)}"


def parse_asked_project(subject: str) -> UUID | None:
    """Return the project that a subject of `format_presence_asked_subject` names; None if it names none."""
    try:
        return to_uuid("prj", subject.rpartition(".")[2])
    except ValueError:
        return None


def _token(text: str) -> str:
    """Return a text as one token: characters that NATS interprets or refuses become `_`."""
    return STRANGE.sub("_", text) or "_"
