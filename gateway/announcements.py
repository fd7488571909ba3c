"""Announcements: `GET/POST /v1/announcements`, `POST /v1/announcements/{announcementId}:withdraw`."""

from datetime import datetime
from typing import Annotated, Final

from msgspec import Meta, Struct

from commands.aggregates import ANNOUNCEMENT
from commands.announcement import PublishAnnouncement, WithdrawAnnouncement
from domain.announcement import Announcement, AnnouncementLevel, AnnouncementNotFound, AnnouncementStatus
from domain.folded import Folded
from domain.ids import from_uuid
from domain.refusal import Problem
from gateway.deps import Deps
from gateway.http.rejections import BodyUnacceptable
from gateway.identity.scopes import Scope
from gateway.operations.context import RequestContext
from gateway.operations.operation import (
    CHANGE_HEADERS,
    DeclaredResponse,
    Method,
    Operation,
    PathId,
    RequestBody,
    respond_changed,
    respond_page,
)
from gateway.operations.paging import PageRequest
from gateway.operations.results import Page, Result
from gateway.projects import Name

ANNOUNCEMENT_ID: Final = PathId("announcementId", "ann", AnnouncementNotFound)


class NewAnnouncement(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An announcement to publish to everybody in the workspace. `ends_at`: hide it from that time."""

    title: Name
    message: Annotated[str, Meta(max_length=10_000)] = ""
    level: AnnouncementLevel = AnnouncementLevel.INFO
    ends_at: Annotated[datetime, Meta(tz=True)] | None = None


class Withdrawal(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Body of a withdrawal: no field is needed."""


class AnnouncementBody(Struct, frozen=True, kw_only=True):
    """An announcement."""

    id: str
    title: str
    message: str
    level: AnnouncementLevel
    status: AnnouncementStatus
    ends_at: datetime | None
    published_by: str
    created_at: datetime | None
    updated_at: datetime | None


class AnnouncementQuery(Struct, frozen=True, kw_only=True):
    """Query of a list of announcements."""

    page: PageRequest
    status: AnnouncementStatus | None = None


def create_announcement_body(folded: Folded[Announcement]) -> AnnouncementBody:
    """Return an announcement as it is sent."""
    announcement = folded.state
    return AnnouncementBody(
        id=from_uuid("ann", folded.stream_id),
        title=announcement.title,
        message=announcement.message,
        level=announcement.level,
        status=announcement.status,
        ends_at=announcement.ends_at,
        published_by=announcement.published_by,
        created_at=folded.created_at,
        updated_at=folded.updated_at,
    )


async def list_announcements(request: RequestContext[AnnouncementQuery, None], deps: Deps) -> Page:
    """List the announcements of the workspace."""
    query = request.query
    listing = await deps.announcements.list(
        request.workspace_id,
        status=query.status,
        limit=query.page.limit,
        cursor=query.page.cursor,
        sort=query.page.sort,
    )
    return Page(items=[create_announcement_body(folded) for folded in listing.items], next_cursor=listing.next)


LIST_ANNOUNCEMENTS: Final = Operation(
    method=Method.GET,
    path="/v1/announcements",
    operation_id="listAnnouncements",
    tag="announcements",
    summary="List the announcements of the workspace.",
    scope=Scope.ANNOUNCEMENTS_READ,
    query=AnnouncementQuery,
    responses=(respond_page(AnnouncementBody, "A page of announcements."),),
    reads=("projects",),
    handler=list_announcements,
)


async def publish_announcement(request: RequestContext[None, NewAnnouncement], deps: Deps) -> Result:
    """Publish an announcement."""
    new = request.body
    has_ended = new.ends_at is not None and new.ends_at <= deps.clock()
    if has_ended and not await request.is_repeated(ANNOUNCEMENT):
        raise BodyUnacceptable(problems=(Problem("/ends_at", "must be in the future"),))
    command = PublishAnnouncement(
        target_id=deps.make_id(),
        title=new.title,
        message=new.message,
        level=new.level,
        ends_at=new.ends_at,
        user_id=request.caller.user_id,
    )
    outcome = await request.execute(command)
    return Result.of_change(outcome, create_announcement_body(outcome.loaded))


PUBLISH_ANNOUNCEMENT: Final = Operation(
    method=Method.POST,
    path="/v1/announcements",
    operation_id="publishAnnouncement",
    tag="announcements",
    summary="Publish an announcement to everybody in the workspace.",
    scope=Scope.ANNOUNCEMENTS_WRITE,
    body=RequestBody(type=NewAnnouncement),
    responses=(
        DeclaredResponse(status=201, description="The announcement.", body=AnnouncementBody, headers=CHANGE_HEADERS),
    ),
    idempotent_by_key=True,
    handler=publish_announcement,
)


async def withdraw_announcement(request: RequestContext[None, Withdrawal], _deps: Deps) -> Result:
    """Withdraw an announcement."""
    outcome = await request.execute(WithdrawAnnouncement(target_id=request.target_id, user_id=request.caller.user_id))
    return Result.of_change(outcome, create_announcement_body(outcome.loaded))


WITHDRAW_ANNOUNCEMENT: Final = Operation(
    method=Method.POST,
    path="/v1/announcements/{announcementId}:withdraw",
    operation_id="withdrawAnnouncement",
    tag="announcements",
    summary="Withdraw an announcement for good.",
    scope=Scope.ANNOUNCEMENTS_WRITE,
    path_parameters=(ANNOUNCEMENT_ID,),
    body=RequestBody(type=Withdrawal, optional=True),
    responses=(respond_changed(AnnouncementBody, "The withdrawn announcement."),),
    idempotent_by_key=True,
    handler=withdraw_announcement,
)

OPERATIONS: Final = (LIST_ANNOUNCEMENTS, PUBLISH_ANNOUNCEMENT, WITHDRAW_ANNOUNCEMENT)
