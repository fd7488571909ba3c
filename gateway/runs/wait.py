"""Follow a run by the facts that arrive, for `Prefer: wait`: the response needs no further read."""

import asyncio
from collections.abc import Sequence

from bus.watch import StreamWatch, WatchOverrun
from commands.aggregates import RUN, fold
from commands.repository import Streams
from domain.folded import Folded
from domain.runs.facts import RUN_ENDS
from domain.runs.run import Run
from gateway.http.rejections import Draining
from store.log.records import Recorded


class WaitExpired(Exception):  # noqa: N818  # ends a wait, and nothing else
    """The time that the caller wants to wait is over."""


def ends_run(recorded: Recorded) -> bool:
    """Return whether a fact ends its run."""
    return type(recorded.fact) in RUN_ENDS


def fold_onto(loaded: Folded[Run] | None, facts: Sequence[Recorded]) -> Folded[Run] | None:
    """Return a run with newer facts folded onto it; None if facts in between are missing."""
    version = 0 if loaded is None else loaded.version
    new = [recorded for recorded in facts if recorded.version > version]
    if new and new[0].version != version + 1:
        return None
    return fold(RUN, loaded, new) if new else loaded


async def follow_run(loaded: Folded[Run], watch: StreamWatch, streams: Streams, *, seconds: float) -> Folded[Run]:
    """Return a run when it has ended; earlier as it then is, if the time is over or the process is stopping.

    The watch must have started before the run was loaded.
    """
    watch.until(ends_run)
    timer = asyncio.get_running_loop().call_later(seconds, watch.stop, WaitExpired())
    try:
        while not loaded.state.has_ended:
            loaded = await _advance(loaded, await watch.facts(), streams)
    except (WaitExpired, Draining):
        return await _advance_without_waiting(loaded, watch, streams)
    except WatchOverrun:
        return await streams.reload(RUN, loaded.stream_id) or loaded
    finally:
        timer.cancel()
    return loaded


async def _advance_without_waiting(loaded: Folded[Run], watch: StreamWatch, streams: Streams) -> Folded[Run]:
    """Return a run with the facts left in its watch, or reload it if the watch overflowed."""
    try:
        return await _advance(loaded, watch.rest(), streams)
    except WatchOverrun:
        return await streams.reload(RUN, loaded.stream_id) or loaded


async def _advance(loaded: Folded[Run], facts: Sequence[Recorded], streams: Streams) -> Folded[Run]:
    """Return a run after facts: from the cache if an engine of this process has folded them, otherwise folded here."""
    if not facts:
        return loaded
    known = await streams.load(RUN, loaded.stream_id)
    if known is not None and known.version >= facts[-1].version:
        return known
    return fold_onto(loaded, facts) or await streams.reload(RUN, loaded.stream_id) or loaded
