"""Tickets in place of `Authorization`: random texts, each accepted once, with the rights of its creator."""

import hashlib
import secrets
from typing import Final
from urllib.parse import parse_qsl

import msgspec

from gateway.http.rejections import Unauthenticated
from gateway.identity.caller import Caller
from gateway.identity.tokens import Identity
from store.stream_tickets import StreamTickets

PREFIX: Final = "tkt_"
RANDOM_BYTES: Final = 32
REFUSED: Final = "The ticket is unknown, was used, or has expired. Create a new one with `POST /v1/streams:ticket`."

# MessagePack, because JSON cannot hold the time at which a key without an end expires, which is infinite.
_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(Caller).decode


class Tickets:
    """Creates tickets and redeems them. Only their hashes are stored."""

    def __init__(self, stored: StreamTickets, identity: Identity) -> None:
        """Create it; `identity` knows whether the credential of a ticket is still accepted."""
        self._stored = stored
        self._identity = identity

    async def create(self, caller: Caller, *, lasts_seconds: float) -> str:
        """Return a ticket for a caller. Raises Unavailable."""
        ticket = PREFIX + secrets.token_urlsafe(RANDOM_BYTES)
        await self._stored.add(_hash(ticket), _encode(caller), lasts_seconds=lasts_seconds)
        return ticket

    async def redeem(self, ticket: str) -> Caller:
        """Return the caller of a ticket, once. Raises Unauthenticated, Unavailable."""
        stored = await self._stored.redeem(_hash(ticket))
        if stored is None:
            raise Unauthenticated(REFUSED)
        caller = _decode(stored)
        await self._identity.check_current(caller)
        return caller


def find_ticket(query_string: bytes) -> str | None:
    """Return the ticket in a query, None without one."""
    pairs = parse_qsl(query_string.decode("latin-1"))
    return next((value for name, value in pairs if name == "ticket"), None)


def _hash(ticket: str) -> bytes:
    return hashlib.sha256(ticket.encode()).digest()
