"""Checks of the log and of what follows from it: gaps, epochs, checkpoints, parked workspaces, orphans."""

from collections.abc import AsyncIterator
from typing import Any, Final

from callsheet.operate.doctor.findings import Finding, find_note, find_ok, find_wrong
from callsheet.operate.printing import count, format_time
from callsheet.settings.load import Settings
from callsheet.wiring.identity import collect_file_witnesses
from store.log.epochs import Connection, LogState, find_rewind
from store.log.health import count_past_head, find_all_gaps, find_content_faults, measure_size

CHECKPOINTS_AHEAD: Final = """
select projection, position from checkpoints where position > %(head)b::bigint
 union all select 'relay', position from relay_cursors where position > %(head)b::bigint
 order by 1
"""
"""Read the checkpoints past the end of the log."""

PARKED: Final = "select projection, count(*) from parked group by projection order by projection"
"""Count the parked workspaces."""

ORPHANED_LEASES: Final = """
select count(*) filter (where l.epoch not in (select live_engines())),
       count(*) filter (where r.status not in ('queued', 'running', 'waiting')
                          and r.updated_at < now() - interval '1 minute')
  from run_leases l left join runs r on r.id = l.run_id
"""
"""Count the leases of engines that are gone, and those of runs that have ended."""


async def check_log(
    connection: Connection, settings: Settings, state: LogState, *, deep: bool
) -> AsyncIterator[Finding]:
    """Yield what is found in the log; `deep` compares contents with all facts, which reads the whole log."""
    yield await _check_gaps(connection, state)
    yield await _check_epochs(connection, settings, state)
    yield await _check_checkpoints(connection, state)
    yield await _check_parked(connection)
    yield await _check_leases(connection)
    yield await _check_size(connection, state)
    if deep:
        yield await _check_contents(connection, state)


async def _check_gaps(connection: Connection, state: LogState) -> Finding:
    gaps = await find_all_gaps(connection, state.head)
    past = await count_past_head(connection, state.head)
    if gaps:
        more = f" and {len(gaps) - 3} more" if len(gaps) > 3 else ""  # noqa: PLR2004  # three are shown
        says = f"The log lacks {', '.join(map(str, gaps[:3]))}{more}: rows were deleted."
        return find_wrong("gaps", says, "Restore the rows from a backup; until then readers skip the gap.")
    if past:
        says = f"{count(past)} rows are past the end of the log at position {count(state.head)}; the next append fails."
        return find_wrong("gaps", says, "The head row and the events are of two moments: restore both from one backup.")
    return find_ok("gaps", f"The log has no gaps: {count(state.head)} positions.")


async def _check_epochs(connection: Connection, settings: Settings, state: LogState) -> Finding:
    for witness in collect_file_witnesses(settings, state.identity):
        rewind = await find_rewind(connection, state, witness)
        if rewind is not None:
            says = f"The log was rewound and no epoch has begun: {rewind.reason}."
            return find_wrong("epoch", says, "Start any process of Callsheet, or run `callsheet recover`.")
    epoch = state.identity.epoch
    if len(state.identity.epochs) == 1:
        return find_ok("epoch", f"The log is in its first epoch, {epoch.tag}.")
    says = (
        f"Epoch {epoch.tag} began after position {count(epoch.after)} on {format_time(epoch.began_at)}: {epoch.reason}."
    )
    return find_ok("epoch", says)


async def _check_checkpoints(connection: Connection, state: LogState) -> Finding:
    ahead = await _fetch(connection, CHECKPOINTS_AHEAD, {"head": state.head})
    if ahead:
        named = ", ".join(f"{name} at {count(position)}" for name, position in ahead)
        says = f"Checkpoints are past the end of the log at {count(state.head)}: {named}."
        return find_wrong(
            "checkpoints", says, "Restart `callsheet project`: it rebuilds them from the log, and realigns the relay."
        )
    return find_ok("checkpoints", "No checkpoint is past the end of the log.")


async def _check_parked(connection: Connection) -> Finding:
    parked = await _fetch(connection, PARKED, {})
    if parked:
        named = ", ".join(f"{name} {count(workspaces)}" for name, workspaces in parked)
        return find_wrong("parked", f"Workspaces are parked: {named}.", "See `callsheet projections parked list`.")
    return find_ok("parked", "No workspace is parked.")


async def _check_leases(connection: Connection) -> Finding:
    ((dead, ended),) = await _fetch(connection, ORPHANED_LEASES, {})
    if dead or ended:
        says = f"{count(dead)} runs are leased to engines that are gone, and {count(ended)} leased runs have ended."
        return find_wrong(
            "leases", says, "Start an engine (`callsheet work`): it takes over the runs and their leases."
        )
    return find_ok("leases", "Every lease is of a live engine and of an unfinished run.")


async def _check_size(connection: Connection, state: LogState) -> Finding:
    size = await measure_size(connection, state.head)
    per_run = "no run yet" if size.bytes_per_run is None else f"{count(size.bytes_per_run)} bytes of log for each run"
    return find_ok(
        "size",
        f"The database has {count(size.database)} bytes: {count(size.events)} in the log ({per_run}), "
        f"{count(size.contents)} in large contents.",
    )


async def _check_contents(connection: Connection, state: LogState) -> Finding:
    faults = await find_content_faults(connection, state.head)
    if faults.missing:
        example = f"sha256:{faults.missing[0]}"
        says = f"{count(len(faults.missing))} contents that facts refer to are missing, such as {example}."
        return find_wrong("contents", says, "Restore the table `contents` from a backup.")
    if faults.orphans:
        says = f"{count(faults.orphans)} contents are older than an hour, and no fact refers to them."
        return find_note(
            "contents", says, "They are of requests that were refused after the upload, and cost only space."
        )
    return find_ok("contents", "Every content that facts refer to is there, and no other.")


async def _fetch(connection: Connection, query: str, parameters: dict[str, int]) -> list[tuple[Any, ...]]:
    return await (await connection.execute(query.encode(), parameters)).fetchall()
