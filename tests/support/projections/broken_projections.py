"""Projections of projects that do something else than the product's, as an older version of the code might have."""

from collections.abc import Callable, Sequence

from msgspec.structs import replace

from domain.project import ProjectCreated, ProjectRenamed
from projections.read_models.projects import ProjectsProjection
from projections.runtime.projection import Cursor, Unfoldable
from store.log.records import Recorded


class OtherProjects:
    """Folds projects, each fact as `taken` gives it."""

    name = ProjectsProjection.name
    tables = ProjectsProjection.tables
    wants = ProjectsProjection.wants

    def __init__(self, transform: Callable[[Recorded], Recorded]) -> None:
        """Take what is done to each fact first."""
        self._transform = transform
        self._inner = ProjectsProjection(most_remembered=100)

    async def apply(self, cursor: Cursor, facts: Sequence[Recorded]) -> None:
        await self._inner.apply(cursor, [self._transform(one) for one in facts])

    def forget(self) -> None:
        self._inner.forget()


def add_exclamation(one: Recorded) -> Recorded:
    """Add to the name that a project is created with."""
    return (
        replace(one, fact=replace(one.fact, name=f"{one.fact.name}!")) if isinstance(one.fact, ProjectCreated) else one
    )


def refuse_bad_name(one: Recorded) -> Recorded:
    """Refuse one name."""
    if isinstance(one.fact, ProjectRenamed) and one.fact.name == "bad":
        raise Unfoldable(one, "it is not to our taste")
    return one


def keep_event(one: Recorded) -> Recorded:
    """Leave a fact alone."""
    return one
