"""Wiring of a rebuild: its bounds from the settings, its projections from the registry."""

from collections.abc import Sequence

from callsheet.wiring.projections import PROJECTIONS
from projections.rebuild.rebuilding import RebuildRequest


def create_rebuild_request(names: Sequence[str], *, resume: bool, rate: float | None) -> RebuildRequest:
    """Create the request of a rebuild."""
    made = tuple(PROJECTIONS[name]() for name in names)
    return RebuildRequest(projections=made, resume=resume, events_per_second=rate)
