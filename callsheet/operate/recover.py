"""`callsheet recover`: begin a new epoch of the log after a restore that the operator knows of."""

# The decorators of click are typed in part only.
# pyright: reportUnknownMemberType=false

import time
from typing import Final

import rich_click as click
from msgspec import Struct

from bus.nats.stream_witness import fetch_stream_health
from callsheet.help_text import OPERATOR_EXIT_CODES, format_epilog
from callsheet.operate.asking import load_operator_settings, query_database
from callsheet.operate.printing import json_option, print_json
from callsheet.settings.load import Settings
from callsheet.startup import exit_on_refusal
from callsheet.wiring.identity import collect_file_witnesses
from store.errors import Unavailable
from store.log.epochs import Connection, LogState, Rewind, begin_epoch, create_tag, find_rewind, read_state

CHECKPOINTS: Final = """
select projection, position from checkpoints where position > %(head)b::bigint
 union all
select 'relay', position from relay_cursors where position > %(after)b::bigint
 order by 1
"""
"""Read the checkpoints that count facts which are not in the log, or which get new ids."""

KNOWN: Final = "reported by the operator"


class Recovery(Struct, frozen=True, kw_only=True):
    """Plan of `recover`: facts after the position `after` get ids of a new epoch."""

    done: bool
    log_id: str
    head: int
    epoch: str
    new_epoch: str
    after: int
    noticed: tuple[str, ...]
    ahead: dict[str, int]


@click.command(
    epilog=format_epilog("recover --dry-run", "recover", "recover --after 1058 --json", exit_codes=OPERATOR_EXIT_CODES)
)
@click.option("--dry-run", is_flag=True, help="Only print what would be done.")
@click.option(
    "--after",
    type=click.IntRange(0),
    help="The last position that is as it was before the restore. Default: found by the relay's stream and the "
    "checkpoint file, else the end of the log.",
)
@json_option
def recover(*, dry_run: bool, after: int | None, as_json: bool) -> None:
    """Begin a new epoch of the log after its database was restored from a backup.

    Processes find out by themselves if the relay's stream or their checkpoint file knows more than the log. Run this
    when neither is there, or for a copy of a log that goes its own way. Running processes start again by themselves.
    """
    with exit_on_refusal():
        settings = load_operator_settings()
        found = query_database(lambda connection: _recover(connection, settings, after=after, dry_run=dry_run))
    if as_json:
        print_json(found)
    else:
        _print_recovery(found)


async def _recover(connection: Connection, settings: Settings, *, after: int | None, dry_run: bool) -> Recovery:
    state = await read_state(connection)
    rewinds, tags = await _find_rewinds(connection, settings, state, is_position_known=after is not None)
    start = min([state.head, *(rewind.after for rewind in rewinds)]) if after is None else min(after, state.head)
    reason = rewinds[0].reason if rewinds else KNOWN
    tag = create_tag(state.identity, time.time_ns() // 1_000_000, tags)
    rows = await (await connection.execute(CHECKPOINTS, {"head": state.head, "after": start})).fetchall()
    if not dry_run and not await begin_epoch(connection, state, Rewind(after=start, reason=reason), tag):
        raise Unavailable("another process has begun an epoch meanwhile; look again with --dry-run")
    return Recovery(
        done=not dry_run,
        log_id=str(state.identity.log_id),
        head=state.head,
        epoch=state.identity.tag,
        new_epoch=tag,
        after=start,
        noticed=tuple(rewind.reason for rewind in rewinds),
        ahead=dict(rows),
    )


async def _find_rewinds(
    connection: Connection, settings: Settings, state: LogState, *, is_position_known: bool
) -> tuple[list[Rewind], list[str]]:
    """Return what the witnesses outside of the database notice, and their tags.

    Raises Unavailable when the stream cannot be read, unless the restored position is known anyway: an epoch that
    begins too late leaves the ids of lost facts valid for good.
    """
    witnesses = collect_file_witnesses(settings, state.identity)
    if settings.nats.url is not None:
        health = await fetch_stream_health(settings.nats, "callsheet recover")
        if health is None and not is_position_known:
            raise Unavailable("NATS cannot be asked what it has: start it, or name the restored position with --after")
        witnesses += [] if health is None or health.witness is None else [health.witness]
    rewinds = [await find_rewind(connection, state, witness) for witness in witnesses]
    tags = [witness.tag for witness in witnesses if witness.log_id == state.identity.log_id]
    return [rewind for rewind in rewinds if rewind is not None], tags


def _print_recovery(found: Recovery) -> None:
    click.echo(f"The log {found.log_id} ends at position {found.head}; its epoch is {found.epoch}.")
    for noticed in found.noticed:
        click.echo(f"Noticed: {noticed}.")
    if not found.noticed:
        click.echo("Neither the relay's stream nor the checkpoint file knows more than the log.")
    for name, position in sorted(found.ahead.items()):
        what = "goes back to the restore point" if name == "relay" else "is folded anew"
        click.echo(f"The checkpoint of {name} is at {position}: it {what} when its process starts.")
    if found.done:
        click.echo(f"The epoch {found.new_epoch} began after position {found.after}. Running processes start again.")
    else:
        click.echo(f"Would begin the epoch {found.new_epoch} after position {found.after}; nothing was changed.")
