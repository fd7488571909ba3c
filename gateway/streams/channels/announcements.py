"""The channel `announcements`: messages to everybody in the workspace, when they are published or withdrawn."""

from collections.abc import Sequence
from typing import Final, get_args

from msgspec import Struct

from commands.aggregates import ANNOUNCEMENT
from domain.announcement import AnnouncementFact, AnnouncementPublished
from domain.fact import Fact
from gateway.announcements import AnnouncementBody, create_announcement_body
from gateway.deps import Deps
from gateway.identity.scopes import Scope
from gateway.operations.positions import PositionCodec
from gateway.streams.channels.channel import Client
from gateway.streams.channels.durable import After, LogSubscription, find_start
from gateway.streams.messages import (
    ChannelName,
    MessageKind,
    Sender,
    describe_common,
    describe_durable,
    describe_server_message,
)
from gateway.streams.sources import WorkspaceFacts
from store.errors import Unavailable
from store.log.records import Recorded

KINDS: Final[tuple[type[Fact], ...]] = get_args(AnnouncementFact)


class SubscribeAnnouncements(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Payload of `subscribe`."""

    after: After | None = None


COMMON: Final = describe_common(ChannelName.ANNOUNCEMENTS)
DURABLE: Final = describe_durable(ChannelName.ANNOUNCEMENTS)
SUBSCRIBE: Final = MessageKind(
    sender=Sender.CLIENT,
    channel=ChannelName.ANNOUNCEMENTS,
    event="subscribe",
    payload=SubscribeAnnouncements,
    description="Subscribe to the announcements of the workspace.",
)
PUBLISHED: Final = describe_server_message(
    ChannelName.ANNOUNCEMENTS, "announcement.published", AnnouncementBody, "An announcement was published."
)
WITHDRAWN: Final = describe_server_message(
    ChannelName.ANNOUNCEMENTS, "announcement.withdrawn", AnnouncementBody, "An announcement was withdrawn."
)


class AnnouncementsChannel:
    """The channel of announcements."""

    name = ChannelName.ANNOUNCEMENTS
    scope = Scope.ANNOUNCEMENTS_READ
    common = COMMON
    messages = (SUBSCRIBE, *COMMON.list_all(), *DURABLE.list_all(), PUBLISHED, WITHDRAWN)

    async def subscribe(self, client: Client, payload: SubscribeAnnouncements) -> LogSubscription:
        """Create a subscription."""
        deps = client.deps
        workspace_id = client.caller.workspace_id
        source = WorkspaceFacts(deps.feed, deps.log, deps.drain, workspace_id=workspace_id, kinds=KINDS)

        async def write(recorded: Recorded) -> Sequence[bytes]:
            key = ("announcement", recorded.position)
            return (await deps.messages.get(key, lambda: write_announcement(deps, recorded)),)

        return LogSubscription(client, DURABLE, source, await find_start(client, payload.after), write)


async def write_announcement(deps: Deps, recorded: Recorded) -> bytes:
    """Return an announcement as it was after a fact, as a message. Raises Unavailable, UnreadableEvent."""
    folded = await deps.streams.read_at(ANNOUNCEMENT, recorded.stream_id, recorded.version)
    if folded is None:
        raise Unavailable("the facts of an announcement could not be read")
    kind = PUBLISHED if isinstance(recorded.fact, AnnouncementPublished) else WITHDRAWN
    position = PositionCodec(deps.log.identity).encode(recorded.position)
    return kind.write(create_announcement_body(folded), position=position)
