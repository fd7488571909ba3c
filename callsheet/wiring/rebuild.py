"""How a rebuild is wired: its bounds from the settings, its projections from the registry."""

from collections.abc import Sequence

from callsheet.settings.load import Settings
from callsheet.wiring.projections import PROJECTIONS
from projections.rebuild.bounds import RebuildBounds
from projections.rebuild.rebuilding import Wanted


def rebuild_bounds(settings: Settings) -> RebuildBounds:
    """Give the bounds of a rebuild."""
    ours = settings.rebuild
    return RebuildBounds(
        page_events=ours.page_events,
        near_events=min(ours.page_events, ours.swap_events_max),
        swap_events_max=ours.swap_events_max,
        swap_wait_ms=ours.swap_wait_ms,
        swap_tries=ours.swap_tries,
        swap_pause_seconds=ours.swap_pause_seconds,
        statement_timeout_ms=ours.statement_timeout_ms,
        samples=ours.sampled_differences,
    )


def wanted_of(names: Sequence[str], *, resume: bool, rate: float | None) -> Wanted:
    """Give what is to be rebuilt, made afresh."""
    made = tuple(PROJECTIONS[name]() for name in names)
    return Wanted(projections=made, resume=resume, events_per_second=rate)
