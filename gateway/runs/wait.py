"""Following a run from the facts that arrive: for `Prefer: wait`, which reads nothing to answer."""

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


class WaitOver(Exception):  # noqa: N818  # ends a wait, and nothing else
    """The time that the caller would wait is up."""


def ends_run(recorded: Recorded) -> bool:
    """Tell whether a fact is one that ends a run."""
    return type(recorded.fact) in RUN_ENDS


def continued(loaded: Folded[Run] | None, facts: Sequence[Recorded]) -> Folded[Run] | None:
    """Fold what is new of a run onto it; None when something in between is missing."""
    version = 0 if loaded is None else loaded.version
    new = [one for one in facts if one.version > version]
    if new and new[0].version != version + 1:
        return None
    return fold(RUN, loaded, new) if new else loaded


async def followed(loaded: Folded[Run], watch: StreamWatch, streams: Streams, *, seconds: float) -> Folded[Run]:
    """Follow a run until it ends, or give it as it is when the time is up or nothing more can come from here.

    The watch must have begun before the run was loaded.
    """
    watch.until(ends_run)
    timer = asyncio.get_running_loop().call_later(seconds, watch.stop, WaitOver())
    try:
        while not loaded.state.ended:
            loaded = await _onward(loaded, await watch.facts(), streams)
    except (WaitOver, Draining):
        return await _as_far_as_it_is(loaded, watch, streams)
    except WatchOverrun:
        return await streams.reload(RUN, loaded.stream_id) or loaded
    finally:
        timer.cancel()
    return loaded


async def _as_far_as_it_is(loaded: Folded[Run], watch: StreamWatch, streams: Streams) -> Folded[Run]:
    """Give a run with what is left in its watch; more than that may have come than a watch holds."""
    try:
        return await _onward(loaded, watch.rest(), streams)
    except WatchOverrun:
        return await streams.reload(RUN, loaded.stream_id) or loaded


async def _onward(loaded: Folded[Run], facts: Sequence[Recorded], streams: Streams) -> Folded[Run]:
    """Give a run after facts: as an engine in this process has folded it already, or else folded here."""
    if not facts:
        return loaded
    known = await streams.load(RUN, loaded.stream_id)
    if known is not None and known.version >= facts[-1].version:
        return known
    return continued(loaded, facts) or await streams.reload(RUN, loaded.stream_id) or loaded
