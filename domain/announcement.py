"""Announcements: messages to everybody in a workspace; their facts and state."""

from datetime import datetime
from enum import StrEnum
from typing import assert_never

from msgspec import Struct
from msgspec.structs import replace

from domain.fact import Fact
from domain.refusal import Refusal, RefusalKind


class AnnouncementStatus(StrEnum):
    """Lifecycle of an announcement; `absent` before its first fact."""

    ABSENT = "absent"
    PUBLISHED = "published"
    WITHDRAWN = "withdrawn"


class AnnouncementLevel(StrEnum):
    """Urgency of an announcement."""

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"


class AnnouncementPublished(Fact, frozen=True, kw_only=True, tag="announcement.published"):
    """An announcement was published, to be shown until `ends_at` if it is set."""

    title: str
    message: str
    level: AnnouncementLevel = AnnouncementLevel.INFO
    ends_at: datetime | None = None
    published_by: str


class AnnouncementWithdrawn(Fact, frozen=True, kw_only=True, tag="announcement.withdrawn"):
    """An announcement is not shown any more."""

    withdrawn_by: str


AnnouncementFact = AnnouncementPublished | AnnouncementWithdrawn


class Announcement(Struct, frozen=True, kw_only=True):
    """The state of an announcement."""

    status: AnnouncementStatus = AnnouncementStatus.ABSENT
    title: str = ""
    message: str = ""
    level: AnnouncementLevel = AnnouncementLevel.INFO
    ends_at: datetime | None = None
    published_by: str = ""


class AnnouncementNotFound(Refusal):
    """There is no such announcement."""

    code = "announcement_not_found"
    kind = RefusalKind.MISSING


def evolve(announcement: Announcement, fact: AnnouncementFact) -> Announcement:
    """Return the announcement after one more fact. Accepts any history; never refuses."""
    match fact:
        case AnnouncementPublished():
            return Announcement(
                status=AnnouncementStatus.PUBLISHED,
                title=fact.title,
                message=fact.message,
                level=fact.level,
                ends_at=fact.ends_at,
                published_by=fact.published_by,
            )
        case AnnouncementWithdrawn():
            return replace(announcement, status=AnnouncementStatus.WITHDRAWN)
        case _:
            assert_never(fact)
