"""The commands of announcements and how each is decided."""

from datetime import datetime

from commands.command import Command
from domain.announcement import (
    Announcement,
    AnnouncementFact,
    AnnouncementLevel,
    AnnouncementPublished,
    AnnouncementStatus,
    AnnouncementWithdrawn,
)


class PublishAnnouncement(Command[Announcement], frozen=True, kw_only=True):
    """Publish an announcement to a workspace."""

    title: str
    message: str
    level: AnnouncementLevel
    ends_at: datetime | None
    user_id: str


class WithdrawAnnouncement(Command[Announcement], frozen=True, kw_only=True):
    """Withdraw an announcement for good."""

    user_id: str


def publish_announcement(
    command: PublishAnnouncement, announcement: Announcement, _gathered: None, _now: datetime
) -> tuple[AnnouncementFact, ...]:
    """Decide that an announcement begins."""
    if announcement.status is not AnnouncementStatus.ABSENT:
        return ()
    return (
        AnnouncementPublished(
            title=command.title,
            message=command.message,
            level=command.level,
            ends_at=command.ends_at,
            published_by=command.user_id,
        ),
    )


def withdraw_announcement(
    command: WithdrawAnnouncement, announcement: Announcement, _gathered: None, _now: datetime
) -> tuple[AnnouncementFact, ...]:
    """Decide that an announcement is not shown any more; repeated it changes nothing."""
    if announcement.status is not AnnouncementStatus.PUBLISHED:
        return ()
    return (AnnouncementWithdrawn(withdrawn_by=command.user_id),)
