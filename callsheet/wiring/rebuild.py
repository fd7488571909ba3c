"""How a rebuild is wired: its bounds from the settings, its projections from the registry."""

from collections.abc import Sequence

from callsheet.wiring.projections import PROJECTIONS
from projections.rebuild.rebuilding import RebuildRequest


def wanted_of(names: Sequence[str], *, resume: bool, rate: float | None) -> RebuildRequest:
    """Give what is to be rebuilt, made afresh."""
    made = tuple(PROJECTIONS[name]() for name in names)
    return RebuildRequest(projections=made, resume=resume, events_per_second=rate)
