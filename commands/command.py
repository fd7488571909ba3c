"""Commands and deciders: the data gathered for a command, and the function that turns it into facts."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Generic, TypeVar
from uuid import UUID

from msgspec import Struct

from commands.aggregates import Noun
from commands.repository import Sources
from domain.fact import Fact, get_topic

S = TypeVar("S")
G = TypeVar("G")
C = TypeVar("C")

ATTEMPTS: Final = 3
"""Maximum number of decisions of a command while other writers change its stream."""
ATTEMPTS_BESIDE: Final = 20
"""The maximum for a command with `contradicted_by`: a conflict may be a fact of the same kind on another step."""


class Command(Struct, Generic[S], frozen=True, kw_only=True):
    """An intent that concerns one stream, whose folded state is an `S`.

    `target_id` is that stream; `if_version` is the version that the caller requires (If-Match), None for any.
    """

    target_id: UUID
    if_version: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Decider(Generic[C, S, G]):
    """The functions that decide one kind of command.

    `gather` loads what the decision needs besides the target's own state; every stream that it loads guards the
    append. `decide` is a pure function of command, state, what was gathered, and the time; it returns the facts to
    append, none for a no-op, or raises a Refusal. `find_project` is set where the command begins a stream, and returns
    the project that the stream will belong to, None for a workspace alone. `contradicted_by` are the facts that
    conflict with the decision when they are appended concurrently; None: every fact does.
    """

    command: type[C]
    noun: Noun[S]
    gather: Callable[[C, Sources], Awaitable[G]]
    decide: Callable[[C, S, G, datetime], tuple[Fact, ...]]
    find_project: Callable[[G], UUID | None] | None = None
    contradicted_by: tuple[type[Fact], ...] | None = None

    @property
    def attempts(self) -> int:
        """Return the maximum number of decisions before the command is refused as contended."""
        return ATTEMPTS if self.contradicted_by is None else ATTEMPTS_BESIDE

    @property
    def contradicting_topics(self) -> tuple[str, ...] | None:
        """Return the topics of `contradicted_by`."""
        return None if self.contradicted_by is None else tuple(map(get_topic, self.contradicted_by))


class InProject(Struct, frozen=True, kw_only=True):
    """Gathered data of a command that begins a stream: at least the project that the stream will belong to."""

    project_id: UUID


def find_project(gathered: InProject) -> UUID:
    """Return the project of a stream that begins."""
    return gathered.project_id


def find_no_project(_gathered: object) -> None:
    """Return None for a stream that begins and belongs to a workspace alone."""


async def gather_nothing(_command: object, _sources: Sources) -> None:
    """Load nothing: the decision depends on the command's own stream alone."""
