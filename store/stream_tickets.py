"""Tickets that are redeemed once, by whichever process: rows of a table that is not durable."""

from typing import Final

from store.postgres.connections import Sessions

ADD: Final = """
with expired as (
    delete from stream_tickets
     where ticket_hash in (
           select ticket_hash from stream_tickets where expires_at < clock_timestamp()
            order by expires_at limit 100 for update skip locked))
insert into stream_tickets (ticket_hash, caller, expires_at)
values (%b, %b, clock_timestamp() + make_interval(secs => %b::float8))
    on conflict do nothing
"""
"""Add a ticket, and delete up to 100 that expired: by the clock of the database, which all processes share."""

REDEEM: Final = """
delete from stream_tickets where ticket_hash = %b returning caller, expires_at > clock_timestamp()
"""
"""Delete a ticket: of two processes that redeem it, the second waits for the row lock and finds no row."""


class StreamTickets:
    """The unredeemed tickets, by their hash."""

    def __init__(self, sessions: Sessions) -> None:
        """Create it over the connections of the log."""
        self._sessions = sessions

    async def add(self, ticket_hash: bytes, caller: bytes, *, lasts_seconds: float) -> None:
        """Add a ticket of a caller. Raises Unavailable."""
        await self._sessions.run(ADD, (ticket_hash, caller, lasts_seconds))

    async def redeem(self, ticket_hash: bytes) -> bytes | None:
        """Return the caller of a ticket once; None if it is unknown, expired or was redeemed. Raises Unavailable."""
        row = await self._sessions.one(REDEEM, (ticket_hash,))
        return bytes(row[0]) if row is not None and row[1] else None
