"""Tickets: `POST /v1/streams:ticket`, for clients that cannot send `Authorization`, such as browsers' EventSource.

A ticket opens one stream, within seconds, on any gateway, with exactly what the credential permits that it was created
with.
"""

from datetime import datetime, timedelta
from typing import Final

from msgspec import Struct

from gateway.deps import Deps
from gateway.identity.scopes import Scope
from gateway.operations.context import RequestContext
from gateway.operations.operation import DeclaredResponse, Method, Operation, RequestBody
from gateway.operations.results import Result


class NewTicket(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Body of a request for a ticket: no field is needed."""


class TicketBody(Struct, frozen=True, kw_only=True):
    """A ticket. It opens one stream, before `expires_at`."""

    ticket: str
    expires_at: datetime


async def create_ticket(request: RequestContext[None, NewTicket], deps: Deps) -> Result:
    """Return a ticket with the rights of the caller."""
    seconds = deps.stream_settings.ticket_seconds
    ticket = await deps.tickets.create(request.caller, lasts_seconds=seconds)
    return Result(body=TicketBody(ticket=ticket, expires_at=deps.clock() + timedelta(seconds=seconds)))


CREATE_TICKET: Final = Operation(
    method=Method.POST,
    path="/v1/streams:ticket",
    operation_id="createStreamTicket",
    tag="streams",
    summary="Create a ticket that opens one stream without `Authorization`, as `?ticket=`.",
    scope=Scope.RUNS_READ,
    body=RequestBody(type=NewTicket, optional=True),
    responses=(DeclaredResponse(status=201, description="The ticket.", body=TicketBody),),
    handler=create_ticket,
)

OPERATIONS: Final = (CREATE_TICKET,)
